"""Things that stay where they are: tanks, sports grounds, bridges, houses, trees, boulders."""

from __future__ import annotations

import math
from random import Random

from skystill.data.synthetic.canvas import Sprite
from skystill.data.synthetic.geometry import Outline, quad, rect, ring
from skystill.data.synthetic.palette import (
    ASPHALTS,
    CONCRETES,
    FLATS,
    FOREST,
    FORESTS,
    GRASS,
    GRASSES,
    PAINT,
    PAVED,
    ROOF,
    ROOFS,
    SMOOTH,
    SOIL,
    TANKS,
    WHITE,
    Colour,
    blend,
    pick,
    shade,
)

Part = tuple[Outline, Colour, int]


def tank(rng: Random, radius: float, sun: complex) -> Sprite:
    """A storage tank with a cone, dome or floating roof. sun: the shadow's direction in the sprite's own frame."""
    paint = pick(rng, TANKS, 0.06)
    away = sun / abs(sun)
    body = ring(0j, radius, 24)
    parts: list[Part] = [(body, shade(paint, 0.82), ROOF)]
    if rng.random() < 0.4:  # floating roof: the sunward wall shades the sunken deck
        deck = shade(paint, rng.uniform(0.7, 0.92))
        parts.append((ring(0j, radius * 0.93, 24), shade(deck, 0.5), SMOOTH))
        parts.append((ring(away * radius * 0.13, radius * 0.80, 24), deck, ROOF))
        parts.append((quad(0j, -1j * away * radius * 0.8, radius * 0.07), shade(deck, 0.75), SMOOTH))
    else:
        parts.append((ring(0j, radius * 0.95, 24), paint, ROOF))
        for i in range(8):
            a, b = (_polar(radius * 0.94, math.tau * (i + s) / 8) for s in (0.0, 1.0))
            lit = ((a + b) * away.conjugate()).real / (2 * radius)
            parts.append(((0j, a, b), shade(paint, 1.0 - 0.13 * lit), ROOF))
        parts.append((ring(0j, radius * 0.08, 8), shade(paint, 0.7), SMOOTH))
    stair, steel = away * -1j * radius, (110, 110, 108)
    parts.append((quad(stair * 0.9, stair * 0.92 + away * radius * 0.25, radius * 0.05), steel, SMOOTH))
    return Sprite(parts, [body], min(16.0, radius * rng.uniform(0.6, 1.1)))


def _polar(radius: float, angle: float) -> complex:
    return complex(radius * math.cos(angle), radius * math.sin(angle))


def sports_ground(rng: Random, room: tuple[float, float]) -> Sprite | None:
    """A running track, football pitch, tennis or basketball court that fits a room of (length, width) metres."""
    kinds = [(176.0, 94.0, _track), (108.0, 68.0, _pitch), (36.0, 18.0, _tennis), (30.0, 17.0, _basketball)]
    fitting = [make for length, width, make in kinds if length <= room[0] and width <= room[1]]
    if not fitting:
        return None
    return rng.choice(fitting[:2])(rng)


def _lines(points: list[tuple[complex, complex]], width: float) -> list[Part]:
    return [(quad(a, b, width), PAINT, SMOOTH) for a, b in points]


def _frame(x: float, y: float) -> list[tuple[complex, complex]]:
    a, b, c, d = rect(-x, -y, x, y)
    return [(a, b), (b, c), (c, d), (d, a)]


def _grass_court(rng: Random, x: float, y: float) -> list[Part]:
    green = pick(rng, ((86, 122, 62), (74, 112, 64), (104, 128, 70), (62, 108, 72)), 0.08)
    parts: list[Part] = [(rect(-x, -y, x, y), green, GRASS)]
    stripes = rng.choice((0, 8, 10, 12))
    for i in range(0, stripes, 2):
        x0 = -x + 2 * x * i / stripes
        parts.append((rect(x0, -y, x0 + 2 * x / stripes, y), shade(green, 1.1), GRASS))
    return parts


def _pitch_lines(x: float, y: float) -> list[Part]:
    lines = [*_frame(x, y), (complex(0, -y), complex(0, y))]
    for side in (-1, 1):
        for depth, half in ((0.31 * x, 0.6 * y), (0.11 * x, 0.28 * y)):
            inner = side * (x - depth)
            a, b = complex(inner, -half), complex(inner, half)
            lines += [(complex(side * x, -half), a), (a, b), (b, complex(side * x, half))]
    circle = ring(0j, 9.15 * x / 52, 16)
    lines += list(zip(circle, circle[1:] + circle[:1], strict=True))
    return _lines(lines, 0.45)


def _pitch(rng: Random) -> Sprite:
    scale = rng.uniform(0.85, 1.0)
    x, y = 52.0 * scale, 33.0 * scale
    parts = _grass_court(rng, x + 2, y + 2) + _pitch_lines(x, y)
    return Sprite(parts, [rect(-x - 2, -y - 2, x + 2, y + 2)], 0)


