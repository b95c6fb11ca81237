"""The teachers that a recipe names: weights files, and files of predictions."""

from __future__ import annotations

from typing import Any

from skystill.data.module import DataModule
from skystill.detectors.weights import load, read_header
from skystill.distillation.distiller import Teacher
from skystill.distillation.predictions import PredictionsTeacher
from skystill.errors import DataError
from skystill.training.recipe import is_predictions


def open_teacher(path: str, data: DataModule) -> Teacher:
    """The teacher in a file. Of a file of predictions, the data tells from now on.

    Errors: WeightsError, DataError for the file, also where it passes over all unlabelled images; ConfigError where the
    data cannot tell.
    """
    if not is_predictions(path):
        return load(path)
    told, labelled = data.tell(path), data.datasets["train"].labelled
    if len(told) > labelled and not any(len(found) for found in told[labelled:]):
        # Its silence would teach background everywhere there.
        raise DataError(
            f"{path}: says nothing of any image of data.unlabelled. Let that detector look there too, or leave "
            "data.unlabelled away."
        )
    return PredictionsTeacher(path, data.classes, data.config.kind)


def notes_of(path: str) -> dict[str, Any]:
    """What a teacher's file says beside its weights, such as the scores that it was saved with."""
    if is_predictions(path):
        return {}
    notes: dict[str, Any] = read_header(path)["notes"]
    return notes
