"""What the peers that compare features level by level have in common: which level meets which, and at what shape."""

from __future__ import annotations

from torch import Tensor, nn

from skystill.distillation.adapters import adapter
from skystill.distillation.maps import at_common_size
from skystill.distillation.method import Method
from skystill.distillation.pairing import nearest_levels
from skystill.structures import Knowledge


class LevelMethod(Method):
    """Base of these peers: each student level meets the teacher level of the nearest stride.

    weight: factor of the loss.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.partner: list[int] = []
        self.adapt = nn.ModuleList()

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Pairs the levels and makes what joins their widths."""
        self.partner = nearest_levels(student.strides, teacher.strides)
        self.adapt = nn.ModuleList(
            self.join(s.shape[1], teacher.pyramid[j].shape[1])
            for s, j in zip(student.pyramid, self.partner, strict=True)
        )

    def join(self, inputs: int, outputs: int) -> nn.Module:
        """A 1x1 convolution where the widths differ, nothing where they agree, as most of the papers have it."""
        return nn.Identity() if inputs == outputs else adapter(inputs, outputs)

    def pairs(self, student: Knowledge, teacher: Knowledge) -> list[tuple[Tensor, Tensor]]:
        """Joined student features and teacher features of equal shape (B, C_t, H, W), a pair for each student level.

        The finer map is averaged down first: that commutes with a 1x1 convolution, which then has less to do.
        """
        joined = []
        for s, j, phi in zip(student.pyramid, self.partner, self.adapt, strict=True):
            seen, wanted = at_common_size(s, teacher.pyramid[j])
            joined.append((phi(seen), wanted))
        return joined
