"""ReviewKD: knowledge review (Chen et al., CVPR 2021, https://arxiv.org/abs/2104.09044), sec. 3.3.

The student's levels are fused from coarse to fine by learned gates (attention-based fusion, see ltd/fusion.py), and
each fused map f_i is compared with the teacher's at several resolutions (hierarchical context loss):

    shat_i = BN(3x3 conv(f_i))
    L_i = [ MSE(shat_i, t_i) + sum_l c_l MSE(P_l(shat_i), P_l(t_i)) ] / (1 + sum_l c_l)

l in {4, 2, 1} below the map's height, c = 1/2, 1/4, 1/8 in this order, so over 1.875 where all three apply; P_l
averages down to l x l. The fused width is that of the student's coarsest level, at most 512, as in the release.
Levels add up. weight 1: the authors' released setting for RetinaNet.
Differs from the paper: levels are paired by stride and the finer map of a pair is averaged down, after the 3x3
convolution on the student's side; torch's own initial weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.ltd.fusion import Fusion
from skystill.distillation.maps import at_common_size, pooled_errors
from skystill.distillation.method import Method
from skystill.distillation.pairing import nearest_levels
from skystill.distillation.settings import Weight
from skystill.structures import Knowledge, Targets

_MOST_WIDTH = 512


def hierarchical_context_loss(reviewed: Tensor, feat_t: Tensor) -> Tensor:
    """L_i of two (B, C, H, W), a scalar."""
    loss, total, share = F.mse_loss(reviewed, feat_t), 1.0, 1.0
    for error in pooled_errors(reviewed, feat_t).values():
        share /= 2
        loss = loss + share * error
        total += share
    return loss / total


class ReviewKD(Method):
    """ReviewKD on every student level. weight: factor of the loss. Returns "reviewkd"."""

    def __init__(self, weight: Weight = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.partner: list[int] = []
        self._beta: Tensor | None = None

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Pairs the levels and makes the fusion and what leads from it to the teacher's widths."""
        self.partner = nearest_levels(student.strides, teacher.strides)
        inputs = [s.shape[1] for s in student.pyramid]
        width = min(_MOST_WIDTH, inputs[-1])
        self.fusion = Fusion(inputs, width, nn.BatchNorm2d)
        self.expand = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
            for c in (teacher.pyramid[j].shape[1] for j in self.partner)
        )

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        losses = []
        for f, expand, j in zip(self.fusion(student.pyramid), self.expand, self.partner, strict=True):
            losses.append(hierarchical_context_loss(*at_common_size(expand(f), teacher.pyramid[j])))
        self._beta = self.fusion.beta().detach()
        return {"reviewkd": self.weight * torch.stack(losses).sum()}

    def bindings(self) -> dict[str, Tensor]:
        """beta (B, L_s, L_s): which student levels fed each fused level."""
        return {} if self._beta is None else {"beta": self._beta}
