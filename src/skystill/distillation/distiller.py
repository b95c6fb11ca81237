"""The one stateful class of distillation: it runs student, teacher and method, and gives back a plain student."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.detectors.base import Detector
from skystill.detectors.blackbox import BlackBox
from skystill.detectors.checks import check_pixels, check_range
from skystill.detectors.modes import evaluating, norms_told
from skystill.distillation.cache import TeacherCache
from skystill.distillation.hearing import hearings
from skystill.distillation.method import Method
from skystill.distillation.methods import make_method
from skystill.distillation.pairing import rescale
from skystill.distillation.predictions import PredictionsTeacher
from skystill.distillation.pseudo import with_pseudo_targets
from skystill.distillation.roles import Role
from skystill.distillation.views import as_one_stage
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets

Teacher = Detector | PredictionsTeacher

_PROBE = 128  # side of the blank image from which adapters learn the shapes


class Distiller(nn.Module):
    """Trains `student` under one or more frozen teachers.

    Parameters and state hold the student and the method's adapters, never a teacher. method: one, or a name as recipes
    give it, such as "ltd_plus" or "pkd+bckd", with its defaults. teacher_scale: teachers see the
    image enlarged by this factor. teacher_bf16: teachers run in bfloat16, faster where the processor or GPU has matrix
    units for it. With several teachers each has its own adapters, and their terms are averaged. sure, unsure: in images
    without truth (`Targets.labelled` is False) teachers' detections from these scores on stand in for objects, and are
    ignored, see pseudo.py. classes: names of teachers' classes to the student's where they differ; given, even empty,
    it passes over classes that only one side has. roles: one for each teacher, what it teaches and how much its terms
    count. allow_hbb: a teacher of upright boxes may teach an oriented student, by its features alone.

    >>> distiller = Distiller(student, teacher, LTD())
    >>> losses = distiller(images, targets)
    >>> sum(losses.values()).backward()

    Errors: ConfigError when classes, kinds of boxes or bands disagree, or the method cannot serve the pair.
    """

    def __init__(
        self,
        student: Detector,
        teachers: Teacher | Sequence[Teacher],
        method: Method | str,
        teacher_scale: float = 1.0,
        teacher_bf16: bool = False,
        sure: float = 0.5,
        unsure: float = 0.2,
        classes: Mapping[str, str] | None = None,
        roles: Sequence[Role] = (),
        allow_hbb: bool = False,
    ) -> None:
        super().__init__()
        # In a tuple, teachers are no submodules: no optimizer, checkpoint or distributed wrapper ever sees them.
        self.teachers = tuple(teachers) if isinstance(teachers, Sequence) else (teachers,)
        self.sure, self.unsure = sure, unsure
        self.student, self.teacher_scale, self.teacher_bf16 = student, teacher_scale, teacher_bf16
        method = make_method(method) if isinstance(method, str) else method
        if not isinstance(method, Method):
            raise ConfigError(f"method is {method!r:.80}. Give a method, e.g. skystill.LTD(), or the name of one.")
        if not teacher_scale > 0:
            raise ConfigError(f"teacher_scale is {teacher_scale}. Give a number above 0; 1 shows the image as it is.")
        if not self.teachers:
            raise ConfigError("distillation needs at least one teacher; train one with `skystill train`.")
        self.methods = nn.ModuleList(method if n == 0 else deepcopy(method) for n in range(len(self.teachers)))
        self.caches: tuple[TeacherCache, ...] = ()
        self._looked = False
        # Is told what student and first teacher said of a batch and all terms of it, for a look inside.
        self.observer: Callable[[Knowledge, Knowledge, dict[str, Tensor]], None] | None = None
        for teacher in self.teachers:
            check_pair(student, teacher, allow_hbb)
        them = [(teacher.classes, teacher.kind) for teacher in self.teachers]
        self.hearings = hearings((student.classes, student.kind), them, classes, roles)
        for network in self.networks:
            network.requires_grad_(False).eval()
        self._build()

    def _build(self) -> None:
        weight = next(self.student.parameters())
        side = -(-max(_PROBE, self.least) // self.multiple) * self.multiple
        probe = torch.zeros(1, self.student.in_chans, side, side, device=weight.device)
        with torch.no_grad(), evaluating(self.student):
            seen = self.student(probe).knowledge
            self._two_stage = seen.stages is not None
            for network in self.networks:
                network.to(weight.device)
            for teacher, hearing, method in zip(self.teachers, self.hearings, self._each(), strict=True):
                method.prepare(seen, hearing.knowledge(self.ask(teacher, probe)))
                method.to(weight.device)

    @property
    def networks(self) -> tuple[Detector, ...]:
        """The teachers that look at images."""
        return tuple(teacher for teacher in self.teachers if isinstance(teacher, Detector))

    @property
    def multiple(self) -> int:
        """Image sides that student and teachers take, these at their scale, are multiples of it."""
        return common_multiple(self.student, self.networks, self.teacher_scale)

    @property
    def least(self) -> int:
        """The shortest side of an image of which the maps of all show no more than the image."""
        return max(self.student.least, *(math.ceil(teacher.least / self.teacher_scale) for teacher in self.networks), 0)

    def _each(self) -> list[Method]:
        return list(self.methods)  # type: ignore[arg-type]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Distiller:
        for network in self.networks:
            network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def use_caches(self, caches: Sequence[TeacherCache]) -> None:
        """From now on lessons are read and no teacher is asked: one cache for each teacher, in their order."""
        if len(caches) != len(self.teachers):
            raise ConfigError(f"{len(caches)} teacher caches for {len(self.teachers)} teachers; give one for each.")
        self.caches = tuple(caches)

    @torch.no_grad()
    def ask(self, teacher: Teacher, images: Tensor, targets: Sequence[Targets] = ()) -> Knowledge:
        """What a teacher says of images (B, C, H, W), in the student's pixels and its own classes.

        targets: for a file of predictions.
        """
        if isinstance(teacher, PredictionsTeacher):
            return teacher.ask(images, targets)
        if self.teacher_bf16:
            with torch.autocast(images.device.type, torch.bfloat16):
                return self._look(teacher, images)
        return self._look(teacher, images)

    def ask_to_keep(self, teacher: Detector, images: Tensor) -> Knowledge:
        """The same in a form that a cache can hold: a two-stage teacher of a one-stage student says what it finds at
        its anchors. A two-stage student asks about boxes that nobody knows before, so for it nothing changes.
        """
        told = self.ask(teacher, images)
        return told if self._two_stage else as_one_stage(told)

    def _look(self, teacher: Detector, images: Tensor) -> Knowledge:
        if self.teacher_scale != 1:
            images = F.interpolate(images, scale_factor=self.teacher_scale, mode="bilinear", antialias=True)
        told = teacher(images).knowledge.detach()
        if told.head is not None:
            told = replace(told, head=replace(told.head, maps=()))  # only a student's are asked for
        return rescale(told, self.teacher_scale)

    def set_progress(self, t: float) -> None:
        """Tells the student and the methods how much of the training is done, 0..1."""
        self.student.set_progress(t)
        for method in self._each():
            method.progress = t

    def forward(self, images: Tensor | Sequence[Tensor], targets: list[Targets]) -> dict[str, Tensor]:
        """The student's own losses and the method's terms, all weighted: their sum is what to minimise.

        images: (B, C, H, W) or a list of (C, H, W), in 0..1; a list is padded at the right and bottom. Errors:
        ConfigError and DataError for images and targets that do not fit, see `Detector.check`.
        """
        if not isinstance(images, Tensor):
            images = pad_together(images, self.multiple)
        self.student.check(images, targets)
        if min(images.shape[-2:]) < self.least:
            raise ConfigError(
                f"the images are {images.shape[3]} x {images.shape[2]} px, and one of the pair pads them inside to "
                f"{self.least}, so its maps are not the other's. Give sides of {self.least} px or more (data.crop)."
            )
        if not self._looked:  # once, since who scales images or boxes wrongly does it from the first
            check_range(images)
            check_pixels(targets)
            self._looked = True
        # Teachers first: what they need in passing is free again before the student's activations pile up.
        lessons = self._lessons(images, targets)
        height, width = images.shape[-2:]
        targets = with_pseudo_targets(targets, lessons, (height, width), self.sure, self.unsure)
        output = self.student(images, targets)
        losses = dict(output.losses)
        terms: dict[str, Tensor] = {}
        for knowledge, method, hearing in zip(lessons, self._each(), self.hearings, strict=True):
            # Softmaxes of x / 0.1 and factors of T^2 = 100 overflow half precision, so the method runs in float32.
            with torch.autocast(images.device.type, enabled=False), norms_told(images):
                found = method(in_float32(output.knowledge), in_float32(knowledge), hearing.truth(targets))
            for name, value in found.items():
                terms[name] = terms.get(name, torch.zeros_like(value)) + hearing.share * value
        for name, value in terms.items():
            losses[f"kd_{name}" if name in losses else name] = value
        if self.observer is not None:
            self.observer(output.knowledge.detach(), lessons[0], losses)
        return losses

    def _lessons(self, images: Tensor, targets: list[Targets]) -> list[Knowledge]:
        if self.caches:
            keys = [target.key for target in targets]
            told = [cache.read(keys, images.device) for cache in self.caches]
        else:
            told = [self.ask(teacher, images, targets) for teacher in self.teachers]
        return [hearing.knowledge(knowledge) for hearing, knowledge in zip(self.hearings, told, strict=True)]

    def matrices(self) -> dict[str, Tensor]:
        """The first teacher's binding matrices of the last step."""
        return self._each()[0].matrices()

    def bindings(self) -> dict[str, Tensor]:
        """The same for each image: name -> (B, L_s, L_t)."""
        return self._each()[0].bindings()

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """Where the first teacher's method teaches, see Method."""
        return self._each()[0].taught(dense_t, targets)


