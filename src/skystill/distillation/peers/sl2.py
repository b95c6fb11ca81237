"""SL2: score-weighted L2, the form in which the most used YOLO tool distils features. It has no paper.

    L = 1/Z sum_i sum_p w_ip mean_c (t_ip - phi_i(s_i)_p)^2,   w_ip = max_k score_k of the teacher at cell p,
    Z = max(1, sum_i sum_p w_ip),   phi_i = conv1x1 - ReLU - conv1x1

over the levels i, the B images and H W cells p of each, C channels. Only where the teacher sees an object does it
teach. Ours, for want of a paper: the activation in phi, the normaliser Z (the sum of the weights, averaged over
workers, so that neither image size nor background counts) and weight 1. Where several anchors share a cell the best
score counts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skystill.distillation.maps import resize_down
from skystill.distillation.peers.levels import LevelMethod
from skystill.distillation.settings import Weight
from skystill.distillation.views import as_one_stage, scored
from skystill.distributed import mean_over_workers
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets


def best_scores(dense: Dense, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """(B, 1, H, W) best score at every cell of each level.

    sizes: (H, W) of the levels. Places run over the rows of a level, with the anchors of a cell side by side.
    """
    best = dense.best()
    levels = torch.split(best, list(dense.levels), 1)
    return [v.view(len(v), h, w, -1).amax(3)[:, None] for v, (h, w) in zip(levels, sizes, strict=True)]


def score_weighted_l2(levels: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """L of (features, teacher's features, weights) a level: twice (B, C, H, W), then (B, 1, H, W). A scalar."""
    total = torch.stack([(w[:, 0] * (s - t).square().mean(1)).sum() for s, t, w in levels]).sum()
    weights = torch.stack([w.sum() for _, _, w in levels]).sum()
    return total / mean_over_workers(weights).clamp(min=1)


def _scored(student: Knowledge, teacher: Knowledge) -> Dense | None:
    """What scores the cells of the teacher's pyramid for this student."""
    return scored(as_one_stage(teacher) if student.stages is None else teacher)


class SL2(LevelMethod):
    """SL2 on every student level. Returns "sl2"."""

    def __init__(self, weight: Weight = 1.0) -> None:
        super().__init__(weight)

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Also checks that the teacher scores the cells of its levels. Errors: ConfigError when it does not."""
        self.refuse_scope(teacher, "sl2 teaches wherever the teacher sees anything")
        dense = _scored(student, teacher)
        if dense is None:
            raise ConfigError("sl2 weights cells by the teacher's scores and the teacher has no dense head; use pkd.")
        cells = [t.shape[2] * t.shape[3] for t in teacher.pyramid]
        places = dense.levels
        if len(places) != len(cells) or any(p % c for p, c in zip(places, cells, strict=True)):
            raise ConfigError(
                f"sl2 weights cells by the teacher's scores, but the teacher predicts at {places} places and its "
                f"levels have {tuple(cells)} cells; use pkd."
            )
        super().build(student, teacher)

    def join(self, inputs: int, outputs: int) -> nn.Module:
        """phi, learned whatever the widths."""
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True), nn.Conv2d(outputs, outputs, 1))

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        dense = _scored(student, teacher)
        assert dense is not None
        scores = best_scores(dense, [(t.shape[2], t.shape[3]) for t in teacher.pyramid])
        levels = [
            (s, t, resize_down(scores[j], (t.shape[2], t.shape[3])))
            for (s, t), j in zip(self.pairs(student, teacher), self.partner, strict=True)
        ]
        return {"sl2": self.weight * score_weighted_l2(levels)}
