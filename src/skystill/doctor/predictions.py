"""A teacher that is a file of predictions: whether it speaks of the training images, and how well."""

from __future__ import annotations

from skystill.boxes.nms import Selection
from skystill.data.dataset import DetectionDataset
from skystill.distillation.predictions import PredictionsTeacher
from skystill.doctor.eyes import BLIND, ENOUGH, FLOOR, misnamed
from skystill.doctor.finding import Finding
from skystill.doctor.patient import Patient
from skystill.evaluation.coco import evaluate_coco
from skystill.evaluation.confusion import confusion_matrix
from skystill.structures import Targets


def coverage(patient: Patient, teacher: PredictionsTeacher) -> Finding:
    """In how many images it found something; where it lists nothing, nothing was found."""
    found = [len(truth.told) for truth in _truths(patient) if truth.told is not None]
    empty = found.count(0)
    said = f"{teacher.name}: {sum(found)} detections in {len(found) - empty} of {len(found)} training images"
    if 2 * empty > len(found):
        return Finding("teacher", "yellow", f"{said}, nothing in the other {empty}. Is it of all of these images?")
    return Finding("teacher", "green", f"{said}, nothing in {empty}" if empty else said)


def accuracy(patient: Patient, number: int, teacher: PredictionsTeacher) -> Finding:
    """AP of teacher `number` against the truth of the labelled training images, in the files' own pixels."""
    hearing = patient.hearings[number]
    judged = [
        (hearing.detections(truth.told), hearing.truth([truth])[0])
        for truth in _truths(patient)
        if truth.told is not None and truth.labelled
    ]
    if not any(len(truth.counted()) for _, truth in judged):
        return Finding("accuracy", "yellow", f"no object is in the training images, so {teacher.name} was not judged.")
    told, truths = [told for told, _ in judged], [truth for _, truth in judged]
    classes = patient.data.classes
    scores = evaluate_coco(told, truths, classes, patient.recipe.trainer.max_dets)
    said = f"{teacher.name}: AP {scores.ap:.1f}, AP50 {scores.ap50:.1f} on {len(judged)} train images"
    if not any(len(found.above(Selection().score)) for found in told):
        return Finding("accuracy", "red", f"{said}: no detection scores {Selection().score} or more. Give its scores.")
    if calls := misnamed(confusion_matrix(told, truths, classes), classes):
        wrong = ", ".join(f"{true} {name}" for true, name in calls.items())
        return Finding("accuracy", "red", f"{said}; it calls {wrong}. Correct its category_id or category.")
    mend = "Are its boxes [x, y, width, height] in pixels of these files?"
    if scores.ap50 < BLIND and sum(len(truth.counted()) for truth in truths) >= ENOUGH:
        return Finding("accuracy", "red", f"{said}: hardly anything right. {mend}")
    if scores.ap < FLOOR:
        return Finding("accuracy", "yellow", f"{said}. {mend}")
    return Finding("accuracy", "green", said)


def _truths(patient: Patient) -> list[Targets]:
    images = patient.data.datasets["train"]
    return images.truths if isinstance(images, DetectionDataset) else []