@torch.no_grad()
def inherit(student: Detector, teacher: Teacher) -> list[str]:
    """Copies into the student what both have in equal shape outside their backbones: neck and head. Returns the names.

    The inheriting strategy of Kang et al., NeurIPS 2021 (arXiv 2110.12724): a student whose features learn to resemble
    the teacher's can start from the head that reads those. Errors: ConfigError when nothing fits.
    """
    if isinstance(teacher, PredictionsTeacher):
        raise ConfigError(f"{teacher.name} has no weights to inherit. Leave teacher.inherit away.")
    if student.classes != teacher.classes:
        raise ConfigError(
            f"the student's classes ({', '.join(student.classes)}) are not in order the teacher's "
            f"({', '.join(teacher.classes)}), of which an inherited head speaks. Leave teacher.inherit away."
        )
    theirs, copied = _outside_backbone(teacher), []
    for name, value in _outside_backbone(student).items():
        if name in theirs and theirs[name].shape == value.shape:
            value.copy_(theirs[name])
            copied.append(name)
    if not copied:
        raise ConfigError(
            "the student can inherit nothing: no part of its neck and head has the shape of the teacher's. "
            "Give it the teacher's widths, or leave teacher.inherit away."
        )
    return copied


def _outside_backbone(detector: Detector) -> dict[str, Tensor]:
    """State by name, without that of the backbone, wherever a family keeps it."""
    backbone = getattr(detector, "backbone", None)
    within = set() if backbone is None else {id(v) for v in backbone.state_dict(keep_vars=True).values()}
    return {k: v.detach() for k, v in detector.state_dict(keep_vars=True).items() if id(v) not in within}


