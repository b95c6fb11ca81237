"""Airplanes from above: airliners, business jets, light propeller planes, deltas."""

from __future__ import annotations

from random import Random

from skystill.data.synthetic.canvas import Sprite
from skystill.data.synthetic.geometry import Outline, rect
from skystill.data.synthetic.palette import GLASS, SMOOTH, Colour, pick, shade

Part = tuple[Outline, Colour, int]
_LIVERIES: tuple[Colour, ...] = ((232, 232, 230), (222, 224, 226), (206, 210, 214), (236, 230, 220))
_TAILS: tuple[Colour, ...] = (
    (40, 70, 130),
    (160, 44, 44),
    (44, 110, 90),
    (220, 160, 50),
    (70, 70, 80),
    (222, 222, 222),
)


def _fuselage(length: float, half: float, nose: float, tail: float) -> tuple[complex, ...]:
    end = length / 2
    return (
        complex(-end, -half * 0.14), complex(-end + tail * length, -half), complex(end - nose * length, -half),
        complex(end - nose * length * 0.35, -half * 0.62), complex(end, 0),
        complex(end - nose * length * 0.35, half * 0.62),
        complex(end - nose * length, half), complex(-end + tail * length, half), complex(-end, half * 0.14),
    )  # fmt: skip


def _wing(root_x: float, root: float, tip_x: float, tip: float, y0: float, y1: float) -> list[tuple[complex, ...]]:
    """Left and right wing; root_x and tip_x are the leading edge, root and tip the chords."""
    left = (complex(root_x, y0), complex(tip_x, y1), complex(tip_x - tip, y1), complex(root_x - root, y0))
    return [left, tuple(z.conjugate() for z in left)]


def airplane(rng: Random, length: float) -> Sprite:
    """An airplane of about the given length in metres; the length decides the kind."""
    if length < 13:
        return _propeller(rng, length)
    if length < 24:
        return (_delta if rng.random() < 0.4 else _jet)(rng, length)
    return _jet(rng, length)


def _jet(rng: Random, length: float) -> Sprite:
    half = length * rng.uniform(0.046, 0.056)
    span = length * rng.uniform(0.44, 0.52)
    white, accent = pick(rng, _LIVERIES, 0.04), pick(rng, _TAILS, 0.05)
    fuselage = _fuselage(length, half, 0.12, 0.3)
    sweep = rng.uniform(0.19, 0.27) * length
    wings = _wing(0.14 * length, 0.22 * length, 0.14 * length - sweep, 0.06 * length, half * 0.6, span)
    tail = _wing(-0.36 * length, 0.11 * length, -0.46 * length, 0.045 * length, half * 0.2, span * 0.38)
    parts: list[Part] = []
    engines: list[Outline] = []
    for share in (0.34,) if length < 50 or rng.random() < 0.6 else (0.32, 0.62):
        x = 0.14 * length - sweep * share + 0.035 * length
        engine = rect(
            x - 0.07 * length, span * share - 0.018 * length, x + 0.02 * length, span * share + 0.018 * length
        )
        engines += [engine, tuple(z.conjugate() for z in engine)]
    metal = shade(white, 0.78)
    parts += [(engine, shade(white, 0.66), SMOOTH) for engine in engines]
    parts += [(wing, metal, SMOOTH) for wing in wings]
    for wing in wings:  # the slats and flaps are brighter than the wing box
        a, b, c, d = wing
        parts.append(((a, b, b + (c - b) * 0.22, a + (d - a) * 0.14), shade(white, 0.9), SMOOTH))
    parts += [(part, shade(white, 0.84), SMOOTH) for part in tail]
    parts.append((fuselage, white, SMOOTH))
    parts.append((rect(-0.40 * length, -half * 0.25, 0.40 * length, half * 0.3), shade(white, 1.06), SMOOTH))
    parts.append((rect(-0.49 * length, -half * 0.16, -0.33 * length, half * 0.16), accent, SMOOTH))
    parts.append((rect(0.455 * length, -half * 0.4, 0.472 * length, half * 0.4), GLASS, SMOOTH))
    return Sprite(parts, [*wings, *tail, fuselage], length * 0.11)


def _propeller(rng: Random, length: float) -> Sprite:
    half = length * 0.065
    span = length * rng.uniform(0.62, 0.72)
    white, accent = pick(rng, _LIVERIES, 0.05), pick(rng, _TAILS, 0.05)
    fuselage = _fuselage(length, half, 0.1, 0.5)
    wings = _wing(0.24 * length, 0.19 * length, 0.22 * length, 0.13 * length, 0.0, span)
    tail = _wing(-0.37 * length, 0.11 * length, -0.39 * length, 0.08 * length, 0.0, span * 0.34)
    parts: list[Part] = [(fuselage, white, SMOOTH)]
    parts += [(wing, shade(white, 0.95), SMOOTH) for wing in (*wings, *tail)]
    for wing in wings:
        a, b, c, d = wing
        parts.append(((a + (b - a) * 0.86, b, c, d + (c - d) * 0.86), accent, SMOOTH))
    parts.append((rect(0.16 * length, -half * 0.8, 0.26 * length, half * 0.8), GLASS, SMOOTH))
    parts.append((rect(-0.5 * length, -half * 0.2, -0.3 * length, half * 0.2), accent, SMOOTH))
    return Sprite(parts, [fuselage, *wings, *tail], 1.8)


def _delta(rng: Random, length: float) -> Sprite:
    half = length * 0.055
    grey = pick(rng, ((122, 128, 134), (142, 146, 148), (104, 112, 108)), 0.05)
    fuselage = _fuselage(length, half, 0.3, 0.1)
    wings = _wing(0.16 * length, 0.52 * length, -0.26 * length, 0.08 * length, half * 0.4, length * 0.31)
    parts: list[Part] = [(wing, shade(grey, 0.9), SMOOTH) for wing in wings]
    parts.append((fuselage, grey, SMOOTH))
    parts.append((rect(0.2 * length, -half * 0.5, 0.31 * length, half * 0.5), GLASS, SMOOTH))
    parts.append((rect(-0.46 * length, -half * 0.7, -0.40 * length, half * 0.7), (70, 70, 72), SMOOTH))
    return Sprite(parts, [*wings, fuselage], 2.6)
