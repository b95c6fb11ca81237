"""PKD: general distillation by the Pearson correlation (Cao et al., NeurIPS 2022,
https://arxiv.org/abs/2207.02039), eq. 5.

    L = 1/(2m) sum (std(s) - std(t))^2 = 1 - Pearson(s, t),   std: zero mean and unit variance per channel

over the m values of a level, B batch, C channels, H W cells. Only the pattern of a channel counts, not its magnitude.
Levels add up. weight 10: the authors' released setting for one-stage detectors.
Differs from the paper: the finer map of a pair is averaged down, where the release scales the student's to the
teacher's size; with fewer than 32 samples a channel an image is standardised over its own channels and cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skystill.distillation.maps import pearson_distance
from skystill.distillation.peers.levels import LevelMethod
from skystill.distillation.settings import Weight
from skystill.structures import Knowledge, Targets


def pkd_loss(feat_s: Tensor, feat_t: Tensor) -> Tensor:
    """1 - Pearson of two (B, C, H, W), mean over channels, a scalar in 0..2."""
    return pearson_distance(feat_s, feat_t).mean()


class PKD(LevelMethod):
    """PKD on every student level. Returns "pkd"."""

    def __init__(self, weight: Weight = 10.0) -> None:
        super().__init__(weight)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        return {"pkd": self.weight * torch.stack([pkd_loss(s, t) for s, t in self.pairs(student, teacher)]).sum()}
