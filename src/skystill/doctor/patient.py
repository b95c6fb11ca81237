"""What a recipe makes, made when it is first asked for, so that each part's own error is met where it belongs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Subset

from skystill.data.dataset import DetectionDataset, Sample, SyntheticDataset
from skystill.data.module import DataModule, Split, collate, ready
from skystill.detectors.base import Detector
from skystill.detectors.blackbox import BlackBox
from skystill.distillation.distiller import Distiller, Teacher, common_multiple, inherit
from skystill.distillation.hearing import Hearing
from skystill.distillation.method import Method
from skystill.distillation.methods import make_method
from skystill.errors import ConfigError
from skystill.structures import Batch, Knowledge, Targets
from skystill.training.fit import make_detector
from skystill.training.recipe import Recipe
from skystill.training.task import backbone_of, freeze_stages
from skystill.training.teachers import make_distiller, open_teachers


class _Silent(Method):
    """Teaches nothing and remembers the shapes."""

    features = False

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        self.shapes = (student, teacher)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        return {}


class Patient:
    """A recipe and its parts. Errors of any attribute: those of the part, ConfigError or another SkystillError."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @cached_property
    def device(self) -> torch.device:
        """Where the recipe would train."""
        wanted = self.recipe.trainer.accelerator
        if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if wanted == "mps" else "cpu")

    @property
    def workers(self) -> int:
        """Processes that would train side by side."""
        wanted = self.recipe.trainer.devices
        if str(wanted).isdecimal() and int(wanted) > 0:
            return int(wanted)
        return max(1, torch.cuda.device_count()) if self.device.type == "cuda" else 1

    @cached_property
    def data(self) -> DataModule:
        """All splits, read."""
        data = DataModule(self.recipe.data, self.recipe.seed)
        data.setup()
        if "train" not in data.datasets:
            raise ConfigError(
                "the recipe has no train data. Give data.train, or data.scenes_train for synthetic scenes."
            )
        return data

    @property
    def judge(self) -> tuple[Split, DetectionDataset | SyntheticDataset | Subset[Sample]]:
        """The split that teachers are judged on, and its images."""
        if "val" in self.data.datasets:
            return "val", self.data.datasets["val"]
        train = self.data.datasets["train"]
        return "train", Subset(train, range(train.labelled))

    @cached_property
    def student(self) -> Detector:
        """Fresh, as the run would start with it."""
        student = make_detector(self.recipe, self.data.classes).to(self.device)
        if self.recipe.detector.freeze:
            freeze_stages(backbone_of(student), self.recipe.detector.freeze)
        return student

    @cached_property
    def teachers(self) -> list[Teacher]:
        """Weights loaded strictly, predictions read with the data."""
        self.recipe.check_taught()
        opened = open_teachers(self.recipe.teacher, self.data)
        return [t.to(self.device).requires_grad_(False) if isinstance(t, Detector) else t for t in opened]

    @property
    def window(self) -> int | None:
        """Side of the largest square that every teacher takes; None where they take any image."""
        sizes = [teacher.size for teacher in self.teachers if isinstance(teacher, BlackBox) and teacher.size]
        return min(min(size) for size in sizes) if sizes else None

    @property
    def multiple(self) -> int:
        """Image sides that student and teachers take are multiples of it."""
        networks = [teacher for teacher in self.teachers if isinstance(teacher, Detector)]
        return common_multiple(self.student, networks, self.recipe.teacher.scale)

    @cached_property
    def distiller(self) -> Distiller:
        """The recipe's method on the pair."""
        if self.recipe.teacher.inherit:
            inherit(self.student, self.teachers[0])
        wanted = self.recipe.method
        return self._distiller(make_method(wanted.name, wanted.settings, wanted.weights))

    @cached_property
    def _silent(self) -> Distiller:
        return self._distiller(_Silent())

    @property
    def shapes(self) -> list[tuple[Knowledge, Knowledge]]:
        """What the student and each teacher give for a blank image, in the student's pixels."""
        return [method.shapes for method in self._silent.methods]  # type: ignore[misc]

    @property
    def hearings(self) -> list[Hearing]:
        """How the student hears each teacher."""
        return self._silent.hearings

    def _distiller(self, method: Method) -> Distiller:
        return make_distiller(self.recipe.teacher, self.student, self.teachers, method).to(self.device).train()

    @cached_property
    def batch(self) -> Batch:
        """The first training images, the labelled ones first, as one augmented batch on the device."""
        images, config = self.data.datasets["train"], self.recipe.data
        count = min(config.batch, images.labelled)
        added = min(config.added, len(images) - images.labelled)
        chosen = [*range(count), *range(images.labelled, images.labelled + added)]
        return ready(collate([images[0, i] for i in chosen], self.multiple), self.device)

    def amp(self) -> AbstractContextManager[object]:
        """The recipe's mixed precision."""
        kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.recipe.trainer.precision)
        return nullcontext() if kind is None else torch.autocast(self.device.type, kind)
