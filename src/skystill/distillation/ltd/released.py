"""Preset `released`: the terms that LTD's authors ran, reproduced from the published figures of their experiments.

Kept for comparison. It binds student and teacher levels of equal stride, treats independent classes by a softmax, and
divides by a constant instead of counting places. Facts from the experimental overlay of DOI
10.1109/TGRS.2023.3241342; no code of it. B batch, C channels, L levels, P places, K classes, n+1 bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.ltd.fusion import Fusion
from skystill.distillation.ltd.lic import LIC
from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.maps import GRIDS, pooled_errors, spatial_attention
from skystill.distillation.method import Method
from skystill.distillation.pairing import common_levels, same_grid
from skystill.distillation.settings import Divisor, Weight
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets

_FACTORS = (1 / 2, 1 / 4, 1 / 8)  # c_l of the pooled terms, from the finest grid to the coarsest


def attention_imitation(adapted: Tensor, raw_s: Tensor, t: Tensor, tau: float = 0.1) -> Tensor:
    """sqrt(sum M (phi(s) - t)^2), M the mean attention of both without gradient; adapted, t: (B, C_t, H, W)."""
    mask = (spatial_attention(raw_s.detach(), tau) + spatial_attention(t, tau)) / 2
    return (mask * (adapted - t).square()).sum().clamp(min=1e-12).sqrt()


def hierarchical_distance(calibrated: Tensor, plain: Tensor, t: Tensor) -> Tensor:
    """MSE(calibrated, t) + sum_l c_l MSE(P_l plain, P_l t) / (1 + sum_l c_l), l in {4, 2, 1} below the map's height."""
    errors = pooled_errors(plain, t)
    factors = {side: c for side, c in zip(GRIDS, _FACTORS, strict=True) if side in errors}
    pooled = sum((c * errors[side] for side, c in factors.items()), torch.zeros((), device=t.device))
    return F.mse_loss(calibrated, t) + pooled / (1 + sum(factors.values()))


def released_ld(d_s: Tensor, d_t: Tensor, tau: float = 10.0) -> Tensor:
    """LD sum over places and edges, a scalar; d_s, d_t: (P, 4, n+1).

    KL averaged over the bins, times tau^2. Edge weights are 4 softmax over the edges of (sum of the teacher's logits)
    / 5, so that their mean is 1.
    """
    weight = 4 * (d_t.sum(-1) / 5).softmax(1)
    kl = F.kl_div((d_s / tau).log_softmax(-1), (d_t / tau).softmax(-1), reduction="none").mean(-1)
    return tau**2 * (weight * kl).sum()


def released_kd(z_s: Tensor, z_t: Tensor, tau: float = 2.0) -> Tensor:
    """KL over the K logits (P, K), averaged over K, times tau^2, summed over places."""
    kl = F.kl_div((z_s / tau).log_softmax(1), (z_t / tau).softmax(1), reduction="none").mean(1)
    return tau**2 * kl.sum()


class LTDReleased(Method):
    """LTD as its authors ran it. Returns "att", "ccd", "ld", "ld_vlr", "kd", "kd_vlr".

    Differs from their run: the pooled terms take phi(s) where student and teacher widths differ, since raw features
    cannot be subtracted then. divisor: the constant by which the prediction terms are divided (16, whatever the batch).
    """

    def __init__(
        self, att: Weight = 1e-3, ccd: Weight = 0.5, ld: Weight = 0.025, kd: Weight = 0.5, divisor: Divisor = 16.0
    ) -> None:
        super().__init__()
        self.att, self.ccd, self.ld, self.kd, self.divisor = att, ccd, ld, kd, divisor
        self.levels: list[tuple[int, int]] = []

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Makes phi, the fusion, LIC and its norms for the levels that both sides have."""
        dense_s, dense_t = same_grid(student, teacher)
        if dense_s.edges is None or dense_t.edges is None:
            raise ConfigError("ltd_released distils edge distributions and one of the heads has none; use ltd.")
        if dense_s.edges.shape[2] != 4:
            raise ConfigError("ltd_released is what its authors ran, on upright boxes. Use ltd for oriented ones.")
        bins = dense_s.edges.shape[3], dense_t.edges.shape[3]
        if bins[0] != bins[1]:
            raise ConfigError(f"ltd_released compares edges bin by bin, {bins[0]} with {bins[1]} here; use ltd.")
        self.levels = common_levels(student.strides, teacher.strides)
        widths = [(student.pyramid[i].shape[1], teacher.pyramid[j].shape[1]) for i, j in self.levels]
        self.phi = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in widths)
        self.fusion = Fusion([s for s, _ in widths], max(t for _, t in widths), nn.BatchNorm2d)
        self.lic = nn.ModuleList(LIC(max(t for _, t in widths), t) for _, t in widths)
        self.norm = nn.ModuleList(nn.BatchNorm2d(t) for _, t in widths)
        self._beta: Tensor | None = None

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        feats_s = tuple(student.pyramid[i] for i, _ in self.levels)
        feats_t = [teacher.pyramid[j] for _, j in self.levels]
        att = ccd = torch.zeros((), device=feats_s[0].device)
        fused = self.fusion(feats_s)
        self._beta = self.fusion.beta().detach()
        for s, t, f, phi, lic, norm in zip(feats_s, feats_t, fused, self.phi, self.lic, self.norm, strict=True):
            adapted = phi(s)
            att = att + attention_imitation(adapted, s, t)
            calibrated = norm(lic(f).unflatten(2, f.shape[2:]))
            ccd = ccd + hierarchical_distance(calibrated, s if s.shape[1] == t.shape[1] else adapted, t)
        terms = {"att": self.att * att, "ccd": self.ccd * ccd}

        dense_s, dense_t = same_grid(student, teacher)
        regions = find_regions(dense_t, targets)
        assert dense_s.edges is not None
        assert dense_t.edges is not None
        for region, suffix in ((regions.positives, ""), (regions.ring, "_vlr")):
            d_s, d_t = dense_s.edges[region].float(), dense_t.edges[region].float()
            z_s, z_t = dense_s.logits[region].float(), dense_t.logits[region].float()
            terms[f"ld{suffix}"] = self.ld * released_ld(d_s, d_t) / self.divisor
            terms[f"kd{suffix}"] = self.kd * released_kd(z_s, z_t) / self.divisor
        return terms

    def bindings(self) -> dict[str, Tensor]:
        """beta (B, L, L): which student levels fed each calibrated level."""
        return {} if self._beta is None else {"beta": self._beta}

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """positives: where ld and kd teach. ring: where ld_vlr and kd_vlr do."""
        regions = find_regions(dense_t, targets)
        return {"positives": regions.positives, "ring": regions.ring}
