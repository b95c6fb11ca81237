"""A winding river under bridges, with ships and boats."""

from __future__ import annotations

import math
from collections.abc import Callable

from skystill.data.synthetic import blocks, fixtures, roads, vehicles, waters
from skystill.data.synthetic.palette import ASPHALTS, GRASSES, SOIL, SOILS, WATER, pick
from skystill.data.synthetic.world import BRIDGE, VEHICLE, World

_BANK = 6.0  # metres of grass or soil on either side


def river(world: World) -> None:
    """Water across a settlement, along x; every road along y crosses it or ends at it."""
    rng = world.rng
    extent = world.size * world.gsd
    width = rng.uniform(0.12, 0.3) * min(extent, 260)
    bend, phase = rng.uniform(0.1, 0.55) * width, rng.uniform(0, math.tau)
    wave, shift = math.tau / (extent * rng.uniform(0.8, 1.6)), rng.uniform(-0.2, 0.2) * extent

    def middle(x: float) -> float:
        return shift + bend * math.sin(wave * x + phase)

    pitch = max(38.0, rng.uniform(0.25, 0.5) * min(extent, 260))
    road = min(rng.uniform(8, 16), max(6.0, 0.5 * width), 0.18 * pitch)
    mix = rng.choice((blocks.CITY, blocks.GREEN, blocks.INDUSTRY))
    crossings = roads.cover(world, mix, pitch, road)
    world.things = [
        thing
        for thing in world.things
        if abs(thing.place.imag - middle(thing.place.real)) > width / 2 + _BANK + sum(thing.sprite.extent()) / 3
    ]
    _flood(world, middle, width)
    for x in crossings:
        if rng.random() < 0.9:
            _cross(world, complex(x, middle(x)), width, road)
    waters.roam(world, rng.randint(6, 16), 12, lambda z: abs(z.imag - middle(z.real)) < width * 0.4)


def _flood(world: World, middle: Callable[[float], float], width: float) -> None:
    r = world.reach
    xs = [-r + i * r / 20 for i in range(41)]
    layers = ((width / 2 + _BANK, pick(world.rng, GRASSES + SOILS), SOIL), (width / 2, world.water, WATER))
    for half, paint, material in layers:
        shores = [complex(x, middle(x) - half) for x in xs] + [complex(x, middle(x) + half) for x in reversed(xs)]
        world.canvas.overcast(shores, 0)
        world.canvas.polygon(shores, paint, material)


def _cross(world: World, place: complex, width: float, road: float) -> None:
    rng = world.rng
    world.taken.append((place, road))
    deck = fixtures.bridge(rng, width + 8, road * rng.uniform(0.9, 1.2), pick(rng, ASPHALTS))
    world.add(deck, place, 1j, BRIDGE)
    if world.fast and rng.random() < 0.7:
        lane = place + complex(-road * 0.22, rng.uniform(-0.3, 0.3) * width)
        world.add(vehicles.car(rng), lane, 1j, VEHICLE)
