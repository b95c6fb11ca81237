"""What surrounds a run of a foreign model: parts in another mode for a moment, and an error of torch in our words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from skystill.errors import ConfigError


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


@contextmanager
def norms_told(images: Tensor) -> Iterator[None]:
    """A batch norm over one value, which torch refuses in training, as a ConfigError. images: (B, C, H, W)."""
    try:
        yield
    except ValueError as error:
        sides = f"{images.shape[2]} x {images.shape[3]} px"
        raise ConfigError(
            f"batch norm has one value a channel: {len(images)} image of {sides}. Give a batch of 2 or more."
        ) from error
