"""Land: a grid of roads with traffic between blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from skystill.data.synthetic import vehicles
from skystill.data.synthetic.blocks import Block
from skystill.data.synthetic.geometry import rect
from skystill.data.synthetic.grounds import Room, middle, sides
from skystill.data.synthetic.palette import ASPHALTS, CONCRETES, PAINT, PAVED, pick
from skystill.data.synthetic.world import TRUCK, VEHICLE, World


def lay(world: World, room: Room, kinds: Sequence[Block], pitch: float, road: float) -> list[float]:
    """Cover a room with blocks and roads; returns the x of the roads that run along y."""
    xs, ys = _cuts(world, room[0], room[2], pitch, road), _cuts(world, room[1], room[3], pitch * 0.8, road)
    world.canvas.polygon(rect(*room), pick(world.rng, ASPHALTS), PAVED)
    for x0, x1 in pairwise(xs):
        for y0, y1 in pairwise(ys):
            block = (x0 + road / 2, y0 + road / 2, x1 - road / 2, y1 - road / 2)
            w, h = sides(block)
            if w > 6 and h > 6 and world.sees(middle(block), 0.5 * math.hypot(w, h)):
                if road > 7:
                    world.canvas.polygon(rect(*block), pick(world.rng, CONCRETES), PAVED)
                    block = (block[0] + 1.5, block[1] + 1.5, block[2] - 1.5, block[3] - 1.5)
                world.rng.choice(kinds)(world, block)
    for x in xs[1:-1]:
        traffic(world, complex(x, room[1]), complex(x, room[3]), road)
    for y in ys[1:-1]:
        traffic(world, complex(room[0], y), complex(room[2], y), road)
    return xs[1:-1]


def _cuts(world: World, low: float, high: float, pitch: float, road: float) -> list[float]:
    cuts = [low - road / 2, low + world.rng.uniform(0.3, 1.0) * pitch]
    while cuts[-1] < high - 0.4 * pitch:
        cuts.append(cuts[-1] + world.rng.uniform(0.7, 1.4) * pitch)
    cuts[-1] = high + road / 2
    return cuts


def traffic(world: World, a: complex, b: complex, road: float) -> None:
    """A centre line and moving vehicles, on the right of it."""
    rng = world.rng
    along = (b - a) / (abs(b - a) or 1)
    if world.gsd < 0.7:
        world.canvas.dashes(a, b, 0.25, 8.0, PAINT)
    if not world.fast:
        return
    for way in (1, -1):
        at = rng.uniform(0, 30)
        while at < abs(b - a):
            place = a + along * at + along * 1j * way * road * 0.24
            heavy = rng.random() < 0.15
            if world.sees(place, 9):
                thing = vehicles.truck(rng) if heavy else vehicles.car(rng)
                if not world.free(place, 4.5 if heavy else 2.4):
                    at += 8
                    continue
                world.add(thing, place, along * way, TRUCK if heavy else VEHICLE)
            at += rng.uniform(11, 22) + rng.expovariate(1 / 22)


def cover(world: World, kinds: Sequence[Block], pitch: float, road: float) -> list[float]:
    """Cover the whole image with blocks and roads; returns the x of the roads that run along y."""
    r = world.reach
    return lay(world, (-r, -r, r, r), kinds, pitch, road)
