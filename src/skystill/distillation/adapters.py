"""What joins a student's features to a teacher's of other width; trained with the student, thrown away after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from skystill.structures import HeadView, MapPair


def adapter(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """A 1x1 convolution phi; the identity to begin with where the widths are equal, so that equal features are at once
    at distance 0 and a student that starts with the teacher's head keeps features which that head can read.

    bias: False where a distance takes out each channel's mean anyway.
    """
    phi = nn.Conv2d(inputs, outputs, 1, bias=bias)
    if inputs == outputs:
        nn.init.dirac_(phi.weight)
        if phi.bias is not None:
            nn.init.zeros_(phi.bias)
    return phi


class TowerAdapters(nn.Module):
    """phi of both towers of open heads: one pair for all levels where both heads have the same towers at all of
    them, else one for each level of the student."""

    def __init__(
        self, student: HeadView, teacher: HeadView, levels: int, make: Callable[[int, int], nn.Module] = adapter
    ) -> None:
        super().__init__()
        widths = list(zip(student.widths, teacher.widths, strict=True))
        count = 1 if student.shared and teacher.shared else levels
        self.pairs = nn.ModuleList(nn.ModuleList(make(*pair) for pair in widths) for _ in range(count))

    def of(self, level: int) -> tuple[Any, Any]:
        """phi of both towers at a level of the student."""
        of_cls, of_reg = self.pairs[level if len(self.pairs) > 1 else 0].children()
        return of_cls, of_reg

    def forward(self, maps: MapPair, level: int) -> MapPair:
        """The student's maps (B, C, H, W) of one of its levels, as wide as the teacher's."""
        of_cls, of_reg = self.of(level)
        return of_cls(maps[0].float()), of_reg(maps[1].float())
