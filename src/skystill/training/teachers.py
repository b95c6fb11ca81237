"""The teachers that a recipe names: weights files, exported detectors, and files of predictions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from skystill.data.module import DataModule
from skystill.deployment.runtime import OnnxDetector
from skystill.detectors.base import Detector
from skystill.detectors.blackbox import BlackBox
from skystill.detectors.weights import load, read_header
from skystill.distillation.distiller import Distiller, Teacher
from skystill.distillation.method import Method
from skystill.distillation.predictions import PredictionsTeacher
from skystill.distillation.roles import Role
from skystill.errors import ConfigError, DataError
from skystill.training.recipe import TeacherConfig, is_exported, is_predictions


def open_teachers(config: TeacherConfig, data: DataModule) -> list[Teacher]:
    """The teachers of a recipe. Of a file of predictions, the data tells from now on.

    Errors: WeightsError, DataError for a file, also where predictions pass over all unlabelled images; ConfigError
    where the data cannot tell, or onnxruntime is not installed.
    """
    return [_open(path, config, data) for path in config.weights]


def _open(path: str, config: TeacherConfig, data: DataModule) -> Teacher:
    if is_exported(path):
        box = OnnxDetector(path)
        return BlackBox(box.predict, box.classes, box.kind, box.in_chans, box.multiple, box.size)
    if not is_predictions(path):
        return load(path)
    names = config.classes or {}
    classes = (*data.classes, *(theirs for theirs in names if theirs not in data.classes))
    told, labelled = data.tell(path, classes, config.classes is not None), data.datasets["train"].labelled
    if len(told) > labelled and not any(len(found) for found in told[labelled:]):
        # Its silence would teach background everywhere there.
        raise DataError(
            f"{path}: says nothing of any image of data.unlabelled. Let that detector look there too, or leave "
            "data.unlabelled away."
        )
    return PredictionsTeacher(path, classes, data.config.kind)


def make_distiller(config: TeacherConfig, student: Detector, teachers: list[Teacher], method: Method) -> Distiller:
    """As the recipe has it. Errors: ConfigError where they do not fit."""
    return Distiller(
        student,
        teachers,
        method,
        teacher_scale=config.scale,
        teacher_bf16=config.bf16,
        sure=config.sure,
        unsure=config.unsure,
        classes=config.classes,
        roles=[_role(role) for role in config.roles],
        allow_hbb=config.allow_hbb,
    )


def _role(settings: dict[str, Any]) -> Role:
    known = [field.name for field in fields(Role)]
    if strange := [key for key in settings if key not in known]:
        raise ConfigError(f"teacher.roles: a role has no {strange[0]!r}. Its keys are {', '.join(known)}.")
    return Role(**settings)


def notes_of(path: str) -> dict[str, Any]:
    """What a teacher's file says beside its weights, such as the scores that it was saved with."""
    if is_predictions(path) or is_exported(path):
        return {}
    notes: dict[str, Any] = read_header(path)["notes"]
    return notes
