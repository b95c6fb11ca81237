"""Open ground: fields, woods and parks, each filling an upright rectangle of the world."""

from __future__ import annotations

import math

from skystill.data.synthetic import fixtures
from skystill.data.synthetic.geometry import rect, ring
from skystill.data.synthetic.palette import (
    CROP,
    CROPS,
    FOREST,
    FORESTS,
    GRASS,
    GRASSES,
    SOIL,
    SOILS,
    pick,
    shade,
)
from skystill.data.synthetic.world import World

Room = tuple[float, float, float, float]


def middle(room: Room) -> complex:
    """The centre of a room."""
    return complex((room[0] + room[2]) / 2, (room[1] + room[3]) / 2)


def sides(room: Room) -> tuple[float, float]:
    """Its extents along x and y."""
    return room[2] - room[0], room[3] - room[1]


def within(world: World, room: Room, margin: float = 0.0) -> complex:
    """Anywhere in it."""
    x0, y0, x1, y1 = room
    return complex(world.rng.uniform(x0 + margin, x1 - margin), world.rng.uniform(y0 + margin, y1 - margin))


def trees(world: World, room: Room, count: int, radius: tuple[float, float] = (1.8, 4.2)) -> None:
    """Single trees anywhere in a room."""
    for _ in range(count):
        place = within(world, room)
        size = world.rng.uniform(*radius)
        if world.sees(place, size) and world.clear(place, size):
            world.add(fixtures.tree(world.rng, size, world.sun), place)


def field(world: World, room: Room) -> None:
    """One to three crops in strips, with furrows, a hedge or some boulders."""
    rng, canvas = world.rng, world.canvas
    x0, y0, x1, y1 = room
    strips = rng.randint(1, 3)
    for i in range(strips):
        a, b = x0 + (x1 - x0) * i / strips, x0 + (x1 - x0) * (i + 1) / strips
        paint = pick(rng, CROPS, 0.1)
        canvas.polygon(rect(a, y0, b, y1), paint, CROP)
        pitch = max(rng.uniform(2.5, 9.0), 3 * world.gsd)
        row = shade(paint, rng.uniform(0.88, 0.96))
        for k in range(int((b - a) / pitch)):
            x = a + k * pitch
            canvas.line(complex(x, y0), complex(x, y1), pitch * 0.4, row, CROP)
    if rng.random() < 0.5:
        for _ in range(rng.randint(2, 8)):
            world.add(fixtures.boulder(rng, rng.uniform(0.8, 2.2)), within(world, room))
    trees(world, room, rng.randint(0, 5))


def forest(world: World, room: Room) -> None:
    """A wood with a ragged edge."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, GRASSES), GRASS)
    paint, centre = pick(rng, FORESTS, 0.12), middle(room)
    w, h = sides(room)
    edge = [complex(z.real * w / 2, z.imag * h / 2) * rng.uniform(0.86, 1.02) for z in ring(0j, 1.12, 26)]
    edge = [complex(max(-w / 2, min(w / 2, z.real)), max(-h / 2, min(h / 2, z.imag))) for z in edge]
    canvas.overcast([centre + z + world.sun * 7 for z in edge], 200)
    canvas.polygon([centre + z for z in edge], paint, FOREST)
    canvas.overcast([centre + z for z in edge], 0)
    trees(world, room, 6, (2.5, 5.0))


def park(world: World, room: Room) -> None:
    """Lawn, paths, trees and perhaps a round pond."""
    rng, canvas = world.rng, world.canvas
    canvas.polygon(rect(*room), pick(rng, GRASSES), GRASS)
    x0, y0, x1, y1 = room
    path = pick(rng, SOILS)
    canvas.line(complex(x0, rng.uniform(y0, y1)), complex(x1, rng.uniform(y0, y1)), 2.5, path, SOIL)
    canvas.line(complex(rng.uniform(x0, x1), y0), complex(rng.uniform(x0, x1), y1), 2.5, path, SOIL)
    for _ in range(rng.randint(0, 2)):
        radius = rng.uniform(4, 11)
        if min(sides(room)) > 2.4 * radius:
            at = within(world, room, radius)
            for part, paint, material in fixtures.pond(rng, radius, shade(world.water, rng.uniform(0.8, 1.2))):
                canvas.polygon([at + z for z in part], paint, material)
    trees(world, room, int(math.prod(sides(room)) / 160))
