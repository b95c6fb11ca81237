"""Ships and boats. They differ in shape and rig rather than in size on the image, since the scale of scenes differs."""

from __future__ import annotations

from random import Random

from skystill.data.synthetic.canvas import Sprite
from skystill.data.synthetic.geometry import Outline, rect, ring, turn
from skystill.data.synthetic.palette import CONTAINERS, DECKS, GLASS, SMOOTH, WHITE, Colour, pick, shade

Part = tuple[Outline, Colour, int]


def _hull(length: float, half: float, bow: float, stern: float) -> tuple[complex, ...]:
    """bow: the share of the length that tapers. stern: half width at the stern as a share of `half`."""
    end = length / 2
    taper = bow * length
    return (
        complex(-end, -half * stern), complex(-end + 0.08 * length, -half), complex(end - taper, -half),
        complex(end - 0.55 * taper, -half * 0.8), complex(end - 0.2 * taper, -half * 0.42), complex(end, 0),
        complex(end - 0.2 * taper, half * 0.42), complex(end - 0.55 * taper, half * 0.8), complex(end - taper, half),
        complex(-end + 0.08 * length, half), complex(-end, half * stern),
    )  # fmt: skip


def ship(rng: Random, length: float) -> Sprite:
    """A container ship, tanker, bulk carrier, ferry or warship of the given length in metres."""
    kind = rng.choice((_containers, _tanker, _bulker, _ferry, _warship))
    return kind(rng, length)


def _bridge_house(length: float, half: float, at: float, depth: float) -> list[Part]:
    x = at * length
    house = rect(x - depth * length / 2, -half * 0.86, x + depth * length / 2, half * 0.86)
    wing = rect(x + depth * length * 0.2, -half * 0.98, x + depth * length * 0.42, half * 0.98)
    funnel = rect(x - depth * length * 0.42, -half * 0.22, x - depth * length * 0.12, half * 0.22)
    return [(house, WHITE, SMOOTH), (wing, shade(WHITE, 0.9), SMOOTH), (funnel, (70, 62, 60), SMOOTH)]


def _containers(rng: Random, length: float) -> Sprite:
    half = length / rng.uniform(12.0, 13.5)
    hull = _hull(length, half, 0.2, 0.8)
    deck = pick(rng, DECKS)
    parts: list[Part] = [(hull, shade(deck, 0.62), SMOOTH), (_inner(hull, 0.93), deck, SMOOTH)]
    bays = max(4, int(length / 15))
    x0, x1 = -0.24 * length, 0.32 * length
    step = (x1 - x0) / bays
    rows = 3
    for bay in range(bays):
        for row in range(rows):
            y = -half * 0.86 + row * half * 1.72 / rows
            box = rect(x0 + bay * step + step * 0.08, y, x0 + (bay + 1) * step, y + half * 1.66 / rows)
            parts.append((box, pick(rng, CONTAINERS, 0.12), SMOOTH))
    parts += _bridge_house(length, half, -0.33, 0.09)
    return Sprite(parts, [hull], min(22.0, length * 0.11))


def _tanker(rng: Random, length: float) -> Sprite:
    half = length / rng.uniform(11.0, 13.0)
    hull = _hull(length, half, 0.17, 0.82)
    deck = pick(rng, DECKS)
    parts: list[Part] = [(hull, shade(deck, 0.55), SMOOTH), (_inner(hull, 0.91), deck, SMOOTH)]
    parts.append((rect(-0.26 * length, -half * 0.07, 0.40 * length, half * 0.07), shade(deck, 1.45), SMOOTH))
    for x in (-0.12, 0.02, 0.16):
        parts.append((rect(x * length, -half * 0.7, x * length + 0.012 * length, half * 0.7), shade(deck, 1.3), SMOOTH))
    parts += _bridge_house(length, half, -0.37, 0.11)
    return Sprite(parts, [hull], min(14.0, length * 0.08))


def _bulker(rng: Random, length: float) -> Sprite:
    half = length / rng.uniform(11.0, 13.0)
    hull = _hull(length, half, 0.16, 0.82)
    deck = pick(rng, DECKS)
    parts: list[Part] = [(hull, shade(deck, 0.6), SMOOTH), (_inner(hull, 0.92), deck, SMOOTH)]
    cover = pick(rng, ((176, 170, 158), (150, 156, 160), (120, 80, 64)), 0.1)
    holds = rng.randint(4, 6)
    step = 0.64 * length / holds
    for i in range(holds):
        x = -0.27 * length + i * step
        parts.append((rect(x + step * 0.12, -half * 0.6, x + step * 0.84, half * 0.6), cover, SMOOTH))
        parts.append((rect(x + step * 0.46, -half * 0.6, x + step * 0.50, half * 0.6), shade(cover, 0.7), SMOOTH))
    parts += _bridge_house(length, half, -0.38, 0.1)
    return Sprite(parts, [hull], min(14.0, length * 0.08))


