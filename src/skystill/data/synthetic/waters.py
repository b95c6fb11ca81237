"""Water and its edge: open sea, harbour, marina, river; ships and boats moored and under way."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

from skystill.data.synthetic import blocks, fixtures, roads, vehicles, vessels
from skystill.data.synthetic.geometry import quad, rect, ring
from skystill.data.synthetic.palette import CONCRETES, PAVED, WATER, pick, shade
from skystill.data.synthetic.world import BOAT, SHIP, TRUCK, World


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
    drift = cmath.rect(1, rng.uniform(0, math.tau))
    for _ in range(count):
        at = world.spot()
        long = world.meters(rng.uniform(2, 7))
        world.canvas.froth(quad(at, at + drift * long, world.meters(rng.uniform(0.7, 1.6))), rng.randint(60, 220))


def roam(world: World, count: int, low: float, allowed: Callable[[complex], bool]) -> None:
    """Free ships and boats, some moving, with bow, middle and stern on allowed water. low: pixels, the shortest."""
    rng = world.rng
    for _ in range(count):
        small = rng.random() < 0.35 and world.gsd < 1.3
        if small:
            length = rng.uniform(max(6.0, world.meters(6)), max(18.0, world.meters(9)))
        else:
            length = world.meters(math.exp(rng.uniform(math.log(low), math.log(190))))
            length = min(320.0, max(28.0, length))
        place, heading = world.spot(), cmath.rect(1, rng.uniform(0, math.tau))
        ends = (place, place + heading * length / 2, place - heading * length / 2)
        if not all(allowed(end) for end in ends) or not world.free(place, length * 0.55):
            continue
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
    roam(world, rng.randint(6, 16) * max(1, world.size**2 // 65536), 11, lambda z: True)
    _flotsam(world, rng.randint(0, 4))
    for _ in range(rng.randint(0, 6)):
        at, radius = world.spot(), world.meters(rng.uniform(2, 8))
        if world.free(at, radius):
            world.canvas.froth([at + z * 1.5 for z in ring(0j, radius, 9)], 120)
            world.add(fixtures.boulder(rng, radius), at)


def _flotsam(world: World, count: int) -> None:
    rng = world.rng
    for _ in range(count):
        at, length = world.spot(), max(4.0, world.meters(rng.uniform(6, 40)))
        heading = cmath.rect(1, rng.uniform(0, math.tau))
        if world.free(at, length * 0.6):
            world.add(vessels.pontoon(rng, length), at, heading)


def open_water(world: World) -> None:
    """Nothing but waves."""
    world.canvas.fill(world.water, WATER)
    _caps(world, world.rng.randint(0, 120))
    _flotsam(world, world.rng.randint(0, 3))


def _shore(world: World, kinds: tuple[blocks.Block, ...], apron: float, coast: float) -> None:
    """Water beyond y = coast, land below it, a paved quay between."""
    r = world.reach
    world.canvas.fill(world.water, WATER)
    roads.lay(world, (-r, -r - 40, r, coast - apron), kinds, world.rng.uniform(60, 110), 9.0)
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
    """A quay with piers, moored and moving ships, cranes, containers and trucks."""
    rng = world.rng
    extent = world.size * world.gsd
    coast = rng.uniform(-0.38, 0.0) * extent
    apron = rng.uniform(22, 40)
    _shore(world, blocks.PORT, apron, coast)
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
    roam(world, rng.randint(2, 8) * max(1, world.size**2 // 65536), 12, lambda z: z.imag > far + high * 0.2)


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
    _shore(world, blocks.CITY, rng.uniform(5, 12), coast)
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
    roam(world, rng.randint(1, 5), 30, lambda z: z.imag > coast + long + typical)


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
