"""A distillation method of your own: one class with `build` and `forward`.

    python examples/own_method.py

The method is PKD's idea (Cao et al., NeurIPS 2022, arXiv 2207.02039): each student level imitates the teacher level of
the nearest stride, both standardised, so that 1 - Pearson is what remains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import skystill
from skystill.distillation.adapters import adapter
from skystill.distillation.maps import pearson_distance, resize_down, smaller
from skystill.distillation.method import Method
from skystill.distillation.pairing import nearest_levels
from skystill.structures import Knowledge, Targets


class SameLevel(Method):
    """Pearson distance level by level, through 1x1 adapters."""

    def __init__(self, weight: float = 3.0) -> None:
        super().__init__()
        self.weight = weight

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Called once with the knowledge of a blank image; makes what depends on the widths."""
        self.partner = nearest_levels(student.strides, teacher.strides)
        self.adapt = nn.ModuleList(
            adapter(s.shape[1], teacher.pyramid[j].shape[1]) for s, j in zip(student.pyramid, self.partner, strict=True)
        )

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """Weighted terms by name."""
        terms = []
        for s, adapt, j in zip(student.pyramid, self.adapt, self.partner, strict=True):
            t = teacher.pyramid[j]
            size = smaller(s, t)
            terms.append(pearson_distance(resize_down(adapt(s), size), resize_down(t, size)).mean())
        return {"same_level": self.weight * torch.stack(terms).mean()}


if __name__ == "__main__":
    torch.manual_seed(0)
    student, teacher = skystill.create("gfl_mnv3s_050", ["car"]), skystill.create("gfl_mnv3s", ["car"])
    distiller = skystill.Distiller(student, teacher, SameLevel())
    losses = distiller(torch.rand(2, 3, 128, 128), [skystill.Targets.empty()] * 2)
    print({name: round(value.item(), 3) for name, value in losses.items()})
