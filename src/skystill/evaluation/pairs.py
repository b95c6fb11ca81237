"""What every score needs of detections beside truth: input checks and how much boxes overlap, exact, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skystill.boxes.obb import hbb_to_corners, obb_to_corners, rotated_intersection
from skystill.errors import DataError
from skystill.structures import Detections, Targets

Floats = NDArray[np.float64]


def check_pairs(detections: Sequence[Detections], targets: Sequence[Targets], count: int) -> None:
    """Raise DataError where detections and truth cannot be scored together.

    That is: another number of images, a label outside 0..count-1, a number that is not finite, HBB against OBB.
    """
    check_lengths(detections, targets)
    for i, (seen, truth) in enumerate(zip(detections, targets, strict=True)):
        where = f"image {truth.name!r} (number {i})" if truth.name else f"image number {i}"
        if len(seen) and len(truth) and seen.boxes.shape[1] != truth.boxes.shape[1]:
            raise DataError(
                f"{where}: detections have {seen.boxes.shape[1]} box columns, the truth {truth.boxes.shape[1]}. "
                "Score a horizontal detector on horizontal truth and an oriented one on oriented truth."
            )
        _check_labels(seen.labels, count, f"{where}, detection")
        _check_labels(truth.labels, count, f"{where}, object")
        _check_finite(seen.boxes.isfinite().all(1) & seen.scores.isfinite(), f"{where}, detection")
        _check_finite(truth.boxes.isfinite().all(1), f"{where}, object")


def check_lengths(detections: Sequence[Detections], targets: Sequence[Targets]) -> None:
    """Raise DataError unless there is one Detections per Targets."""
    if len(detections) != len(targets):
        raise DataError(
            f"{len(detections)} images of detections but {len(targets)} of truth. Give one of each per image."
        )


def _check_labels(labels: Tensor, count: int, where: str) -> None:
    wrong = ((labels < 0) | (labels >= count)).nonzero().flatten().tolist()
    if wrong:
        raise DataError(
            f"{where} {wrong[0]}: label {int(labels[wrong[0]])} is outside the {count} classes. "
            "Score with the class list that the detector and the data set share."
        )


def _check_finite(finite: Tensor, where: str) -> None:
    if not bool(finite.all()):
        index = int((~finite).nonzero()[0])
        raise DataError(f"{where} {index}: the box or score is not finite. Leave it out or repair it.")


def overlaps(first: Tensor, second: Tensor) -> Floats:
    """IoU of boxes (A, 4|5) with boxes (B, 4|5), both of one kind: (A, B) in 0..1; 0 where both areas are 0."""
    common = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - common
    return common / np.where(union > 0, union, 1.0)


def covered(first: Tensor, second: Tensor) -> Floats:
    """How much of each of the boxes (A, 4|5) lies inside each of (B, 4|5): (A, B) in 0..1."""
    own = areas(first)[:, None]
    return intersections(first, second) / np.where(own > 0, own, 1.0)


def areas(boxes: Tensor) -> Floats:
    """Square pixels of boxes (A, 4|5): (A,)."""
    values = _numpy(boxes)
    if values.shape[1] == 5:
        return values[:, 2] * values[:, 3]
    return (values[:, 2] - values[:, 0]) * (values[:, 3] - values[:, 1])


def intersections(first: Tensor, second: Tensor) -> Floats:
    """Common area in square pixels of boxes (A, 4|5) with boxes (B, 4|5), both of one kind: (A, B)."""
    if first.shape[1] == 5:
        return _numpy(rotated_intersection(first.double(), second.double()))
    a, b = _numpy(first)[:, None], _numpy(second)[None, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common: Floats = sides.clip(min=0).prod(axis=-1)
    return common


def corners(boxes: Tensor) -> Floats:
    """The four corners (A, 4, 2), x then y, of boxes (A, 4|5), clockwise on the screen."""
    flat = obb_to_corners(boxes.double()) if boxes.shape[1] == 5 else hbb_to_corners(boxes.double())
    return _numpy(flat).reshape(-1, 4, 2)


def _numpy(boxes: Tensor) -> Floats:
    return np.asarray(boxes.detach().double().cpu().numpy(), dtype=np.float64)
