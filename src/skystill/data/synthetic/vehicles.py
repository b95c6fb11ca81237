"""Road vehicles, and what is easily taken for them: containers and trailers without a cab."""

from __future__ import annotations

from random import Random

from skystill.data.synthetic.canvas import Sprite
from skystill.data.synthetic.geometry import Outline, rect
from skystill.data.synthetic.palette import CARS, CONTAINERS, GLASS, SMOOTH, WHITE, Colour, pick, shade

Part = tuple[Outline, Colour, int]


def _rounded(x0: float, x1: float, half: float, nose: float) -> tuple[complex, ...]:
    cut = half * 0.45
    return (
        complex(x0, -half + cut * 0.5), complex(x0 + cut * 0.5, -half), complex(x1 - nose, -half),
        complex(x1, -half + cut), complex(x1, half - cut), complex(x1 - nose, half),
        complex(x0 + cut * 0.5, half), complex(x0, half - cut * 0.5),
    )  # fmt: skip


def car(rng: Random) -> Sprite:
    """A saloon, estate, pickup or van, 3.7 to 5.8 m."""
    kind = rng.random()
    length, half = rng.uniform(3.8, 5.0), rng.uniform(0.88, 1.0)
    paint = pick(rng, CARS, 0.06)
    if kind > 0.86:
        return _van(rng, paint)
    body = _rounded(-length / 2, length / 2, half, 0.5)
    front, back = 0.20 * length, -0.30 * length
    roof_end = back if kind < 0.7 else 0.0
    parts: list[Part] = [(body, paint, SMOOTH)]
    parts.append((_glass(front, front - 0.13 * length, half), GLASS, SMOOTH))
    parts.append((_glass(roof_end - 0.09 * length, roof_end, half), shade(GLASS, 1.15), SMOOTH))
    parts.append((rect(roof_end, -half * 0.74, front - 0.13 * length, half * 0.74), shade(paint, 1.07), SMOOTH))
    if roof_end == 0.0:  # a pickup's bed
        parts.append((rect(-0.47 * length, -half * 0.8, -0.12 * length, half * 0.8), shade(paint, 0.45), SMOOTH))
    return Sprite(parts, [body], 1.5)


def _glass(x_wide: float, x_narrow: float, half: float) -> tuple[complex, ...]:
    return (
        complex(x_wide, -half * 0.86), complex(x_wide, half * 0.86),
        complex(x_narrow, half * 0.7), complex(x_narrow, -half * 0.7),
    )  # fmt: skip


def _van(rng: Random, paint: Colour) -> Sprite:
    length, half = rng.uniform(5.0, 5.8), 1.0
    body = _rounded(-length / 2, length / 2, half, 0.45)
    parts: list[Part] = [(body, paint, SMOOTH), (_glass(0.40 * length, 0.31 * length, half), GLASS, SMOOTH)]
    return Sprite(parts, [body], 2.3)


def truck(rng: Random) -> Sprite:
    """A rigid truck or a tractor with a trailer, 7 to 17 m: always with a cab."""
    half = rng.uniform(1.22, 1.32)
    length = rng.uniform(12.5, 17.0) if rng.random() < 0.6 else rng.uniform(7.0, 10.0)
    front, cab = length / 2, 2.2
    paint = pick(rng, CARS, 0.08)
    tractor = rect(front - cab, -half * 0.96, front, half * 0.96)
    frame = rect(-length / 2 + 0.5, -half * 0.55, front - cab, half * 0.55)
    load = rect(-length / 2, -half, front - cab - (1.1 if length > 11 else 0.35), half)
    parts: list[Part] = [(frame, (52, 52, 54), SMOOTH), (tractor, paint, SMOOTH)]
    parts.append((rect(front - 0.62, -half * 0.85, front - 0.12, half * 0.85), GLASS, SMOOTH))
    parts += _load(rng, load, half)
    return Sprite(parts, [load, rect(front - cab - 1.2, -half * 0.55, front - cab, half * 0.55), tractor], 3.4)


def _load(rng: Random, box: tuple[complex, ...], half: float) -> list[Part]:
    x0, x1 = box[0].real, box[1].real
    kind = rng.random()
    if kind < 0.45:
        paint = pick(rng, (WHITE, (206, 208, 210), (170, 176, 182)), 0.06)
        return [(box, paint, SMOOTH), (rect(x0, -0.12, x1, 0.12), shade(paint, 0.93), SMOOTH)]
    if kind < 0.75:
        return _ribbed(box, pick(rng, CONTAINERS, 0.1))
    if kind < 0.88:  # a tank truck
        paint = pick(rng, ((206, 208, 210), (178, 178, 176)), 0.06)
        body = rect(x0, -half * 0.9, x1, half * 0.9)
        return [
            (box, (66, 66, 68), SMOOTH),
            (body, paint, SMOOTH),
            (rect(x0, -0.3, x1, 0.3), shade(paint, 1.14), SMOOTH),
        ]
    sand = pick(rng, ((150, 126, 96), (120, 112, 104), (110, 84, 60)), 0.1)
    return [(box, (76, 70, 66), SMOOTH), (rect(x0 + 0.4, -half * 0.75, x1 - 0.4, half * 0.75), sand, SMOOTH)]


def _ribbed(box: Outline, paint: Colour) -> list[Part]:
    x0, x1, y0, y1 = box[0].real, box[1].real, box[0].imag, box[2].imag
    ribs: list[Part] = [(box, paint, SMOOTH)]
    ribs += [(rect(x, y0, x + 0.35, y1), shade(paint, 0.88), SMOOTH) for x in (x0 + 1.0, (x0 + x1) / 2, x1 - 1.4)]
    return ribs


def container(rng: Random) -> Sprite:
    """Clutter: a 20 or 40 foot box, alone on the ground."""
    length = rng.choice((6.06, 12.2))
    box = rect(-length / 2, -1.22, length / 2, 1.22)
    return Sprite(_ribbed(box, pick(rng, CONTAINERS, 0.12)), [box], 2.6 * rng.choice((1, 1, 2)))


def trailer(rng: Random) -> Sprite:
    """Clutter: a parked semi-trailer, which is a truck but for the missing cab."""
    length = rng.uniform(9.0, 13.6)
    box = rect(-length / 2, -1.25, length / 2, 1.25)
    return Sprite(_load(rng, box, 1.25), [box], 3.6)
