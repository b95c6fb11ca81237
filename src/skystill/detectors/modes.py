"""What surrounds a run of a foreign model: parts in another mode, what they give, an error of torch in our words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

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
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode while the block runs, and then every module in it as it was: frozen norms stay frozen."""
    before = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, was in before:
            one.training = was


@contextmanager
def watched(parts: Sequence[nn.Module]) -> Iterator[list[list[Any]]]:
    """What each part gives while the block runs, once for each time it runs. No hook stays, so copies and states of the
    model hold none."""
    seen: list[list[Any]] = [[] for _ in parts]

    def keep(index: int, _part: nn.Module, _given: Any, output: Any) -> None:
        seen[index].append(output)

    handles = [part.register_forward_hook(partial(keep, i)) for i, part in enumerate(parts)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def norms_told(images: Tensor) -> Iterator[None]:
    """A batch norm over one value, which torch refuses in training, as a ConfigError. images: (B, C, H, W)."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        sides = f"{images.shape[2]} x {images.shape[3]} px"
        raise ConfigError(
            f"batch norm has one value a channel: {len(images)} image of {sides}. Give a batch of 2 or more."
        ) from error
