"""Plane geometry on complex numbers: a point is x + iy, a turn is a multiplication by a unit number.

Outlines are tuples of complex numbers in drawing order. Everything here is a handful of points long, where plain Python
beats arrays.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

Outline = Sequence[complex]


def rect(x0: float, y0: float, x1: float, y1: float) -> tuple[complex, ...]:
    """The four corners of an upright rectangle."""
    return complex(x0, y0), complex(x1, y0), complex(x1, y1), complex(x0, y1)


def ring(centre: complex, radius: float, points: int = 20) -> tuple[complex, ...]:
    """A regular polygon that stands for a circle."""
    step = 2 * math.pi / points
    return tuple(centre + cmath.rect(radius, step * i) for i in range(points))


def quad(a: complex, b: complex, width: float) -> tuple[complex, ...]:
    """The thick line from a to b."""
    side = (b - a) / (abs(b - a) or 1.0) * 0.5j * width
    return a - side, b - side, b + side, a + side


def turn(outline: Outline, by: complex, shift: complex = 0j) -> tuple[complex, ...]:
    """The outline turned (and scaled) by a complex factor, then shifted."""
    return tuple(z * by + shift for z in outline)


def area(outline: Outline) -> float:
    """Signed area, positive when the points run from x towards y."""
    total = 0.0
    last = outline[-1]
    for z in outline:
        total += last.real * z.imag - z.real * last.imag
        last = z
    return 0.5 * total


def sweep(outline: Outline, by: complex) -> list[complex]:
    """The convex hull of a convex outline and its copy shifted by `by`: the shadow of a prism."""
    sign = 1.0 if area(outline) > 0 else -1.0
    n = len(outline)
    faces = []
    for i in range(n):
        edge = outline[(i + 1) % n] - outline[i]
        faces.append(sign * (edge.imag * by.real - edge.real * by.imag) > 0)
    swept: list[complex] = []
    for i, z in enumerate(outline):
        before, after = faces[i - 1], faces[i]
        if before:
            swept.append(z + by)
        if before != after and before:
            swept.append(z)
        if not before:
            swept.append(z)
        if before != after and after:
            swept.append(z + by)
    return swept


def clip(outline: Outline, size: float) -> list[complex]:
    """The part of an outline inside the square 0..size (Sutherland and Hodgman, 1974); empty when none is."""
    points = list(outline)
    for spin in (1, 1j, -1, -1j):
        # Turn the square so that the side to cut at is always "real part below size / 2".
        half = size / 2
        turned = [(z - complex(half, half)) * spin for z in points]
        kept: list[complex] = []
        for a, b in zip(turned, turned[1:] + turned[:1], strict=True):
            if a.real <= half:
                kept.append(a)
            if (a.real <= half) != (b.real <= half):
                kept.append(a + (b - a) * ((half - a.real) / (b.real - a.real)))
        if not kept:
            return []
        points = [z / spin + complex(half, half) for z in kept]
    return points
