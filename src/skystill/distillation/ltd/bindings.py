"""From which teacher levels a student level learns, in CCD (ccd.py). Of LTD's paper:

explicit  u_i = l2norm(W_q^i [GAP(s_i); GMP(s_i)]), v_j = l2norm(W_k^j [GAP(t_j); GMP(t_j)]),
          alpha_ij = softmax_j(gamma u_i . v_j - rho |log2 stride_i - log2 stride_j|),
          L = mean_b 1/L_s sum_ij alpha_ij d_ij
implicit  the gates of the cross-layer fusion, after which LIC calibrates each level: L = 1/L_s sum_i d(LIC(f_i), t_i)

and ours, measured: alpha from the distances d themselves, see `relatedness`. For d see distances.py, and finds.py for
weights of the levels other than 1/L_s.

The logits of alpha are bounded by gamma on purpose: the loss is linear in alpha, and free logits collapse onto the
easiest level.
B batch, L_s student and L_t teacher levels, fine to coarse.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.ltd.distances import CrossDistances, distance
from skystill.distillation.ltd.fusion import Fusion
from skystill.distillation.ltd.lic import LIC
from skystill.distillation.maps import columns, resize_down, sample_places, smaller
from skystill.distillation.pairing import nearest_levels
from skystill.structures import Knowledge


def describe(x: Tensor) -> Tensor:
    """(B, 2C): global average and maximum of (B, C, H, W)."""
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


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
        """(B, L_s): d(LIC(f_i), t_j(i)) of each student level i."""
        terms = []
        for f, lic, j in zip(self.fusion(pyramid_s), self.lic, self.partner, strict=True):
            size = smaller(f, pyramid_t[j])
            places = sample_places(size[0] * size[1], len(f), self.places, f.device)
            calibrated, wanted = lic(resize_down(f, size), places), columns(resize_down(pyramid_t[j], size), places)
            terms.append(distance(calibrated, wanted, self.peaks))
        return torch.stack(terms, 1)


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