def _track(rng: Random) -> Sprite:
    clay = pick(rng, ((168, 86, 66), (152, 78, 66), (92, 112, 150), (186, 108, 80)), 0.06)
    outer, inner = _stadium(46.0, 42.5), _stadium(36.5, 42.5)
    parts: list[Part] = [(outer, clay, PAVED)]
    for lane in (44.0, 41.5, 39.0):
        parts.append((_stadium(lane, 42.5), blend(clay, PAINT, 0.35), PAVED))
        parts.append((_stadium(lane - 0.5, 42.5), clay, PAVED))
    parts.append((inner, pick(rng, GRASSES), GRASS))
    scale = 0.72
    pitch = _grass_court(rng, 52 * scale, 33 * scale) + _pitch_lines(50 * scale, 31 * scale)
    return Sprite(parts + pitch, [outer], 0)


def _stadium(radius: float, half: float) -> tuple[complex, ...]:
    bend = [_polar(radius, math.pi * (i / 12 - 0.5)) for i in range(13)]
    return tuple(z + half for z in bend) + tuple(-z - half for z in bend)


_COURTS: tuple[Colour, ...] = ((70, 106, 132), (74, 116, 92), (172, 98, 72), (96, 110, 142), (58, 92, 120))


def _tennis(rng: Random) -> Sprite:
    ground, court = pick(rng, _COURTS, 0.06), pick(rng, _COURTS, 0.06)
    x, y = 11.9, 5.5
    lines = [*_frame(x, y), (complex(-x, -4.1), complex(x, -4.1)), (complex(-x, 4.1), complex(x, 4.1))]
    lines += [(complex(-6.4, -4.1), complex(-6.4, 4.1)), (complex(6.4, -4.1), complex(6.4, 4.1)), (-6.4 + 0j, 6.4 + 0j)]
    outer = rect(-17.5, -8.5, 17.5, 8.5)
    parts: list[Part] = [(outer, ground, PAVED), (rect(-x, -y, x, y), court, PAVED), *_lines(lines, 0.28)]
    parts.append((rect(-0.15, -6.2, 0.15, 6.2), (60, 62, 60), SMOOTH))
    return Sprite(parts, [outer], 0)


def _basketball(rng: Random) -> Sprite:
    ground, court = pick(rng, _COURTS, 0.06), pick(rng, (*_COURTS, (182, 140, 96)), 0.06)
    outer = rect(-14.5, -8.0, 14.5, 8.0)
    parts: list[Part] = [(outer, ground, PAVED)]
    for end in (-1, 1):
        arc = ring(complex(end * 11.5, 0), 6.2, 16)
        parts.append((tuple(complex(max(-13.0, min(13.0, z.real)), z.imag) for z in arc), court, PAVED))
        parts.append((rect(end * 11 - 2, -2.4, end * 11 + 2, 2.4), shade(ground, 1.25), PAVED))
    circle = ring(0j, 1.8, 12)
    lines = [*_frame(13.0, 7.2), (-7.2j, 7.2j), *zip(circle, circle[1:] + circle[:1], strict=True)]
    return Sprite(parts + _lines(lines, 0.28), [outer], 0)


def bridge(rng: Random, length: float, width: float, lanes: Colour) -> Sprite:
    """A road bridge from bank to bank."""
    half, end = width / 2, length / 2
    rail = pick(rng, CONCRETES, 0.06)
    deck = rect(-end, -half, end, half)
    parts: list[Part] = [(deck, rail, PAVED), (rect(-end, -half * 0.8, end, half * 0.8), lanes, PAVED)]
    if rng.random() < 0.3:  # a truss: braces over the deck
        steel = pick(rng, ((120, 130, 128), (110, 84, 70), (150, 152, 150)))
        for i in range(max(3, int(length / 9))):
            x = -end + (i + 0.5) * length / max(3, int(length / 9))
            parts.append((rect(x - 0.35, -half, x + 0.35, half), steel, SMOOTH))
        parts += [(rect(-end, y - 0.5, end, y + 0.5), steel, SMOOTH) for y in (-half + 0.5, half - 0.5)]
    else:
        step = 9.0
        parts += [
            (rect(-end + i * step, -0.14, -end + i * step + 4, 0.14), PAINT, SMOOTH) for i in range(int(length / step))
        ]
        parts += [(rect(-end, y - 0.12, end, y + 0.12), PAINT, SMOOTH) for y in (-half * 0.72, half * 0.72)]
    return Sprite(parts, [deck], rng.uniform(3.0, 6.0))


def house(rng: Random, length: float, width: float, lit: float) -> Sprite:
    """A gable roof, its ridge along the length. lit: -1..1, how far the far side (positive imaginary) faces the sun."""
    paint = pick(rng, ROOFS)
    x, y = length / 2, width / 2
    near, far = rect(-x, -y, x, 0), rect(-x, 0, x, y)
    parts: list[Part] = [(near, shade(paint, 1 - 0.2 * lit), ROOF), (far, shade(paint, 1 + 0.2 * lit), ROOF)]
    if rng.random() < 0.25:  # solar panels, as dark and oblong as a car
        parts.append((rect(-x * 0.5, y * 0.2, x * 0.3, y * 0.75), (46, 54, 74), SMOOTH))
    if rng.random() < 0.6:
        at = rng.uniform(-0.6, 0.6) * x
        parts.append((rect(at - 0.5, -0.6, at + 0.5, 0.4), (130, 84, 70), SMOOTH))
    return Sprite(parts, [rect(-x, -y, x, y)], rng.uniform(4.5, 7.0))


