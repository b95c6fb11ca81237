"""What a distillation method is: a function of two Knowledges and the targets, with the adapters it learns along the
way."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from skystill.structures import Knowledge, Targets


class Method(nn.Module, ABC):
    """Base of all methods. `build` makes the adapters, once, when both detectors are known; `forward` returns
    weighted terms.

    progress: how much of the training is done, 0..1; the Distiller keeps it current, for terms that fade or grow.
    """

    progress: float = 0.0

    @abstractmethod
    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Makes adapters from the shapes of a probe. Errors: ConfigError when the method cannot serve this pair."""

    @abstractmethod
    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """Scalar terms by name, already weighted. The teacher's tensors carry no gradient."""

    def matrices(self) -> dict[str, Tensor]:
        """What the last step bound to what, for logs: name -> (L_s, L_t) or (L, L)."""
        return {}
