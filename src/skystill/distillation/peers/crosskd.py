"""CrossKD: cross-head distillation (Wang et al., CVPR 2024,
https://arxiv.org/abs/2306.11369), section 3, written from the paper alone.

The student's maps before the last convolution of its towers go through the rest of the teacher's head, and what comes
out, p_x, is held against the teacher's own predictions p_t:

    L = sem 1/S sum_r QFL(p_x(r), p_t(r)) + loc 1/S sum_r s(r) sum_e T^2 KL( softmax(d_t / T) || softmax(d_x / T) )

r runs over all places, without a choice of regions. QFL has exponent 1. d are logits (B, N, E, n+1) of the
distributions of a box's E edges; heads without them are held together by 1 - GIoU of their boxes. The student's own
predictions learn from the truth alone, so that no layer is pulled two ways. The teacher's layers stay as they are; the
gradient passes through them into the student's towers, neck and backbone.
Differs from the paper: s(r) is the teacher's best score at r, where the paper weighs all places alike, since background
has no edges to teach; S is the sum of s over all places, at least 1. Heads are cut before the last convolution of their
towers, the paper's third of four, whatever their depth. Towers of other width are joined by a 1x1 convolution for each
tower, one for all levels where the towers are the same for all. Weights 1 and T 1: ours.
B batch, N places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skystill.distillation.adapters import adapter
from skystill.distillation.ltd.losses import box_imitation_loss, semantic_loss
from skystill.distillation.method import Method
from skystill.distillation.pairing import at_levels, common_levels, same_grid
from skystill.distillation.peers.ld import edge_divergence
from skystill.distillation.settings import Divisor, Weight
from skystill.distributed import mean_over_workers
from skystill.errors import ConfigError
from skystill.structures import Dense, Finish, HeadView, Knowledge, MapPair, Targets


def scored_edge_loss(crossed: Dense, dense_t: Dense, tau: float) -> Tensor:
    """sum_r s(r) sum_e T^2 KL / S of two heads with edges (B, N, E, n+1), a scalar."""
    assert crossed.edges is not None
    assert dense_t.edges is not None
    score = dense_t.best()
    found = edge_divergence(crossed.edges.float(), dense_t.edges.float(), tau).sum(-1)
    return (score * found).sum() / mean_over_workers(score.sum()).clamp(min=1)


class CrossKD(Method):
    """CrossKD. sem, loc: weights of the terms; 0 leaves one out. tau: T of the edges.

    Returns "crosskd_sem" and "crosskd_loc". Teachers answer from a cache as well as live: their head's end is taken at
    `build`, and runs on the student's maps at every step.
    """

    def __init__(self, sem: Weight = 1.0, loc: Weight = 1.0, tau: Divisor = 1.0) -> None:
        super().__init__()
        self.sem, self.loc, self.tau = sem, loc, tau
        self.adapt: nn.Module = nn.Identity()
        self.levels: list[tuple[int, int]] = []
        self._finish: Finish | None = None

    @property
    def features(self) -> bool:
        """It compares predictions alone."""
        return False

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Takes the end of the teacher's head, and joins the widths of the towers."""
        same_grid(student, teacher)
        self.refuse_scope(teacher, "crosskd asks the teacher's head about everything")
        for whose, knowledge in (("student's", student), ("teacher's", teacher)):
            if knowledge.head is None:
                raise ConfigError(
                    f"crosskd runs the student's maps through the end of the teacher's head, but the {whose} head "
                    "cannot be opened. Methods that take any head with predictions on a grid: ltd, bckd."
                )
        assert student.head is not None
        assert teacher.head is not None
        self.levels = common_levels(student.strides, teacher.strides)
        self.adapt = _TowerAdapters(student.head, teacher.head, len(student.strides))
        self._finish = teacher.head.finish

    def cross(self, student: Knowledge) -> Dense:
        """What the teacher's head makes of the student's maps, at the levels of equal stride."""
        assert student.head is not None
        assert self._finish is not None
        maps = [self.adapt(student.head.maps[i], i) for i, _ in self.levels]
        return self._finish(maps, [j for _, j in self.levels])

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        assert teacher.dense is not None
        dense_t = at_levels(teacher.dense, [j for _, j in self.levels])
        crossed = self.cross(student)
        everywhere = torch.ones(dense_t.logits.shape[:2], dtype=torch.bool, device=dense_t.logits.device)
        terms: dict[str, Tensor] = {}
        if self.sem:
            terms["crosskd_sem"] = self.sem * semantic_loss(crossed, dense_t, everywhere)
        if self.loc and dense_t.edges is not None:
            terms["crosskd_loc"] = self.loc * scored_edge_loss(crossed, dense_t, self.tau)
        elif self.loc:
            terms["crosskd_loc"] = self.loc * box_imitation_loss(crossed, dense_t, everywhere)
        return terms


class _TowerAdapters(nn.Module):
    """A 1x1 convolution for each tower whose width is not the teacher's: one pair for all levels where both heads have
    the same towers at all of them, else one for each level of the student."""

    def __init__(self, student: HeadView, teacher: HeadView, levels: int) -> None:
        super().__init__()
        widths = list(zip(student.widths, teacher.widths, strict=True))
        count = 1 if student.shared and teacher.shared else levels
        self.pairs = nn.ModuleList(
            nn.ModuleList(nn.Identity() if s == t else adapter(s, t) for s, t in widths) for _ in range(count)
        )

    def forward(self, maps: MapPair, level: int) -> MapPair:
        """The student's maps (B, C, H, W) of one of its levels, as wide as the teacher's."""
        of_cls, of_reg = self.pairs[level if len(self.pairs) > 1 else 0].children()
        return of_cls(maps[0].float()), of_reg(maps[1].float())
