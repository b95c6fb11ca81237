"""Feature-map arithmetic that several methods share. B batch, C channels, H W cells; everything float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Sides of the coarse grids at which methods compare maps once more.
GRIDS = (4, 2, 1)
# Fewer samples per channel than this make channel statistics meaningless; a sample's own statistics serve then.
MIN_SAMPLES = 32


def resize_down(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) averaged down to `size`; the same tensor when it has that size already."""
    if x.shape[2:] == size:
        return x
    step = (x.shape[2] // size[0], x.shape[3] // size[1])
    if (step[0] * size[0], step[1] * size[1]) == tuple(x.shape[2:]):
        return F.avg_pool2d(x, step)  # the same means, faster
    return F.adaptive_avg_pool2d(x, size)


class Shrunk:
    """Levels (B, C, H, W) averaged down to several sizes: a mean of means where one size divides another."""

    def __init__(self, levels: Sequence[Tensor]) -> None:
        self._made: list[dict[tuple[int, int], Tensor]] = [{(x.shape[2], x.shape[3]): x.float()} for x in levels]

    def to(self, level: int, size: tuple[int, int]) -> Tensor:
        """That level at `size`, as `resize_down` makes it of the whole map."""
        made = self._made[level]
        if size not in made:
            whole = next(iter(made))
            nested = [one for one in made if _divides(one, whole) and _divides(size, one)]
            made[size] = resize_down(made[min(nested, default=whole)], size)
        return made[size]


def _divides(small: tuple[int, int], large: tuple[int, int]) -> bool:
    return large[0] % small[0] == large[1] % small[1] == 0


def sample_places(cells: int, batch: int, most: int, device: torch.device) -> Tensor | None:
    """Flat cell indices drawn without replacement, the same for all images of a batch, or None for all cells.

    At least 32 an image, and no more than `most` in the whole batch beyond that: a loss that is a mean over places is
    estimated without bias by the mean over such a sample, and its variance goes by the number of all of them.
    """
    count = max(most // batch, MIN_SAMPLES)
    return torch.randperm(cells, device=device)[:count] if cells > count else None


def columns(x: Tensor, places: Tensor | None = None) -> Tensor:
    """(B, C, P) values of (B, C, H, W) at flat places, all of them when None; maps of either layout are not copied."""
    if x.is_contiguous(memory_format=torch.channels_last):
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)
        return (rows if places is None else rows.index_select(1, places)).transpose(1, 2)
    flat = x.flatten(2)
    return flat if places is None else flat.gather(2, places.expand(*flat.shape[:2], -1))  # index_select takes 9 times


def smaller(a: Tensor, b: Tensor) -> tuple[int, int]:
    """The (height, width) both maps can be averaged down to."""
    return min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])


def at_common_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps averaged down to the coarser resolution of the two."""
    size = smaller(a, b)
    return resize_down(a, size), resize_down(b, size)


def standardise(x: Tensor, eps: float = 1e-6) -> Tensor:
    """(B, C, H, W) or (B, C, P) with zero mean and unit variance per channel over batch and places.

    With fewer than 32 samples a channel, every image is standardised over its own channels and places instead.
    """
    samples = x.numel() // x.shape[1]
    if samples >= MIN_SAMPLES:  # the same by torch's own kernel, twice as fast
        if x.ndim == 3 and x.mT.is_contiguous():  # of a channels-last map: cells in rows, as they lie
            rows = F.batch_norm(x.mT.flatten(0, 1), None, None, training=True, eps=eps)
            return rows.view(x.mT.shape).mT
        return F.batch_norm(x if x.ndim == 4 else x.contiguous(), None, None, training=True, eps=eps)
    over = list(range(1, x.ndim))
    centred = x - x.mean(over, keepdim=True)
    return centred * (centred.square().mean(over, keepdim=True) + eps).rsqrt()


def pearson_distance(a: Tensor, b: Tensor) -> Tensor:
    """(B,) half the mean squared difference of standardised maps of equal shape: 1 - Pearson correlation, in 0..2."""
    return (standardise(a) - standardise(b)).square().flatten(1).mean(1) / 2


def pooled_errors(a: Tensor, b: Tensor) -> dict[int, Tensor]:
    """Mean squared difference of two (B, C, H, W) averaged down to l x l, for l in 4, 2, 1 below the map's height."""
    return {
        side: F.mse_loss(F.adaptive_avg_pool2d(a, side), F.adaptive_avg_pool2d(b, side))
        for side in GRIDS
        if side < b.shape[2]
    }


def spatial_attention(x: Tensor, tau: float) -> Tensor:
    """A(x) = H W softmax_HW(mean_c |x| / tau) of (B, C, H, W): (B, 1, H, W), mean 1."""
    b, _, h, w = x.shape
    energy = x.abs().mean(1).flatten(1) / tau
    return (h * w * energy.softmax(1)).view(b, 1, h, w)
