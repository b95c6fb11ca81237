"""Whole scenes: harbour, marina, open sea, airfield, town, industry, sports, river, countryside."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from skystill.data.synthetic import aircraft, fabric, fixtures, vehicles, vessels
from skystill.data.synthetic.geometry import quad, rect, ring
from skystill.data.synthetic.palette import (
    ASPHALTS,
    CONCRETES,
    GRASS,
    GRASSES,
    PAINT,
    PAVED,
    SOIL,
    SOILS,
    WATER,
    pick,
    shade,
)  # fmt: skip
from skystill.data.synthetic.world import AIRPLANE, BOAT, BRIDGE, SHIP, TRUCK, VEHICLE, World

CITY = (fabric.houses, fabric.houses, fabric.flats, fabric.car_park, fabric.park, fabric.car_park)
INDUSTRY = (fabric.tank_farm, fabric.tank_farm, fabric.warehouse, fabric.yard, fabric.yard, fabric.park)
GREEN = (fabric.field, fabric.field, fabric.forest, fabric.park, fabric.houses)
WILD = (fabric.field, fabric.field, fabric.forest, fabric.forest, fabric.park)
PLAY = (fabric.sports, fabric.sports, fabric.sports, fabric.park, fabric.car_park)


def town(world: World) -> None:
    """Streets, houses, car parks."""
    _cover(world, CITY, world.rng.uniform(45, 80), world.rng.uniform(8, 12))


def industry(world: World) -> None:
    """Tank farms, yards, warehouses."""
    _cover(world, INDUSTRY, world.rng.uniform(80, 150), world.rng.uniform(8, 12))


def sports(world: World) -> None:
    """Courts, pitches and tracks."""
    _cover(world, PLAY, world.rng.uniform(100, 190), world.rng.uniform(6, 9))


def countryside(world: World) -> None:
    """Fields and woods without an object."""
    world.fast = False
    _cover(world, WILD, world.rng.uniform(90, 200), world.rng.uniform(3, 6))
    world.things = [thing for thing in world.things if thing.label is None]


def _cover(world: World, kinds: tuple[fabric.Block, ...], pitch: float, road: float) -> list[float]:
    r = world.reach
    return fabric.lay(world, (-r, -r, r, r), kinds, pitch, road)


def wake(world: World, place: complex, heading: complex, length: float, beam: float) -> None:
    """White water behind a moving hull: a fading trail and two arms of a V."""
    stern = place - heading * length / 2
    trail = length * world.rng.uniform(1.5, 3.5)
    steps = 14
    for i in range(steps, 0, -1):
        a, b = trail * (i - 1) / steps, trail * i / steps
        strength = int(190 * (1 - i / (steps + 1)) ** 1.3)
        world.canvas.froth(quad(stern - heading * b, stern - heading * a, beam * (0.75 + 0.7 * i / steps)), strength)
    bow = place + heading * length * 0.42
    for side in (1, -1):
        arm = heading * complex(-1, side * 0.26)
        for i in range(8, 0, -1):
            a, b = length * 1.6 * (i - 1) / 8, length * 1.6 * i / 8
            width = max(beam * 0.16, world.meters(0.8))
            world.canvas.froth(quad(bow + arm * a, bow + arm * b, width), int(150 * (1 - i / 9)))


def _caps(world: World, count: int) -> None:
    """Clutter: breaking waves, bright and boat-sized."""
    rng = world.rng
    drift = complex(math.cos(rng.uniform(0, 6.3)), math.sin(rng.uniform(0, 6.3)))
    drift /= abs(drift)
    for _ in range(count):
        at = world.spot()
        long = world.meters(rng.uniform(2, 7))
        world.canvas.froth(quad(at, at + drift * long, world.meters(rng.uniform(0.7, 1.6))), rng.randint(60, 220))


def _roam(world: World, count: int, low: float, allowed: Callable[[complex], bool]) -> None:
    """Free ships and boats on open water, some moving."""
    rng = world.rng
    for _ in range(count):
        small = rng.random() < 0.35 and world.gsd < 1.3
        if small:
            length = rng.uniform(max(6.0, world.meters(6)), max(18.0, world.meters(9)))
        else:
            length = world.meters(math.exp(rng.uniform(math.log(low), math.log(190))))
            length = min(320.0, max(28.0, length))
        place = world.spot()
        if not allowed(place) or not world.free(place, length * 0.55):
            continue
        heading = complex(rng.gauss(0, 1), rng.gauss(0, 1))
        heading /= abs(heading)
        thing = vessels.boat(rng, length) if small else vessels.ship(rng, length)
        if rng.random() < 0.6:
            wake(world, place, heading, *thing.extent())
        world.add(thing, place, heading, BOAT if small else SHIP)


def sea(world: World) -> None:
    """Ships and boats on open water among wave caps, rocks and buoys."""
    rng = world.rng
    world.canvas.fill(world.water, WATER)
    if rng.random() < 0.6:
        _caps(world, rng.randint(10, 90))
    _roam(world, rng.randint(6, 16) * max(1, world.size**2 // 65536), 11, lambda z: True)
    for _ in range(rng.randint(0, 6)):
        at, radius = world.spot(), world.meters(rng.uniform(2, 8))
        if world.free(at, radius):
            world.canvas.froth([at + z * 1.5 for z in ring(0j, radius, 9)], 120)
            world.add(fixtures.boulder(rng, radius), at)


def open_water(world: World) -> None:
    """Nothing but waves."""
    world.canvas.fill(world.water, WATER)
    _caps(world, world.rng.randint(0, 120))


def _shore(world: World, kinds: tuple[fabric.Block, ...], apron: float, coast: float) -> None:
    """Water beyond y = coast, land below it, a paved quay between."""
    r = world.reach
    world.canvas.fill(world.water, WATER)
    fabric.lay(world, (-r, -r - 40, r, coast - apron), kinds, world.rng.uniform(60, 110), 9.0)
    paved = pick(world.rng, CONCRETES)
    world.canvas.polygon(rect(-r, coast - apron, r, coast), paved, PAVED)
    world.canvas.polygon(rect(-r, coast - 1.5, r, coast), shade(paved, 0.8), PAVED)
    world.canvas.cast(rect(-r, coast - 3, r, coast), 3.0)
    world.canvas.froth(rect(-r, coast, r, coast + 0.8), 70)


def _berths(world: World, a: complex, b: complex, side: complex, low: float, high: float) -> None:
    """Ships moored along the wall a..b, on the side that `side` points to."""
    rng = world.rng
    along = (b - a) / (abs(b - a) or 1)
    at = rng.uniform(2, 12)
    while at < abs(b - a):
        length = min(rng.uniform(low, high), abs(b - a) * 1.05)
        if length < low or at + length > abs(b - a) + length * 0.25:
            break
        if rng.random() < 0.75:
            thing = vessels.ship(rng, length)
            beam = thing.extent()[1]
            place = a + along * (at + length / 2) + side * (beam / 2 + max(1.0, 0.7 * world.gsd))
            if world.free(place, length * 0.3):
                world.add(thing, place, along * rng.choice((1, -1)), SHIP)
        at += length * rng.uniform(1.06, 1.4)


def harbour(world: World) -> None:
    """A quay with piers, moored and moving ships, cranes, containers and lorries."""
    rng = world.rng
    extent = world.size * world.gsd
    coast = rng.uniform(-0.38, 0.0) * extent
    apron = rng.uniform(22, 40)
    _shore(world, INDUSTRY[2:] + (fabric.tank_farm,), apron, coast)
    low, high = max(26.0, world.meters(14)), min(300.0, max(40.0, world.meters(rng.uniform(60, 190))))
    r, x, far = world.reach, -world.reach + rng.uniform(0, 0.3) * extent, coast
    while x < r:
        long = min(rng.uniform(0.7, 2.2) * high, 0.62 * extent)
        width = rng.uniform(9, 26)
        gap = rng.uniform(0.5, 1.0) * high + 0.35 * high
        _pier(world, x, coast, long, width, low, high)
        _berths(
            world, complex(x + width / 2 + high * 0.16, coast), complex(x + gap - high * 0.16, coast), 1j, low, high
        )
        x += gap + width
        far = max(far, coast + long)
    _quayside(world, coast, apron)
    _roam(world, rng.randint(2, 8) * max(1, world.size**2 // 65536), 12, lambda z: z.imag > far + high * 0.3)


def _pier(world: World, x: float, coast: float, long: float, width: float, low: float, high: float) -> None:
    rng = world.rng
    paved = pick(rng, CONCRETES, 0.1)
    deck = rect(x - width / 2, coast - 1, x + width / 2, coast + long)
    world.canvas.cast(deck, 3.0)
    world.canvas.polygon(deck, shade(paved, 0.82), PAVED)
    world.canvas.polygon(rect(x - width / 2 + 1, coast - 1, x + width / 2 - 1, coast + long - 1), paved, PAVED)
    for side in (1, -1):
        edge = x + side * width / 2
        _berths(world, complex(edge, coast + high * 0.1), complex(edge, coast + long), side, low, high)
    for _ in range(int(long / 22)):
        at = complex(x + rng.uniform(-0.25, 0.25) * width, coast + rng.uniform(4, long - 6))
        if world.gsd < 1.4 and world.free(at, 7):
            world.add(vehicles.container(rng), at, 1j)


def _quayside(world: World, coast: float, apron: float) -> None:
    rng, r = world.rng, world.reach
    x = -r
    while x < r:
        x += rng.uniform(16, 60)
        if not world.sees(complex(x, coast - apron / 2), 20):
            continue
        kind = rng.random()
        if kind < 0.25:
            world.add(fixtures.crane(rng, apron * 1.4), complex(x, coast - apron * 0.25), 1j)
        elif kind < 0.6:
            for i in range(rng.randint(2, 6)):
                for k in range(rng.randint(1, 2)):
                    world.add(vehicles.container(rng), complex(x + 13 * k, coast - apron * 0.55 + 2.7 * i))
            x += 16
        elif world.gsd < 1.3:
            world.add(vehicles.truck(rng), complex(x, coast - 6), rng.choice((1, -1)), TRUCK)


def marina(world: World) -> None:
    """Floating docks with boats side by side."""
    rng = world.rng
    extent, r = world.size * world.gsd, world.reach
    coast = rng.uniform(-0.42, -0.15) * extent
    _shore(world, CITY, rng.uniform(5, 12), coast)
    dock = pick(rng, ((168, 150, 122), (150, 146, 140), (186, 182, 172)))
    typical = max(rng.uniform(7, 12), world.meters(9))
    long = rng.uniform(0.45, 0.8) * extent
    x = -r + rng.uniform(0, 12)
    share = rng.uniform(0.3, 0.95)
    while x < r:
        deck = rect(x - 1.2, coast - 2, x + 1.2, coast + long)
        world.canvas.cast(deck, 0.8)
        world.canvas.polygon(deck, dock, PAVED)
        _moorings(world, x, coast, long, typical, share)
        x += 2 * typical * 1.15 + rng.uniform(9, 16)
    _roam(world, rng.randint(1, 5), 30, lambda z: z.imag > coast + long + typical)


def _moorings(world: World, x: float, coast: float, long: float, typical: float, share: float) -> None:
    rng = world.rng
    pitch = typical * 0.36
    for side in (1, -1):
        for i in range(int((long - 4) / pitch)):
            y = coast + 3 + i * pitch
            if not world.sees(complex(x, y), typical * 1.2):
                continue
            if i % 2 == 0:
                finger = complex(x, y - pitch / 2)
                world.canvas.line(finger, finger + side * typical * 0.8, 0.6, (158, 148, 130))
            if rng.random() < share:
                length = typical * rng.uniform(0.7, 1.05)
                place = complex(x + side * (1.6 + length / 2), y)
                world.add(vessels.boat(rng, length), place, side * rng.choice((1, 1, -1)), BOAT)


def airfield(world: World) -> None:
    """Runway, taxiways, an apron of parked airplanes, a terminal or hangars."""
    rng, r = world.rng, world.reach
    world.canvas.fill(pick(rng, GRASSES), GRASS)
    typical = min(66.0, max(8.0, world.meters(math.exp(rng.uniform(math.log(16), math.log(110))))))
    lane = max(9.0, typical * 0.45)
    base = rng.uniform(-0.25, 0.25) * world.size * world.gsd
    deep = typical * 2.4
    fabric.lay(world, (-r, -2 * r - 40, r, base - deep), GREEN + (fabric.flats, fabric.car_park), 80, 8)
    slab = pick(rng, CONCRETES)
    world.canvas.polygon(rect(-r, base - deep, r, base + lane * 1.6), slab, PAVED)
    joint = max(typical * 0.2, 6.0)
    for i in range(int(2 * r / joint)):
        x = -r + i * joint
        world.canvas.line(complex(x, base - deep), complex(x, base + lane), 0.25, shade(slab, 0.92), PAVED)
    _stands(world, base, typical, deep)
    yellow = (196, 166, 70)
    taxi = base + lane * 0.8
    world.canvas.line(complex(-r, taxi), complex(r, taxi), max(0.4, 0.5 * world.gsd), yellow)
    _runway(world, taxi + typical * rng.uniform(1.6, 2.6), lane, taxi)
    x = -r + rng.uniform(0, 90)
    while x < r:
        heading = rng.choice((1, -1))
        if rng.random() < 0.5:
            world.add(aircraft.airplane(rng, typical * rng.uniform(0.75, 1.1)), complex(x, taxi), heading, AIRPLANE)
        x += typical * rng.uniform(2, 5)


def _runway(world: World, y: float, lane: float, taxi: float) -> None:
    rng, r = world.rng, world.reach
    asphalt, width = pick(rng, ASPHALTS), max(18.0, lane * 1.8)
    x = -r + rng.uniform(0, r)
    while x < r:
        world.canvas.line(complex(x, taxi), complex(x + lane, y), lane, asphalt, PAVED)
        x += rng.uniform(4, 9) * lane
    world.canvas.polygon(rect(-r, y - width / 2, r, y + width / 2), asphalt, PAVED)
    for side in (1, -1):
        edge = y + side * width * 0.44
        world.canvas.line(complex(-r, edge), complex(r, edge), 0.9, PAINT)
    world.canvas.dashes(complex(-r, y), complex(r, y), 0.9, max(50.0, width), PAINT)
    threshold = rng.uniform(-0.6, 0.6) * r
    if rng.random() < 0.6:
        for i in range(8):
            at = y + (i - 3.5) * width * 0.1
            world.canvas.line(complex(threshold, at), complex(threshold + width * 0.7, at), width * 0.05, PAINT)
    for _ in range(14):  # rubber
        skid = complex(threshold + rng.uniform(0, 4) * width, y + rng.gauss(0, 0.08) * width)
        world.canvas.line(skid, skid + width * 1.5, 0.7, shade(asphalt, 0.78), PAVED)
    if rng.random() < 0.3:
        plane = aircraft.airplane(rng, lane / 0.45 * rng.uniform(0.8, 1.1))
        world.add(plane, complex(rng.uniform(-0.5, 0.5) * r, y), rng.choice((1, -1)), AIRPLANE)


def _stands(world: World, base: float, typical: float, deep: float) -> None:
    rng, r = world.rng, world.reach
    terminal = base - deep + rng.uniform(0.05, 0.25) * deep
    at = -r
    while at < r:
        length = rng.uniform(2, 5) * typical
        hall = fixtures.block(rng, length, deep * 0.4, min(14.0, typical * 0.4))
        world.add(hall, complex(at + length / 2, terminal - deep * 0.1))
        at += length + rng.uniform(0.2, 1.0) * typical
    pitch, share = typical * rng.uniform(1.15, 1.5), rng.uniform(0.5, 0.95)
    line = terminal + deep * 0.1 + typical * 0.72
    tilt = complex(1, rng.choice((0, 0, 0.5)))
    facing = -1j * tilt / abs(tilt)
    for i in range(int(2 * r / pitch)):
        place = complex(-r + (i + 0.5) * pitch, line)
        if not world.sees(place, typical * 0.6):
            continue
        world.canvas.line(place + 0.5j * typical, complex(place.real, base), max(0.3, 0.4 * world.gsd), (190, 160, 70))
        if rng.random() < share:
            plane = aircraft.airplane(rng, typical * rng.uniform(0.72, 1.05))
            world.add(plane, place, facing * rng.choice((1, 1, 1, -1)), AIRPLANE)
        if world.fast and rng.random() < 0.6:
            cart = complex(place.real + pitch / 2, line + rng.uniform(-0.4, 0.4) * typical)
            heavy = rng.random() < 0.4
            thing = vehicles.truck(rng) if heavy else vehicles.car(rng)
            world.add(thing, cart, 1j, TRUCK if heavy else VEHICLE)


def river(world: World) -> None:
    """A winding river under bridges, with barges and boats."""
    rng, r = world.rng, world.reach
    kinds = rng.choice((CITY, GREEN, INDUSTRY))
    width = rng.uniform(0.14, 0.34) * world.size * world.gsd
    bend, phase = rng.uniform(0.0, 0.25) * width, rng.uniform(0, math.tau)
    wave = math.tau / (world.size * world.gsd * rng.uniform(0.9, 2.0))
    shift = rng.uniform(-0.2, 0.2) * world.size * world.gsd

    def middle(x: float) -> float:
        return shift + bend * math.sin(wave * x + phase)

    road = rng.uniform(8, 16)
    roads = _cover(world, kinds, max(rng.uniform(70, 130), world.meters(60)), road)
    bank = width / 2 + 6
    world.things = [
        t for t in world.things if abs(t.place.imag - middle(t.place.real)) > bank + sum(t.sprite.extent()) / 3
    ]
    xs = [-r + i * r / 15 for i in range(31)]
    for half, paint, material in ((bank, pick(rng, GRASSES + SOILS), SOIL), (width / 2, world.water, WATER)):
        shores = [complex(x, middle(x) - half) for x in xs] + [complex(x, middle(x) + half) for x in reversed(xs)]
        world.canvas.overcast(shores, 0)
        world.canvas.polygon(shores, paint, material)
    for x in roads:
        if rng.random() < 0.85:
            world.taken.append((complex(x, middle(x)), road))
            deck = fixtures.bridge(rng, width + 8, road * rng.uniform(0.9, 1.2), pick(rng, ASPHALTS))
            world.add(deck, complex(x, middle(x)), 1j, BRIDGE)
            if world.fast and rng.random() < 0.7:
                lane = complex(x + road * 0.22, middle(x) + rng.uniform(-0.3, 0.3) * width)
                world.add(vehicles.car(rng), lane, 1j, VEHICLE)
    _roam(world, rng.randint(2, 7), 12, lambda z: abs(z.imag - middle(z.real)) < width * 0.3)


Theme = Callable[[World], None]
# Share of scenes, range of metres a pixel, plan.
THEMES: tuple[tuple[float, float, float, Theme], ...] = (
    (0.17, 0.30, 1.5, harbour),
    (0.08, 0.14, 0.50, marina),
    (0.09, 0.25, 1.4, sea),
    (0.15, 0.16, 0.9, airfield),
    (0.19, 0.11, 0.5, town),
    (0.13, 0.25, 0.9, industry),
    (0.08, 0.20, 0.9, sports),
    (0.11, 0.25, 0.9, river),
)
EMPTY: tuple[Theme, ...] = (countryside, countryside, open_water)


def draw_theme(rng: Random) -> tuple[float, Theme]:
    """Metres a pixel and plan of a scene with objects."""
    _, low, high, plan = rng.choices(THEMES, [theme[0] for theme in THEMES])[0]
    return math.exp(rng.uniform(math.log(low), math.log(high))), plan