def _ferry(rng: Random, length: float) -> Sprite:
    half = length / rng.uniform(9.0, 11.0)
    hull = _hull(length, half, 0.24, 0.92)
    stripe = pick(rng, ((60, 96, 140), (168, 60, 52), (82, 116, 104), (206, 206, 202)), 0.08)
    parts: list[Part] = [(hull, stripe, SMOOTH), (_inner(hull, 0.92), (222, 222, 218), SMOOTH)]
    parts.append((rect(-0.4 * length, -half * 0.7, 0.22 * length, half * 0.7), (196, 198, 198), SMOOTH))
    parts.append((rect(0.12 * length, -half * 0.9, 0.18 * length, half * 0.9), (240, 240, 238), SMOOTH))
    parts.append((rect(-0.22 * length, -half * 0.2, -0.12 * length, half * 0.2), shade(stripe, 0.8), SMOOTH))
    boat: Colour = (210, 118, 52)
    for i in range(4):
        x = (-0.3 + 0.1 * i) * length
        for y in (-0.86, 0.74):
            parts.append((rect(x, half * y, x + 0.05 * length, half * (y + 0.12)), boat, SMOOTH))
    return Sprite(parts, [hull], min(18.0, length * 0.12))


def _warship(rng: Random, length: float) -> Sprite:
    half = length / rng.uniform(15.0, 17.5)
    hull = _hull(length, half, 0.42, 0.86)
    grey = pick(rng, ((122, 128, 132), (136, 140, 142), (104, 112, 118)), 0.05)
    parts: list[Part] = [(hull, shade(grey, 0.8), SMOOTH), (_inner(hull, 0.9), grey, SMOOTH)]
    parts.append((rect(-0.16 * length, -half * 0.66, 0.18 * length, half * 0.66), shade(grey, 1.16), SMOOTH))
    parts.append((rect(0.04 * length, -half * 0.5, 0.12 * length, half * 0.5), shade(grey, 1.32), SMOOTH))
    parts.append((rect(-0.1 * length, -half * 0.3, -0.04 * length, half * 0.3), (64, 64, 66), SMOOTH))
    parts.append((ring(complex(-0.36 * length, 0), half * 0.62, 14), shade(grey, 0.86), SMOOTH))
    parts.append((ring(complex(0.26 * length, 0), half * 0.26, 8), shade(grey, 1.25), SMOOTH))
    return Sprite(parts, [hull], min(16.0, length * 0.1))


def _inner(hull: Outline, share: float) -> tuple[complex, ...]:
    return tuple(complex(z.real * (share + (1 - share) * 0.7), z.imag * share * 0.96) for z in hull)


def boat(rng: Random, length: float) -> Sprite:
    """A motor boat, a sailing yacht or an open boat of the given length in metres."""
    kind = rng.random()
    if kind < 0.45:
        return _yacht(rng, length)
    half = length / rng.uniform(5.4, 6.8)
    hull = _hull(length, half, 0.48, 0.9)
    paint = pick(rng, (WHITE, WHITE, (206, 208, 206), (70, 88, 116), (160, 60, 50)), 0.06)
    parts: list[Part] = [(hull, paint, SMOOTH), (_inner(hull, 0.8), shade(paint, 0.9), SMOOTH)]
    if kind < 0.8:
        parts.append((rect(-0.06 * length, -half * 0.66, 0.16 * length, half * 0.66), (238, 238, 236), SMOOTH))
        parts.append((rect(0.12 * length, -half * 0.6, 0.19 * length, half * 0.6), GLASS, SMOOTH))
        parts.append((rect(-0.42 * length, -half * 0.62, -0.1 * length, half * 0.62), (150, 122, 92), SMOOTH))
    else:
        parts.append((rect(-0.4 * length, -half * 0.6, 0.14 * length, half * 0.6), (110, 92, 76), SMOOTH))
        for x in (-0.25, -0.05):
            parts.append((rect(x * length, -half * 0.7, (x + 0.05) * length, half * 0.7), (176, 152, 120), SMOOTH))
    return Sprite(parts, [hull], 1.6)


def pontoon(rng: Random, length: float) -> Sprite:
    """Clutter: a floating platform or a row of mooring floats, a hull without bow or house."""
    half = length * rng.uniform(0.1, 0.25)
    deck = pick(rng, (*DECKS, (176, 172, 164), (150, 128, 100)), 0.1)
    box = rect(-length / 2, -half, length / 2, half)
    parts: list[Part] = [(box, shade(deck, 0.8), SMOOTH), (turn(box, 0.9), deck, SMOOTH)]
    return Sprite(parts, [box], 1.0)


def _yacht(rng: Random, length: float) -> Sprite:
    half = length / rng.uniform(6.4, 7.6)
    hull = _hull(length, half, 0.6, 0.6)
    paint = pick(rng, (WHITE, WHITE, (40, 56, 92)), 0.05)
    parts: list[Part] = [
        (hull, paint, SMOOTH),
        (_inner(hull, 0.78), pick(rng, ((222, 220, 212), (178, 148, 112))), SMOOTH),
    ]
    parts.append((rect(-0.4 * length, -half * 0.45, -0.16 * length, half * 0.45), (120, 96, 74), SMOOTH))
    parts.append((rect(-0.1 * length, -half * 0.4, 0.16 * length, half * 0.4), (236, 236, 234), SMOOTH))
    boom = pick(rng, ((60, 84, 132), (206, 204, 196), (150, 60, 52)))
    parts.append((rect(-0.36 * length, -half * 0.13, 0.1 * length, half * 0.13), boom, SMOOTH))
    return Sprite(parts, [hull], 1.4)
