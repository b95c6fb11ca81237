"""How well teachers see the recipe's images: their AP on a sample, and whether they want another kind of input.

A teacher from elsewhere may have been trained on blue-green-red or on 0..255. In the wrong input it still finds
something, so nothing fails; it just teaches badly. So the usual variants are tried, and the one that fits is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skystill.boxes.nms import Selection, clip_to_images
from skystill.data.module import collate, ready
from skystill.data.transforms import crop, random_window
from skystill.detectors.base import Detector
from skystill.distillation.hearing import Hearing
from skystill.doctor.finding import Finding, State
from skystill.doctor.patient import Patient
from skystill.evaluation.coco import evaluate_coco
from skystill.evaluation.confusion import confusion_matrix
from skystill.structures import Batch, Detections, Targets
from skystill.training.teachers import notes_of

FLOOR = 5.0  # AP below which a teacher has little to teach
BLIND, ENOUGH = 0.5, 20  # AP50 below which a teacher is not trained for these images, if so many objects are in them
SHARE, SEEN = 0.5, 3  # a class goes by another's name if more than this share of at least so many objects does
SECONDS = 20.0  # that all looks with all variants may take
MOST, LEAST = 48, 4  # images of the sample
# Another input may fit when its AP50 is ahead by this much, and does when it is so many times that of this one, or
# lacks at most so much of what this one lacks; of few objects if it finds half, which is no chance.
MARGIN, FACTOR, LACK, SURE = 3.0, 1.25, 0.8, 50.0
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sight:
    """AP and AP50 on a sample with that many objects that count; found: how many detections it had there, right or
    wrong. calls: classes that go by one another's names, such as {"ship": "boat", "boat": "ship"}."""

    ap: float
    ap50: float
    objects: int
    found: int = 1
    calls: Mapping[str, str] = field(default_factory=dict)

    @property
    def blind(self) -> bool:
        """Whether hardly anything is right, among so many objects that it is no chance."""
        return self.ap50 < BLIND and self.objects >= ENOUGH

    @property
    def wrong(self) -> str:
        """Which classes it calls what, in words."""
        return ", ".join(f"{true} {name}" for true, name in self.calls.items())


def accuracy(patient: Patient, number: int, sight: Sight, images: int) -> Finding:
    """Whether teacher `number` has something to teach. images: of the sample."""
    split, every = patient.judge
    path = patient.recipe.teacher.weights[number]
    on = f"{images} of {len(every)} {split} images"
    if patient.window is not None:
        on = f"windows of {patient.window} px of {on}"
    if sight.objects == 0:
        return Finding("accuracy", "yellow", f"no object is in {on}, so {path} was not judged. Give a better split.")
    if sight.found == 0:
        return Finding("accuracy", "red", f"{path}: finds nothing at all on {on}. Is it trained, and for such images?")
    noted = notes_of(path).get(split, {}).get("ap")
    said = f"{path}: AP {sight.ap:.1f}, AP50 {sight.ap50:.1f} on {on}"
    if noted is not None and sight.ap < noted / 2 - MARGIN:
        mend = "These are other images than it knows, or in another form; `skystill evaluate` it on its own data."
        state: State = "red" if sight.objects >= ENOUGH else "yellow"  # a few images may be the hard ones
        return Finding("accuracy", state, f"{said}, but it was saved with AP {noted:.1f}. {mend}")
    if sight.calls:
        names = ", ".join(f"{name}: {true}" for true, name in sight.calls.items())
        mend = f"Give its classes in the order of its outputs, or say what its names mean: teacher.classes {{{names}}}."
        return Finding("accuracy", "red", f"{said}; it calls {sight.wrong}. {mend}")
    if sight.blind:
        return Finding("accuracy", "red", f"{said}: hardly anything right. Is it trained, and for such images?")
    if sight.ap < FLOOR:
        return Finding("accuracy", "yellow", f"{said}. So weak a teacher has little to teach; train it longer.")
    return Finding("accuracy", "green", said if noted is None else f"{said} (saved with {noted:.1f})")


def rival(patient: Patient, number: int, sight: Sight, sample: list[Batch]) -> Finding | None:
    """A student that starts from weights and sees better than its only teacher. None for others."""
    weights = patient.recipe.detector.weights
    if weights is None or len(patient.teachers) > 1 or patient.hearings[number].scope is not None:
        return None
    own = _score(patient, patient.student.eval(), sample)
    patient.student.train()
    if own.ap <= sight.ap:
        return None
    said = f"the student, {weights}, has AP {own.ap:.1f} on this sample already, its teacher {sight.ap:.1f}"
    return Finding("accuracy", "red", f"{said}. Give a better teacher, or let the two change places.")


