"""Airfields: runway, taxiways, an apron of parked airplanes, a terminal or hangars, and a settlement beyond."""

from __future__ import annotations

import math

from skystill.data.synthetic import aircraft, blocks, fixtures, roads, vehicles
from skystill.data.synthetic.geometry import rect
from skystill.data.synthetic.palette import ASPHALTS, CONCRETES, GRASS, GRASSES, PAINT, PAVED, pick, shade
from skystill.data.synthetic.world import AIRPLANE, TRUCK, VEHICLE, World


def airfield(world: World) -> None:
    """Runway, taxiways, an apron of parked airplanes, a terminal or hangars."""
    rng, r = world.rng, world.reach
    world.canvas.fill(pick(rng, GRASSES), GRASS)
    typical = min(66.0, max(8.0, world.meters(math.exp(rng.uniform(math.log(16), math.log(110))))))
    lane = max(9.0, typical * 0.45)
    base = rng.uniform(-0.25, 0.25) * world.size * world.gsd
    deep = typical * 2.4
    roads.lay(world, (-r, -2 * r - 40, r, base - deep), blocks.OUTSKIRTS, 80, 8)
    _apron(world, base - deep, base + lane * 1.6, max(typical * 0.2, 6.0))
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


def _apron(world: World, low: float, high: float, joint: float) -> None:
    """Concrete between two y, with joints, stains and mended slabs."""
    rng, r = world.rng, world.reach
    slab = pick(rng, CONCRETES)
    world.canvas.polygon(rect(-r, low, r, high), slab, PAVED)
    for i in range(int(2 * r / joint)):
        x = -r + i * joint
        world.canvas.line(complex(x, low), complex(x, high), 0.25, shade(slab, 0.92), PAVED)
    for _ in range(24):
        at = complex(rng.uniform(-r, r), rng.uniform(low + joint, high - joint))
        if rng.random() < 0.6:
            world.canvas.disc(at, rng.uniform(0.4, 1.6), shade(slab, rng.uniform(0.75, 0.92)), PAVED)
        else:
            world.canvas.line(at, at + joint * rng.uniform(0.5, 2), joint, shade(slab, rng.uniform(0.92, 1.06)), PAVED)


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
    if typical < 16:  # straight wings span more than the length
        pitch *= 1.3
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
