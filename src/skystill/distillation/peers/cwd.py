"""CWD: channel-wise distillation (Shu et al., ICCV 2021, https://arxiv.org/abs/2011.13256), eq. 5.

    L = T^2 / C sum_c sum_p q_cp(t) log( q_cp(t) / q_cp(s) ),   q_cp(x) = exp(x_cp / T) / sum_p' exp(x_cp' / T)

B batch, C channels, p cells of one level: every channel is a distribution over its cells, so the loss does not grow
with the image. Levels add up. tau 1 and weight 10: a level's setting in the public detection recipes for FPN features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skystill.distillation.peaks import peaks_distance
from skystill.distillation.peers.levels import LevelMethod
from skystill.distillation.settings import Divisor, Weight
from skystill.structures import Knowledge, Targets


def cwd_loss(feat_s: Tensor, feat_t: Tensor, tau: float = 1.0) -> Tensor:
    """KL from the teacher's to the student's cells in each channel of two (B, C, H, W), times tau^2, mean over batch
    and channels, a scalar."""
    return tau**2 * peaks_distance(feat_s.flatten(2) / tau, feat_t.flatten(2) / tau).mean()


class CWD(LevelMethod):
    """CWD on every student level. tau: the paper's T. Returns "cwd"."""

    def __init__(self, weight: Weight = 10.0, tau: Divisor = 1.0) -> None:
        super().__init__(weight)
        self.tau = tau

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        losses = [cwd_loss(s, t, self.tau) for s, t in self.pairs(student, teacher)]
        return {"cwd": self.weight * torch.stack(losses).sum()}
