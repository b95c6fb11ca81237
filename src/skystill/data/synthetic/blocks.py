"""Built-up blocks: houses, flats, car parks, yards, halls, tanks and courts, each filling an upright rectangle."""

from __future__ import annotations

import math
from collections.abc import Callable

from skystill.data.synthetic import fixtures, vehicles
from skystill.data.synthetic.geometry import rect
from skystill.data.synthetic.grounds import Room, field, forest, park, sides, trees
from skystill.data.synthetic.palette import (
    ASPHALTS,
    CONCRETES,
    GRASS,
    GRASSES,
    PAINT,
    PAVED,
    SMOOTH,
    SOIL,
    SOILS,
    pick,
    shade,
)
from skystill.data.synthetic.world import SPORTS, TANK, TRUCK, VEHICLE, World

Block = Callable[[World, Room], None]


def houses(world: World, room: Room) -> None:
    """Detached houses along both long sides, gardens, trees, cars in the drives."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, GRASSES), GRASS)
    x0, y0, x1, y1 = room
    plot = rng.uniform(13, 19)
    rows = ((y0 + 9.5, -1), (y1 - 9.5, 1)) if y1 - y0 > 36 else ((y0 + 9.5, -1),)
    for y, street in rows:
        for i in range(int((x1 - x0) / plot)):
            x = x0 + (i + 0.5) * plot
            if not world.sees(complex(x, y), 14):
                continue
            _homestead(world, x, y, street, plot)
    trees(world, room, int(math.prod(sides(room)) / 260), (1.5, 3.6))


def _homestead(world: World, x: float, y: float, street: int, plot: float) -> None:
    rng = world.rng
    length, width = rng.uniform(8, plot - 4), rng.uniform(7, 10)
    heading = 1 if rng.random() < 0.7 else 1j
    lit = -(world.sun * complex(heading).conjugate()).imag / abs(world.sun)
    world.add(fixtures.house(rng, length, width, lit), complex(x - 1, y), heading)
    drive = complex(x + plot / 2 - 1.8, y + street * 4.5)
    world.canvas.line(drive, drive + 6j * street, 3.0, pick(rng, CONCRETES), PAVED)
    if world.fast and rng.random() < 0.5:
        world.add(vehicles.car(rng), drive + 1.5j * street, 1j * rng.choice((1, -1)), VEHICLE)


def flats(world: World, room: Room) -> None:
    """Large flat roofs with roof units, parked cars before them."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, ASPHALTS + GRASSES), PAVED)
    _, h = sides(room)
    deep = min(h - 16, rng.uniform(14, 40))
    if deep < 8:
        return park(world, room)
    x0, y0, x1, _ = room
    at = x0 + 5
    while at < x1 - 14:
        length = min(rng.uniform(16, 46), x1 - 5 - at)
        if length > 10:
            block = fixtures.block(rng, length, deep, rng.uniform(5, 20))
            world.add(block, complex(at + length / 2, y0 + 4 + deep / 2))
        at += length + rng.uniform(5, 10)
    _row_of_cars(world, complex(x0 + 4, y0 + deep + 8.5), complex(x1 - 4, y0 + deep + 8.5), rng.uniform(0.2, 0.7))
    trees(world, (x0, y0 + deep + 12, x1, room[3]), 6)


def _row_of_cars(world: World, a: complex, b: complex, share: float, pitch: float = 2.7) -> None:
    rng = world.rng
    along = (b - a) / (abs(b - a) or 1)
    facing = along * 1j
    for i in range(int(abs(b - a) / pitch)):
        place = a + along * (i + 0.5) * pitch
        if not world.sees(place, 3):
            continue
        if world.gsd < 0.5:
            line = place + along * pitch / 2
            world.canvas.line(line - facing * 2.5, line + facing * 2.5, 0.18, PAINT, PAVED)
        if world.fast and rng.random() < share:
            drift = complex(rng.uniform(-0.15, 0.15), rng.uniform(-0.4, 0.4))
            tilt = complex(1, rng.gauss(0, 0.03))
            tilt /= abs(tilt)
            world.add(vehicles.car(rng), place + drift * along, facing * tilt * rng.choice((1, -1)), VEHICLE)


def car_park(world: World, room: Room) -> None:
    """Double rows of parked cars with trees between."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, ASPHALTS, 0.12), PAVED)
    x0, y0, x1, y1 = room
    seen = min(math.prod(sides(room)), (world.size * world.gsd) ** 2)
    share = min(rng.uniform(0.15, 0.95), 34 * max(1, world.size**2 / 65536) / (seen / 23))
    y = y0 + 4
    while y + 10 < y1:
        for offset in (0.0, 5.2):
            if rng.random() < 0.9:
                _row_of_cars(world, complex(x0 + 3, y + offset), complex(x1 - 3, y + offset), share)
        if rng.random() < 0.3:
            canvas.line(complex(x0 + 3, y + 2.6), complex(x1 - 3, y + 2.6), 1.0, pick(rng, GRASSES), GRASS)
            for i in range(int((x1 - x0) / 14)):
                world.add(fixtures.tree(rng, rng.uniform(1.2, 2.4), world.sun), complex(x0 + 8 + 14 * i, y + 2.6))
        y += 16.6


def yard(world: World, room: Room) -> None:
    """Trucks, trailers without a cab and stacks of containers on concrete."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, CONCRETES, 0.1), PAVED)
    x0, y0, x1, y1 = room
    y = y0 + 10
    while y + 8 < y1:
        stacks = rng.random() < 0.4
        pitch = rng.uniform(3.6, 5.5)
        for i in range(int((x1 - x0 - 8) / (pitch if not stacks else 13.5))):
            place = complex(x0 + 4 + (i + 0.5) * (pitch if not stacks else 13.5), y)
            if not world.sees(place, 9):
                continue
            if stacks:
                for k in range(rng.randint(0, 5)):
                    world.add(vehicles.container(rng), place + complex(0, -6 + 2.6 * k))
                continue
            chance = rng.random()
            facing = 1j * rng.choice((1, -1))
            if chance < 0.35 and world.gsd < 1.3:
                world.add(vehicles.truck(rng), place, facing, TRUCK)
            elif chance < 0.6:
                world.add(vehicles.trailer(rng), place, facing)
            elif chance < 0.7:
                world.add(vehicles.container(rng), place, facing)
        y += rng.uniform(22, 30)


