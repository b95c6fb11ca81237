"""Feature-map arithmetic that several methods share. B batch, C channels, H W cells; everything float32."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

# Fewer samples per channel than this make channel statistics meaningless; a sample's own statistics serve then.
_MIN_SAMPLES = 32


def resize_down(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) averaged down to `size`; the same tensor when it has that size already."""
    if x.shape[2:] == size:
        return x
    return F.adaptive_avg_pool2d(x, size)


def smaller(a: Tensor, b: Tensor) -> tuple[int, int]:
    """The (height, width) both maps can be averaged down to."""
    return min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])


def standardise(x: Tensor, eps: float = 1e-6) -> Tensor:
    """(B, C, H, W) or (B, C, P) with zero mean and unit variance per channel over batch and places.

    With fewer than 32 samples a channel, every image is standardised over its own channels and places instead.
    """
    places = [d for d in range(x.ndim) if d != 1]
    samples = x.numel() // x.shape[1]
    over = places if samples >= _MIN_SAMPLES else list(range(1, x.ndim))
    centred = x - x.mean(over, keepdim=True)
    return centred * (centred.square().mean(over, keepdim=True) + eps).rsqrt()


def pearson_distance(a: Tensor, b: Tensor) -> Tensor:
    """(B,) half the mean squared difference of standardised maps of equal shape: 1 - Pearson correlation, in 0..2."""
    return (standardise(a) - standardise(b)).square().flatten(1).mean(1) / 2