def in_float32(knowledge: Knowledge) -> Knowledge:
    """The same knowledge with a float32 pyramid; the head's tensors are converted where they are selected.

    Maps that are converted, those of a cache, come out channels-last: methods pool them and take their cells, which is
    up to eight times as fast there.
    """
    return replace(knowledge, pyramid=tuple(_in_float32(level) for level in knowledge.pyramid))


def _in_float32(level: Tensor) -> Tensor:
    return level if level.dtype == torch.float32 else level.to(torch.float32, memory_format=torch.channels_last)


def common_multiple(student: Detector, teachers: Sequence[Detector], scale: float) -> int:
    """The least whose multiples m all of them take: m the student, scale * m its teachers."""
    ratio = Fraction(scale).limit_denominator(64)
    return math.lcm(student.multiple, *((teacher.multiple / ratio).numerator for teacher in teachers))


def pad_together(images: Sequence[Tensor], multiple: int) -> Tensor:
    """(B, C, H, W) of images (C, h, w), zeros at the right and bottom, sides a multiple of `multiple`."""
    for image in images:
        if not isinstance(image, Tensor):
            raise ConfigError(f"an image is a {type(image).__name__}; give tensors (C, H, W) of floats in 0..1.")
    if not images or any(image.ndim != 3 for image in images):
        raise ConfigError("images is a list of (C, H, W), with at least one, or a tensor (B, C, H, W).")
    if len(kinds := {(image.shape[0], image.dtype, image.device) for image in images}) > 1:
        said = " and ".join(sorted(f"{bands} bands of {dtype} on {device}" for bands, dtype, device in kinds))
        raise ConfigError(f"the images of a batch are not alike: {said}.")
    height = -(-max(i.shape[1] for i in images) // multiple) * multiple
    width = -(-max(i.shape[2] for i in images) // multiple) * multiple
    return torch.stack([F.pad(i, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images])


def check_pair(student: Detector, teacher: Teacher, allow_hbb: bool = False) -> None:
    """Raises ConfigError, with the mend, where a teacher cannot teach this student at all."""
    for whose, side in (("student", student), ("teacher", teacher)):
        if not isinstance(side, Detector | PredictionsTeacher):
            raise ConfigError(f"the {whose} is a {type(side).__name__}; give skystill.wrap(model, classes).")
    if isinstance(student, BlackBox):
        raise ConfigError("the student is a black box, which can only teach. Give a detector with weights.")
    if student is teacher:
        raise ConfigError("the student is its own teacher and would be frozen; copy it, or load it twice.")
    if student.kind != teacher.kind and not (allow_hbb and teacher.kind == "hbb"):
        mend = "" if student.kind == "hbb" else ", or let it teach by its features alone: --allow-hbb-teacher"
        raise ConfigError(
            f"the student predicts {student.kind} boxes, the teacher {teacher.kind}. Choose a pair of one kind{mend}."
        )
    if isinstance(teacher, Detector) and student.in_chans != teacher.in_chans:
        raise ConfigError(
            f"the student takes {student.in_chans} bands, the teacher {teacher.in_chans}; "
            "create both with the same in_chans."
        )
