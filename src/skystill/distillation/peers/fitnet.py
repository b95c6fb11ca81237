"""FitNets: hints for thin deep nets (Romero et al., ICLR 2015, https://arxiv.org/abs/1412.6550), eq. 3.

    L = 1/2 || t - r(s) ||^2,   r a convolution that is learned with the student

B batch, C channels, H W cells of one level.
weight 1: ours, the paper gives none for this form.
Differs from the paper: r is 1x1, as later work on detectors has it; the squares are averaged over batch, channels,
cells and levels instead of summed, so that the weight means the same for any image size and depth of pyramid; hints and
the detector's own loss are learned together instead of in two stages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skystill.distillation.adapters import adapter
from skystill.distillation.peers.levels import LevelMethod
from skystill.distillation.settings import Weight
from skystill.structures import Knowledge, Targets


def hint_loss(feat_s: Tensor, feat_t: Tensor) -> Tensor:
    """Half the mean squared difference of two (B, C, H, W), a scalar."""
    return (feat_s - feat_t).square().mean() / 2


class FitNet(LevelMethod):
    """FitNets on every student level. Returns "fitnet"."""

    def __init__(self, weight: Weight = 1.0) -> None:
        super().__init__(weight)

    def join(self, inputs: int, outputs: int) -> nn.Module:
        """The paper's regressor: learned whatever the widths, the identity to begin with where they agree."""
        return adapter(inputs, outputs)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        return {"fitnet": self.weight * torch.stack([hint_loss(s, t) for s, t in self.pairs(student, teacher)]).mean()}
