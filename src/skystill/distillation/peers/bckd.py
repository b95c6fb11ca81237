"""BCKD: cross-task consistent distillation (Yang et al., ICCV 2023, https://arxiv.org/abs/2308.14286), section 3.

    L_sem = 1/P sum_i sum_k w_ik BCE(z_s, p_t),   w_ik = |p_t - p_s|,   p = sigmoid(z)
    L_loc = 1/P sum_{i positive} max_k w_ik (1 - GIoU(b_s, b_t)),   w without gradient

z (B, N, K) class logits at N places, each class a binary classification of its own; b (B, N, 4) boxes; P the number of
ATSS positives, at least 1. L_sem runs over all places. Weights 1 and 4: the authors' settings for GFL, whose GIoU takes
the place of the IoU in the paper's text; between oriented boxes the Gaussian KLD does (`ltd.losses.box_gap`).
Differs from the paper: L_loc on the positives alone; at other places teacher and student have no box to agree on.
Heads whose classes share a softmax are told as independent ones, with the same scores.
"""

from __future__ import annotations

from torch import Tensor

from skystill.detectors.gfl.loss import quality_focal_loss
from skystill.distillation.ltd.losses import box_gap
from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.method import Method
from skystill.distillation.pairing import same_grid
from skystill.distillation.settings import Weight
from skystill.distillation.views import as_sigmoid
from skystill.distributed import mean_over_workers
from skystill.structures import Dense, Knowledge, Targets


def binary_loss(dense_s: Dense, dense_t: Dense) -> Tensor:
    """sum |p_t - p_s| BCE(z_s, p_t) over batch, places and classes, a scalar: QFL with exponent 1 to soft targets."""
    return quality_focal_loss(dense_s.logits.float(), dense_t.logits.float().sigmoid(), beta=1.0).sum()


def box_loss(dense_s: Dense, dense_t: Dense, region: Tensor) -> Tensor:
    """sum of box_gap(b_s, b_t) over region (B, N) bool, each place weighted by its widest gap between class scores, a
    scalar."""
    gap = (dense_t.scores()[region] - dense_s.scores()[region].detach()).abs().amax(1)
    return (gap * box_gap(dense_s.boxes[region].float(), dense_t.boxes[region].float())).sum()


class BCKD(Method):
    """BCKD. sem, loc: weights of the terms; 0 leaves one out. Returns "bckd_sem" and "bckd_loc"."""

    def __init__(self, sem: Weight = 1.0, loc: Weight = 4.0) -> None:
        super().__init__()
        self.sem, self.loc = sem, loc

    @property
    def features(self) -> bool:
        """It compares predictions alone."""
        return False

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Checks that both heads predict at the same places; there is nothing to learn."""
        same_grid(student, teacher)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        dense_s, dense_t = map(as_sigmoid, same_grid(student, teacher))
        positives = find_regions(dense_t, targets).positives
        count = mean_over_workers(positives.sum().float()).clamp(min=1)
        terms: dict[str, Tensor] = {}
        if self.sem:
            terms["bckd_sem"] = self.sem * binary_loss(dense_s, dense_t) / count
        if self.loc:
            terms["bckd_loc"] = self.loc * box_loss(dense_s, dense_t, positives) / count
        return terms
