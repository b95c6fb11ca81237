"""Smooth random fields: small random grids, enlarged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]


def field(rng: np.random.Generator, size: int, cell: float) -> Field:
    """(size, size) of about zero mean and unit deviation, whose features are about `cell` pixels wide."""
    return streaks(rng, size, cell, cell)


def streaks(rng: np.random.Generator, size: int, across: float, down: float) -> Field:
    """(size, size) like `field`, with features `across` pixels wide and `down` pixels high."""
    shape = (int(size / max(down, 1.0)) + 3, int(size / max(across, 1.0)) + 3)
    grid = rng.standard_normal(shape, dtype=np.float32) * np.float32(1.3)
    left, top = rng.random(2)
    box = (left, top, left + size / max(across, 1.0), top + size / max(down, 1.0))
    return np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC, box=box))
