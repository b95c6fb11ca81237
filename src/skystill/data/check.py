"""What every reader's result goes through: boxes that cannot be, and boxes that reach beyond their image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from skystill.boxes.obb import corners_to_hbb, corners_to_obb
from skystill.data.annotations import Annotations, Record
from skystill.errors import DataError

_SLACK = 0.01  # pixels: overhang from rounding on disk is clipped without a note
_MEND = "Correct the file, or drop such boxes with --fix true (in recipes data.fix: true)."


def clean(annotations: Annotations, fix: bool = False) -> Annotations:
    """The same annotations, checked.

    A horizontal box that reaches beyond its image is clipped, with a note; an oriented one keeps its shape. A box with
    coordinates that are no numbers, without area or wholly outside its image raises DataError with the file and the
    object's place in it, or is dropped with a note when `fix` is true. Images of unknown size (0) are not checked for
    outside. The result holds no names of objects.
    """
    clipped = _Tally("reached beyond the image and were clipped")
    dropped = _Tally("were dropped")
    records = []
    for record in annotations.records:
        record = _clip(record, clipped) if annotations.kind == "hbb" else record
        bad = {**_outside(record), **_without_area(record), **_no_number(record)}
        for index, reason in bad.items():
            if not fix:
                raise DataError(f"{record.place(index)} {reason}. {_MEND}")
            dropped.add(record, index, reason)
        keep = np.setdiff1d(np.arange(len(record)), list(bad))
        record = record.take(keep) if bad else record
        records.append(replace(record, names=()))  # no message about a single object comes after this
    notes = [*annotations.notes, *clipped.note(), *dropped.note()]
    return Annotations(annotations.classes, records, annotations.kind, notes)


class _Tally:
    """Counts one kind of event and remembers the first, so that a large data set gives one line."""

    def __init__(self, what: str) -> None:
        self.what, self.count, self.first = what, 0, ""

    def add(self, record: Record, index: int, reason: str = "") -> None:
        self.count += 1
        self.first = self.first or f"{record.place(index)} {reason}".strip()

    def note(self) -> list[str]:
        return [f"{self.count} box(es) {self.what}; the first: {self.first}"] if self.count else []


def _sides(record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upright boxes (M, 4) around the objects and their own widths and heights (M, 2)."""
    boxes = torch.from_numpy(record.boxes)
    if boxes.shape[1] == 4:
        return record.boxes, record.boxes[:, 2:] - record.boxes[:, :2]
    return corners_to_hbb(boxes).numpy(), corners_to_obb(boxes)[:, 2:4].numpy()


def _clip(record: Record, tally: _Tally) -> Record:
    """Cuts partly visible boxes at the image's rim; those wholly outside stay as they are, for the message."""
    if not (record.width and record.height) or not len(record):
        return record
    limit = np.array([record.width, record.height] * 2, dtype=np.float64)
    boxes: NDArray[np.float64] = np.clip(record.boxes, 0, limit)
    visible = (boxes[:, 2:] > boxes[:, :2]).all(1) & np.isfinite(record.boxes).all(1)
    boxes[~visible] = record.boxes[~visible]
    moved = np.abs(boxes[visible] - record.boxes[visible]).max(1, initial=0) > _SLACK
    for index in np.flatnonzero(visible)[moved].tolist():
        tally.add(record, index)
    return replace(record, boxes=boxes)


def _no_number(record: Record) -> dict[int, str]:
    odd = np.flatnonzero(~np.isfinite(record.boxes).all(1)).tolist()
    return {i: f"has coordinates that are no numbers: {_row(record, i)}" for i in odd}


def _without_area(record: Record) -> dict[int, str]:
    flat = np.flatnonzero(~(_sides(record)[1] > 1e-6).all(1)).tolist()
    return {i: f"has no area: {_row(record, i)}" for i in flat}


def _outside(record: Record) -> dict[int, str]:
    if not (record.width and record.height):
        return {}
    hull = _sides(record)[0]
    size = np.array([record.width, record.height])
    out = np.flatnonzero(((hull[:, 2:] <= 0) | (hull[:, :2] >= size)).any(1)).tolist()
    where = f"lies outside its image of {record.width} x {record.height} pixels"
    return {i: f"{where}: {_row(record, i)}" for i in out}


def _row(record: Record, index: int) -> str:
    return " ".join(f"{v:g}" for v in record.boxes[index])