def block(rng: Random, length: float, width: float, height: float) -> Sprite:
    """A flat roof with a parapet and roof units of the size of vehicles."""
    paint = pick(rng, FLATS)
    x, y = length / 2, width / 2
    outer = rect(-x, -y, x, y)
    parts: list[Part] = [(outer, shade(paint, 0.84), ROOF), (rect(-x + 0.6, -y + 0.6, x - 0.6, y - 0.6), paint, ROOF)]
    style = rng.random()
    if style < 0.35:  # a ribbed hall roof with skylights
        for i in range(1, int(length / 7)):
            at = -x + i * 7.0
            parts.append((rect(at, -y + 0.6, at + 0.4, y - 0.6), shade(paint, 0.93), ROOF))
        for i in range(int(length / 14)):
            at = -x + 7 + i * 14.0
            parts.append((rect(at - 1, -y * 0.6, at + 1, -y * 0.15), shade(paint, 1.18), SMOOTH))
            parts.append((rect(at - 1, y * 0.15, at + 1, y * 0.6), shade(paint, 1.18), SMOOTH))
    else:
        for _ in range(min(8, int(length * width / 120))):
            spot = complex(rng.uniform(-0.8, 0.8) * x, rng.uniform(-0.75, 0.75) * y)
            w, h = rng.choice(((1.6, 1.2), (2.4, 1.1), (4.4, 1.9), (3.0, 3.0)))
            unit = pick(rng, ((196, 198, 198), (132, 134, 136), (90, 92, 96)))
            parts.append(
                (
                    rect(spot.real + 0.5, spot.imag + 0.5, spot.real + w + 0.6, spot.imag + h + 0.6),
                    shade(paint, 0.55),
                    SMOOTH,
                )
            )
            parts.append((rect(spot.real, spot.imag, spot.real + w, spot.imag + h), unit, SMOOTH))
    return Sprite(parts, [outer], height)


def tree(rng: Random, radius: float, sun: complex) -> Sprite:
    """A crown, lit from the sun's side. Round enough to pass for a small tank, dark enough to pass for a pond."""
    paint = pick(rng, FORESTS, 0.15)
    away = sun / abs(sun)
    rough = [1 + rng.uniform(-0.16, 0.16) for _ in range(9)]
    crown = tuple(_polar(radius * r, math.tau * i / 9) for i, r in enumerate(rough))
    parts: list[Part] = [(crown, shade(paint, 0.72), FOREST)]
    parts.append((tuple(z * 0.72 - away * radius * 0.2 for z in crown), paint, FOREST))
    parts.append((tuple(z * 0.36 - away * radius * 0.36 for z in crown), shade(paint, 1.28), FOREST))
    return Sprite(parts, [ring(0j, radius * 0.95, 10)], radius * 1.5)


def boulder(rng: Random, radius: float) -> Sprite:
    """Clutter: a rock."""
    paint = pick(rng, ((150, 146, 138), (124, 118, 110), (172, 164, 150)), 0.1)
    body = tuple(_polar(radius * rng.uniform(0.75, 1.1), math.tau * i / 7) for i in range(7))
    parts: list[Part] = [(body, paint, SOIL), (tuple(z * 0.55 for z in body), shade(paint, 1.12), SOIL)]
    return Sprite(parts, [ring(0j, radius * 0.8, 8)], radius * 0.8)


def pond(rng: Random, radius: float, water: Colour) -> list[Part]:
    """Clutter: a round basin with a pale rim, as round as a tank but flat."""
    rim = pick(rng, (*CONCRETES, *GRASSES, *ASPHALTS))
    return [(ring(0j, radius, 24), shade(rim, 1.05), PAVED), (ring(0j, radius * 0.9, 24), water, SMOOTH)]


def crane(rng: Random, reach: float) -> Sprite:
    """Clutter: a quay crane, a long thin frame that may be taken for a boat's mast or a bridge."""
    paint = pick(rng, ((196, 120, 48), (70, 100, 142), (170, 60, 50), (206, 204, 198)))
    x = reach / 2
    beams: list[Outline] = [rect(-x, -1.6, x, -0.8), rect(-x, 0.8, x, 1.6)]
    parts: list[Part] = [(beam, paint, SMOOTH) for beam in beams]
    for i in range(6):
        at = -x + (i + 0.3) * reach / 6
        parts.append((rect(at, -1.6, at + 0.6, 1.6), shade(paint, 0.85), SMOOTH))
    parts.append((rect(-x * 0.35, -3.6, -x * 0.1, 3.6), shade(paint, 0.8), SMOOTH))
    parts.append((rect(-x * 0.5, -2.0, -x * 0.3, 2.0), WHITE, SMOOTH))
    return Sprite(parts, beams, 4.0)  # lower than it is: seen from above, its shadow is a lattice, not a wall
