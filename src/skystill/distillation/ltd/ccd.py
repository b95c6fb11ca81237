"""CCD, cross-layer calibration distillation of LTD (IEEE TGRS 2023, DOI 10.1109/TGRS.2023.3241342).

Every student level learns from several teacher levels. Two bindings say from which:

explicit  u_i = l2norm(W_q^i [GAP(s_i); GMP(s_i)]), v_j = l2norm(W_k^j [GAP(t_j); GMP(t_j)]),
          alpha_ij = softmax_j(gamma u_i . v_j - rho |log2 stride_i - log2 stride_j|),
          L = mean_b 1/L_s sum_ij alpha_ij d_ij
implicit  the gates of the cross-layer fusion, after which LIC calibrates each level: L = 1/L_s sum_i d(LIC(f_i), t_i)

d is 1 - Pearson of standardised channels at the coarser of the two resolutions, so that every pair counts on one
scale. The logits of alpha are bounded by gamma on purpose: the loss is linear in alpha, and free logits collapse onto
the easiest level.
B batch, L_s student and L_t teacher levels, fine to coarse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.adapters import adapter
from skystill.distillation.correlation import Seen, distance_through
from skystill.distillation.ltd.fusion import Fusion
from skystill.distillation.ltd.lic import LIC
from skystill.distillation.maps import columns, pearson_distance, resize_down, sample_places, smaller, standardise
from skystill.distillation.pairing import nearest_levels
from skystill.distillation.peaks import Peaks, peaks_distance
from skystill.structures import Knowledge


def level_gap(strides_s: tuple[int, ...], strides_t: tuple[int, ...]) -> Tensor:
    """(L_s, L_t) how many octaves apart two levels are."""
    s = torch.tensor([math.log2(x) for x in strides_s])
    t = torch.tensor([math.log2(x) for x in strides_t])
    return (s[:, None] - t).abs()


def describe(x: Tensor) -> Tensor:
    """(B, 2C): global average and maximum of (B, C, H, W)."""
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


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

    @cache
    def seen(level: int, size: tuple[int, int]) -> Seen:
        return Seen(columns(resize_down(pyramid_s[level].float(), size), sampled(size)))

    @cache
    def wanted(level: int, size: tuple[int, int]) -> Tensor:
        return standardise(columns(resize_down(pyramid_t[level].float(), size), sampled(size)))

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


class ExplicitBinding(CrossDistances):
    """Global inner products between the levels of both pyramids say how much each distance counts: the paper's."""

    def __init__(
        self,
        student: Knowledge,
        teacher: Knowledge,
        places: int,
        dim: int,
        gamma: float,
        rho: float,
        peaks: float = 0.0,
    ) -> None:
        super().__init__(student, teacher, places, peaks)
        self.gamma, self.rho = gamma, rho
        self.query = nn.ModuleList(nn.Linear(2 * s.shape[1], dim, bias=False) for s in student.pyramid)
        self.key = nn.ModuleList(nn.Linear(2 * t.shape[1], dim, bias=False) for t in teacher.pyramid)

    def weights(self, pyramid_s: tuple[Tensor, ...], pyramid_t: tuple[Tensor, ...]) -> Tensor:
        """alpha (B, L_s, L_t); every row sums to 1."""
        u = torch.stack([F.normalize(q(describe(s)), dim=1) for q, s in zip(self.query, pyramid_s, strict=True)], 1)
        v = torch.stack([F.normalize(k(describe(t)), dim=1) for k, t in zip(self.key, pyramid_t, strict=True)], 1)
        return (self.gamma * u @ v.transpose(1, 2) - self.rho * self.gap).softmax(2)

    def forward(self, pyramid_s: tuple[Tensor, ...], pyramid_t: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """alpha and d, both (B, L_s, L_t)."""
        return self.weights(pyramid_s, pyramid_t), self.distances(pyramid_s, pyramid_t)


class MeasuredBinding(CrossDistances):
    """The distances themselves say how much each counts, see `relatedness`: ours."""

    def __init__(
        self, student: Knowledge, teacher: Knowledge, places: int, tau: float, rho: float, peaks: float = 0.0
    ) -> None:
        super().__init__(student, teacher, places, peaks)
        self.tau, self.rho = tau, rho

    def forward(self, pyramid_s: tuple[Tensor, ...], pyramid_t: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """alpha and d, both (B, L_s, L_t); every row of alpha sums to 1."""
        distances = self.distances(pyramid_s, pyramid_t)
        return relatedness(distances, self.gap, self.tau, self.rho), distances


def bound(alpha: Tensor, distances: Tensor) -> Tensor:
    """mean_b 1/L_s sum_i sum_j alpha_ij d_ij, both (B, L_s, L_t)."""
    return (alpha * distances).sum(2).mean()


def relatedness(distances: Tensor, gap: Tensor, tau: float, rho: float) -> Tensor:
    """alpha from what is measured instead of learned, without gradient:
    softmax_j((mean_i d_ij - d_ij) / tau - rho gap_ij), distances (B, L_s, L_t).

    1 - d is the inner product of standardised features, so related levels get weight while no loss can buy itself an
    easy one. A teacher level that every student level resembles at once, for it says little (a deep level draws the
    pattern of its padding), is only easy: what counts is how much nearer than the others a student level is to it.
    """
    far = distances.detach()
    return ((far.mean(1, keepdim=True) - far) / tau - rho * gap).softmax(2)


def distance(a: Tensor, b: Tensor, peaks: float) -> Tensor:
    """(B,) d of two (B, C, P), the second the teacher's."""
    pattern = pearson_distance(a, b)
    return torch.lerp(pattern, peaks_distance(a, standardise(b)), peaks) if peaks else pattern


class ImplicitBinding(nn.Module):
    """Fusion, then LIC, then the Pearson distance to the teacher level of the nearest stride.

    width: channels of the fused maps. places: at most this many cells of a batch are calibrated at each level and step
    (see lic.py). calibrate: makes a level's calibration from its channels and the teacher's.
    """

    def __init__(
        self,
        student: Knowledge,
        teacher: Knowledge,
        width: int,
        places: int,
        calibrate: Callable[[int, int], nn.Module] = LIC,
        peaks: float = 0.0,
    ) -> None:
        super().__init__()
        self.places, self.peaks = places, peaks
        self.partner = nearest_levels(student.strides, teacher.strides)
        self.fusion = Fusion([s.shape[1] for s in student.pyramid], width, lambda c: nn.GroupNorm(1, c))
        self.lic = nn.ModuleList(calibrate(width, teacher.pyramid[j].shape[1]) for j in self.partner)

    def forward(self, pyramid_s: tuple[Tensor, ...], pyramid_t: tuple[Tensor, ...]) -> Tensor:
        """Mean over student levels of d(LIC(f_i), t_j(i)), a scalar."""
        terms = []
        for f, lic, j in zip(self.fusion(pyramid_s), self.lic, self.partner, strict=True):
            size = smaller(f, pyramid_t[j])
            places = sample_places(size[0] * size[1], len(f), self.places, f.device)
            calibrated, wanted = lic(resize_down(f, size), places), columns(resize_down(pyramid_t[j], size), places)
            terms.append(distance(calibrated, wanted, self.peaks).mean())
        return torch.stack(terms).mean()


def gate_lesson(alpha: Tensor, beta: Tensor, partner: list[int]) -> Tensor:
    """KL by which the explicit binding teaches the gates, a scalar.

    alpha: (L_s, L_t) mean explicit binding, taken without gradient. beta: (L_s, L_s) mean gates, row i: calibrated
    level, column j >= i: student level that feeds it. Level i imitates teacher level partner[i], so its target over j
    is alpha[j, partner[i]], over the student levels that can reach it.
    """
    terms = []
    for i, t in enumerate(partner):
        target = alpha[i:, t].detach()
        target = target / target.sum().clamp(min=1e-6)
        reached = beta[i, i:] / beta[i, i:].sum().clamp(min=1e-6)
        terms.append((target * (target.clamp(min=1e-6) / reached.clamp(min=1e-6)).log()).sum())
    return torch.stack(terms).mean()
