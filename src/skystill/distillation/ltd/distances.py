"""How far student and teacher levels are apart, in CCD (ccd.py).

d is 1 - Pearson of standardised channels at the coarser of the two resolutions, so that every pair counts on one scale;
a share of it may be measured where channels are strong (peaks.py).
B batch, L_s student and L_t teacher levels, fine to coarse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from skystill.distillation.adapters import adapter
from skystill.distillation.correlation import Seen, distance_through
from skystill.distillation.maps import Shrunk, columns, pearson_distance, sample_places, smaller, standardise
from skystill.distillation.peaks import Peaks, peaks_distance
from skystill.structures import Knowledge


def level_gap(strides_s: tuple[int, ...], strides_t: tuple[int, ...]) -> Tensor:
    """(L_s, L_t) how many octaves apart two levels are."""
    s = torch.tensor([math.log2(x) for x in strides_s])
    t = torch.tensor([math.log2(x) for x in strides_t])
    return (s[:, None] - t).abs()


def cross_distances(
    pyramid_s: tuple[Tensor, ...],
    pyramid_t: tuple[Tensor, ...],
    adapters: Sequence[nn.Conv2d],
    places: int,
    peaks: float = 0.0,
) -> Tensor:
    """(B, L_s, L_t) Pearson distance of every student level, through its 1x1 adapter, to every teacher level.

    pyramid_s: (B, C_i, H_i, W_i). pyramid_t: (B, C_j, H_j, W_j). adapters: one for each student level to the teacher's
    first width, then one for each to its second, and so on. A pair is compared at the smaller resolution, and at a
    sample of `places` cells of the batch where it has more. What is made of a level at a resolution serves every pair.
    """
    widths, batch, device = different_widths(pyramid_t), len(pyramid_s[0]), pyramid_s[0].device

    @cache
    def sampled(size: tuple[int, int]) -> Tensor | None:
        return sample_places(size[0] * size[1], batch, places, device)

    smaller_s, smaller_t = Shrunk(pyramid_s), Shrunk(pyramid_t)

    @cache
    def seen(level: int, size: tuple[int, int]) -> Seen:
        return Seen(columns(smaller_s.to(level, size), sampled(size)))

    @cache
    def wanted(level: int, size: tuple[int, int]) -> Tensor:
        return standardise(columns(smaller_t.to(level, size), sampled(size)))

    @cache
    def strong(level: int, size: tuple[int, int]) -> Peaks:
        return Peaks(wanted(level, size))

    def between(i: int, j: int) -> Tensor:
        size = smaller(pyramid_s[i], pyramid_t[j])
        phi = adapters[widths.index(pyramid_t[j].shape[1]) * len(pyramid_s) + i]
        pattern = distance_through(phi, seen(i, size), wanted(j, size))
        if not peaks:
            return pattern
        return torch.lerp(pattern, strong(j, size).distance(phi, seen(i, size)), peaks)

    rows = [torch.stack([between(i, j) for j in range(len(pyramid_t))], 1) for i in range(len(pyramid_s))]
    return torch.stack(rows, 1)


def different_widths(pyramid: tuple[Tensor, ...]) -> list[int]:
    """Channels of the levels, each number once, fine to coarse."""
    return list(dict.fromkeys(level.shape[1] for level in pyramid))


class CrossDistances(nn.Module):
    """A 1x1 adapter phi_i for each student level, and the distance from every one to every teacher level.

    Where the teacher's levels differ in width, a student level has an adapter for each width.
    """

    def __init__(self, student: Knowledge, teacher: Knowledge, places: int, peaks: float = 0.0) -> None:
        super().__init__()
        self.places, self.peaks = places, peaks
        widths = different_widths(teacher.pyramid)
        self.adapt = nn.ModuleList(adapter(s.shape[1], width, bias=False) for width in widths for s in student.pyramid)
        self.gap: Tensor
        self.register_buffer("gap", level_gap(student.strides, teacher.strides), persistent=False)

    def distances(self, pyramid_s: tuple[Tensor, ...], pyramid_t: tuple[Tensor, ...]) -> Tensor:
        """d (B, L_s, L_t) through the adapters."""
        return cross_distances(pyramid_s, pyramid_t, list(self.adapt), self.places, self.peaks)  # type: ignore[arg-type]


def distance(a: Tensor, b: Tensor, peaks: float) -> Tensor:
    """(B,) d of two (B, C, P), the second the teacher's."""
    pattern = pearson_distance(a, b)
    return torch.lerp(pattern, peaks_distance(a, standardise(b)), peaks) if peaks else pattern
