"""From what was painted to what a detector should find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skystill.data.synthetic.canvas import Placed
from skystill.data.synthetic.geometry import area, clip

KEPT = 0.4  # an object stays in the truth when at least this share of it is inside the image
SMALLEST = 4.0  # pixels: a visible rest shorter than this is no object


def visible(thing: Placed, size: int) -> tuple[list[complex], list[float]] | None:
    """Oriented corners and enclosing box (x1, y1, x2, y2) of the part inside the image; None when too little shows.

    The oriented rectangle has the thing's heading and encloses the visible part; where that part is a triangle at the
    border, a corner may lie outside of the image.
    """
    points = [z for outline in thing.body for z in outline]
    if any(not (0 <= z.real <= size and 0 <= z.imag <= size) for z in points):
        parts = [clip(outline, size) for outline in thing.body]
        whole = sum(abs(area(outline)) for outline in thing.body)
        if sum(abs(area(part)) for part in parts if part) < KEPT * whole:
            return None
        points = [z for part in parts for z in part]
    xs, ys = [z.real for z in points], [z.imag for z in points]
    if max(max(xs) - min(xs), max(ys) - min(ys)) < SMALLEST:
        return None
    back = thing.heading.conjugate()
    along = [(z * back).real for z in points]
    across = [(z * back).imag for z in points]
    x0, x1, y0, y1 = min(along), max(along), min(across), max(across)
    corners = [complex(x, y) * thing.heading for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    return corners, [min(xs), min(ys), max(xs), max(ys)]


def tabulate(placed: list[Placed], size: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Corners (M, 8), boxes (M, 4) and labels (M,) of all that is visible."""
    corners, boxes, labels = [], [], []
    for thing in placed:
        seen = visible(thing, size)
        if seen is not None:
            corners.append([v for z in seen[0] for v in (z.real, z.imag)])
            boxes.append(seen[1])
            labels.append(thing.label)
    return (
        np.array(corners, dtype=np.float32).reshape(-1, 8),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
    )
