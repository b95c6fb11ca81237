"""Parts of a model in another mode for a moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def training(parts: Sequence[nn.Module], mode: bool) -> Iterator[None]:
    """The parts act as in that mode, the modules in them as before: batch norms are left alone."""
    before = [part.training for part in parts]
    for part in parts:
        part.training = mode
    try:
        yield
    finally:
        for part, was in zip(parts, before, strict=True):
            part.training = was
