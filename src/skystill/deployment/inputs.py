"""Image files as detectors take them: resized, padded, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from skystill.errors import ConfigError


def to_unit(image: Tensor) -> Tensor:
    """(C, H, W) uint8 or float in 0..1 to float32 in 0..1."""
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()


def with_longer_side(image: Tensor, size: int) -> Tensor:
    """(C, H, W) resized so that its longer side has `size` pixels, as for evaluation; 0 leaves it as it is.

    The type stays: evaluation resizes bytes, and its rounding belongs to what the detector was scored on.
    """
    longer = max(image.shape[1:])
    if size in (0, longer):
        return image
    scale = size / longer
    resized: Tensor = resize(image, [max(1, round(side * scale)) for side in image.shape[1:]], antialias=True)
    return resized


def padded_shape(image: Tensor, multiple: int, fixed: tuple[int, int] | None = None) -> tuple[int, int]:
    """(height, width) that an image (C, H, W) is padded to: the next multiples, or the one size that is `fixed`.

    Raises ConfigError when the image is larger than `fixed`.
    """
    _, height, width = image.shape
    if fixed is None:
        return -(-height // multiple) * multiple, -(-width // multiple) * multiple
    if height > fixed[0] or width > fixed[1]:
        raise ConfigError(
            f"an image of {height}x{width} pixels does not fit the exported input of {fixed[0]}x{fixed[1]}. "
            f"Give --size {min(fixed)}, or export without --size."
        )
    return fixed


def pad(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """(C, H, W) with zeros at the right and bottom, as in training."""
    return F.pad(image, (0, shape[1] - image.shape[2], 0, shape[0] - image.shape[1]))


def batches(
    images: Iterable[tuple[Path, Tensor]], limit: int, multiple: int, fixed: tuple[int, int] | None = None
) -> Iterator[tuple[list[tuple[Path, Tensor]], Tensor]]:
    """Neighbours that pad to the same shape, at most `limit` of them: the images and the batch (B, C, H, W).

    Only such images share a batch, so that no image gets other padding than it would alone: group norm and
    squeeze-and-excite see the padding, and detections must not depend on the batch size.
    """
    waiting: list[tuple[Path, Tensor]] = []
    shape = (0, 0)
    for path, image in images:
        new = padded_shape(image, multiple, fixed)
        if waiting and (new != shape or len(waiting) == limit):
            yield waiting, torch.stack([pad(i, shape) for _, i in waiting])
            waiting = []
        shape = new
        waiting.append((path, image))
    if waiting:
        yield waiting, torch.stack([pad(i, shape) for _, i in waiting])
