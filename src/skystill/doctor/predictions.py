"""A teacher that is a file of predictions: whether it speaks of the training images, and how well."""

from __future__ import annotations

from skystill.boxes.nms import Selection
from skystill.data.dataset import DetectionDataset
from skystill.distillation.predictions import PredictionsTeacher
from skystill.doctor.eyes import FLOOR, judged
from skystill.doctor.finding import Finding
from skystill.doctor.patient import Patient
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
    found = [
        (hearing.detections(truth.told), hearing.truth([truth])[0])
        for truth in _truths(patient)
        if truth.told is not None and truth.labelled
    ]
    told, truths = [told for told, _ in found], [truth for _, truth in found]
    heard = sum(len(one.above(Selection().score)) for one in told)
    sight = judged(told, truths, patient.data.classes, patient.recipe.trainer.max_dets, heard)
    if sight.objects == 0:
        return Finding("accuracy", "yellow", f"no object is in the training images, so {teacher.name} was not judged.")
    said = f"{teacher.name}: AP {sight.ap:.1f}, AP50 {sight.ap50:.1f} on {len(found)} train images"
    if sight.found == 0:
        return Finding("accuracy", "red", f"{said}: no detection scores {Selection().score} or more. Give its scores.")
    if sight.calls:
        return Finding("accuracy", "red", f"{said}; it calls {sight.wrong}. Correct its category_id or category.")
    mend = "Are its boxes [x, y, width, height] in pixels of these files?"
    if sight.blind:
        return Finding("accuracy", "red", f"{said}: hardly anything right. {mend}")
    if sight.ap < FLOOR:
        return Finding("accuracy", "yellow", f"{said}. {mend}")
    return Finding("accuracy", "green", said)


def _truths(patient: Patient) -> list[Targets]:
    images = patient.data.datasets["train"]
    return images.truths if isinstance(images, DetectionDataset) else []