def warehouse(world: World, room: Room) -> None:
    """A hall with trucks at its docks."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, CONCRETES + ASPHALTS, 0.1), PAVED)
    w, h = sides(room)
    if h < 40 or w < 30:
        return yard(world, room)
    deep = h - rng.uniform(26, 32)
    x0, y0, x1, _ = room
    world.add(fixtures.block(rng, w - 12, deep, rng.uniform(8, 13)), complex((x0 + x1) / 2, y0 + 4 + deep / 2))
    for i in range(int((w - 16) / 4.4)):
        place = complex(x0 + 9 + 4.4 * i, y0 + deep + 13.5)
        if not world.sees(place, 9) or rng.random() < 0.4:
            continue
        if rng.random() < 0.6 and world.gsd < 1.3:
            world.add(vehicles.truck(rng), place, 1j, TRUCK)
        else:
            world.add(vehicles.trailer(rng), place, 1j)


def tank_farm(world: World, room: Room) -> None:
    """Tanks of one or several sizes inside bunds, pipes, a retention pond."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, SOILS + CONCRETES + GRASSES, 0.1), SOIL)
    x0, y0, x1, y1 = room
    largest = min(30.0, min(sides(room)) / 2.6, world.meters(95))
    radius = rng.uniform(max(3.0, world.meters(4)), max(largest, world.meters(5)))
    pitch = radius * rng.uniform(2.5, 3.1)
    columns, rows = max(1, int((x1 - x0) / pitch)), max(1, int((y1 - y0) / pitch))
    pipe, bund = pick(rng, ((168, 166, 160), (138, 132, 126))), pick(rng, CONCRETES + SOILS)
    for j in range(rows):
        y = y0 + (j + 0.5) * (y1 - y0) / rows
        canvas.line(complex(x0, y - pitch * 0.47), complex(x1, y - pitch * 0.47), 1.4, pipe, SMOOTH)
        for i in range(columns):
            place = complex(x0 + (i + 0.5) * (x1 - x0) / columns, y)
            if not world.sees(place, radius):
                continue
            canvas.polygon([place + z for z in rect(*(s * pitch * 0.46 for s in (-1, -1, 1, 1)))], bund, SOIL)
            inner = [place + z for z in rect(*(s * pitch * 0.43 for s in (-1, -1, 1, 1)))]
            canvas.polygon(inner, shade(bund, 0.86), SOIL)
            canvas.line(place, place - 0.5j * pitch, 0.8, pipe)
            chance = rng.random()
            if chance < 0.82:
                world.add(fixtures.tank(rng, radius * rng.uniform(0.75, 1.0), world.sun), place, 1, TANK)
            elif chance < 0.92:
                for part, paint, material in fixtures.pond(rng, radius * 0.9, shade(world.water, 1.1)):
                    canvas.polygon([place + z for z in part], paint, material)


def sports(world: World, room: Room) -> None:
    """As many courts and pitches as fit, on grass, with trees and a little parking."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, GRASSES), GRASS)
    x0, y0, x1, y1 = room
    longest = world.meters(200)
    y = y0 + 5
    while y < y1 - 15:
        x, row = x0 + 5, 0.0
        while x < x1 - 15:
            upright = rng.random() < 0.4
            space = (min(longest, x1 - x - 5), min(longest, y1 - y - 5))
            ground = fixtures.sports_ground(rng, space[::-1] if upright else space)
            if ground is None:
                break
            length, width = ground.extent()
            w, h = (width, length) if upright else (length, width)
            if w < world.meters(200) and max(length, width) > world.meters(8):
                world.add(ground, complex(x + w / 2, y + h / 2), 1j if upright else 1, SPORTS)
            x, row = x + w + rng.uniform(5, 14), max(row, h)
        y += max(row, 16) + rng.uniform(5, 12)
    for _ in range(int(math.prod(sides(room)) / 500)):
        place = complex(rng.choice((x0 + 2, x1 - 2)), rng.uniform(y0, y1))
        world.add(fixtures.tree(rng, rng.uniform(1.8, 3.2), world.sun), place)


CITY: tuple[Block, ...] = (houses, houses, flats, car_park, car_park, park, sports)
INDUSTRY: tuple[Block, ...] = (tank_farm, tank_farm, warehouse, yard, yard, park)
PORT: tuple[Block, ...] = (warehouse, yard, yard, park, tank_farm)
GREEN: tuple[Block, ...] = (field, field, forest, park, houses)
WILD: tuple[Block, ...] = (field, field, forest, forest, park)
OUTSKIRTS: tuple[Block, ...] = (*GREEN, flats, car_park, sports)
PLAY: tuple[Block, ...] = (sports, sports, sports, park, car_park)