def taste(patient: Patient, number: int, sight: Sight, sample: list[Batch]) -> Finding:
    """Whether another form of the images suits teacher `number` better. sight: on the images as they are."""
    path = patient.recipe.teacher.weights[number]
    first = sample[0].images
    tried = {
        name: see(patient, number, sample, change)
        for name, change in variants(patient.student.in_chans).items()
        if not torch.equal(change(first), first)  # grey images have no order of bands
    }
    name, best = max(tried.items(), key=lambda item: item[1].ap50)
    if best.ap50 > max(sight.ap50 + MARGIN, FLOOR):
        said = f"{path}: AP50 {sight.ap50:.1f} on bands as they come in 0..1, {best.ap50:.1f} with {name}"
        ahead = best.ap50 > sight.ap50 * FACTOR or 100 - best.ap50 < LACK * (100 - sight.ap50)
        if ahead and (sight.objects >= ENOUGH or best.ap50 >= SURE):
            return Finding("input", "red", f"{said}. Change what its first layer gets.")
        return Finding("input", "yellow", f"{said}. Was it trained on such images?")
    if sight.ap50 < FLOOR:  # blind in every form alike
        said = f"{path}: AP50 {sight.ap50:.1f} on bands as they come in 0..1; next best, {name}: {best.ap50:.1f}"
        return Finding("input", "yellow", f"{said}. So little is found that no form can be told to fit.")
    return Finding(
        "input", "green", f"bands as they come in 0..1 fit: AP50 {sight.ap50:.1f}; next best, {name}: {best.ap50:.1f}"
    )


def variants(bands: int) -> dict[str, Change]:
    """How images (B, C, H, W) in 0..1 are commonly given, other than so."""
    found: dict[str, Change] = {"values in 0..255": lambda x: x * 255, "values in -1..1": lambda x: x * 2 - 1}
    if bands == 3:
        found["bands in reverse order"] = lambda x: x.flip(1)
        found["ImageNet's mean and deviation taken out"] = _standard
    return found


def sample(patient: Patient, number: int) -> list[Batch]:
    """Images spread evenly over the split, one a batch, as many as the time for all variants allows."""
    _, images = patient.judge
    first = _one(patient, 0)
    see(patient, number, [first])  # warms up
    start = time.perf_counter()
    see(patient, number, [first])
    each = (time.perf_counter() - start) * (1 + len(variants(patient.student.in_chans)))
    count = min(len(images), MOST, max(LEAST, int(SECONDS / len(patient.teachers) / max(each, 1e-6))))
    return [_one(patient, i * len(images) // count) for i in range(count)]


def see(patient: Patient, number: int, sample: list[Batch], change: Change | None = None) -> Sight:
    """What teacher `number` scores, as the student hears it, when the images are changed so."""
    teacher = cast(Detector, patient.teachers[number])  # files of predictions look at nothing
    return _score(patient, teacher.eval(), sample, change, patient.hearings[number], patient.recipe.teacher.scale)


@torch.no_grad()
def _score(
    patient: Patient,
    detector: Detector,
    sample: list[Batch],
    change: Change | None = None,
    hearing: Hearing | None = None,
    scale: float = 1.0,
) -> Sight:
    count, seen, truths = 0, list[Detections](), list[Targets]()
    for batch in sample:
        images = batch.images if change is None else change(batch.images)
        if scale != 1:
            images = F.interpolate(images, scale_factor=scale, mode="bilinear", antialias=True)
        found = [_shrunk(d, scale) for d in detector.predict(images, Selection())]
        count += sum(map(len, found))
        found, truth = clip_to_images(found, batch.sizes), batch.targets
        if hearing is not None:
            found, truth = [hearing.detections(d) for d in found], hearing.truth(truth)
        seen += found
        truths += truth
    return judged(seen, truths, patient.student.classes, patient.recipe.trainer.max_dets, count)


def judged(
    seen: Sequence[Detections], truths: Sequence[Targets], classes: Sequence[str], max_dets: int, found: int
) -> Sight:
    """What was seen of each image, in the student's classes, against its truth. found: see Sight."""
    objects = sum(len(truth.counted()) for truth in truths)
    if objects == 0:
        return Sight(0.0, 0.0, 0, found)
    scores = evaluate_coco(seen, truths, classes, max_dets)
    return Sight(scores.ap, scores.ap50, objects, found, misnamed(confusion_matrix(seen, truths, classes), classes))


def misnamed(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, str]:
    """Classes that go by one another's names in a confusion matrix (K+1, K+1), true ones in rows.

    One that is often taken for another is no such case: the other is called by its own name then.
    """
    named = matrix[:-1, :-1]
    calls = {
        true: int(row.argmax())
        for true, row in enumerate(named)
        if row.sum() >= SEEN and row.argmax() != true and row.max() > SHARE * row.sum()
    }
    while outside := [true for true, name in calls.items() if name not in calls]:
        for true in outside:
            del calls[true]
    return {classes[true]: classes[name] for true, name in calls.items()}


def _one(patient: Patient, index: int) -> Batch:
    """An image of the split, or as much of it around an object as the teachers take."""
    image, targets = patient.judge[1][index]
    if patient.window is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(index)
            image, targets = crop(image, targets, *random_window(image, targets, patient.window, p_object=1))
    return ready(collate([(image, targets)], patient.multiple), patient.device)


def _shrunk(found: Detections, scale: float) -> Detections:
    """Boxes of an enlarged image in the pixels of the image before; an angle stays."""
    boxes = found.boxes.clone()
    boxes[:, :4] /= scale
    return replace(found, boxes=boxes)


def _standard(images: Tensor) -> Tensor:
    mean, std = (images.new_tensor(v)[:, None, None] for v in (_MEAN, _STD))
    return (images - mean) / std
