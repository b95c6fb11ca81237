"""What a distillation method is: a function of two Knowledges and the targets, with the adapters it learns along the
way."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets


class Method(nn.Module, ABC):
    """Base of all methods. `build` makes the adapters, once, when both detectors are known; `forward` returns
    weighted terms.

    progress: how much of the training is done, 0..1; the Distiller keeps it current, for terms that fade or grow.
    """

    progress: float = 0.0

    @property
    def features(self) -> bool:
        """Whether it compares feature maps, which a black box does not show."""
        return True

    def prepare(self, student: Knowledge, teacher: Knowledge) -> None:
        """Checks that the teacher shows what this method needs, and builds. Errors: ConfigError with the mend."""
        if self.features and not teacher.pyramid:
            raise ConfigError(
                "the teacher is a black box without features. Use a method that compares predictions: ltd with ccd 0 "
                "(--method.settings.ccd 0), or bckd."
            )
        self.build(student, teacher)

    @staticmethod
    def refuse_scope(teacher: Knowledge, why: str) -> None:
        """For methods that cannot keep to a teacher's role. why: what they do. Errors: ConfigError where it has one."""
        if teacher.scope is not None:
            raise ConfigError(
                f"{why}, but this teacher may not speak of every class or size. Methods that keep to what it may: ltd, "
                "bckd, ld, fgd."
            )

    @abstractmethod
    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Makes adapters from the shapes of a probe. Errors: ConfigError when the method cannot serve this pair."""

    @abstractmethod
    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """Scalar terms by name, already weighted. The teacher's tensors carry no gradient."""

    def bindings(self) -> dict[str, Tensor]:
        """What the last step bound to what in each image, for logs, without gradient: name -> (B, L_s, L_t) or (B, L,
        L)."""
        return {}

    def matrices(self) -> dict[str, Tensor]:
        """The bindings' means over the images: name -> (L_s, L_t) or (L, L)."""
        return {name: binding.mean(0) for name, binding in self.bindings().items()}

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """The places of dense_t where this method teaches, for pictures: region -> bool (B, N)."""
        return {}
