"""What an annotation file says, whatever its format: the one type that every reader returns and every writer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skystill.errors import DataError
from skystill.kinds import BoxKind


@dataclass(slots=True)
class Record:
    """One image and its objects as they stand on disk.

    image: path of the image file. width, height: pixels, 0 when the format does not say. boxes: (M, 4) corners x1 y1
    x2 y2 for HBB or (M, 8) four corners x y in drawing order for OBB, float64 pixels. labels: (M,) int64 index into
    the classes.
    crowd: (M,) bool, COCO's iscrowd. difficult: (M,) bool, VOC's and DOTA's flag.
    source: where the annotation was read (file, or file and image id), for messages. names: (M,) what the file calls
    each object ("line 3", "annotation id 7"), for messages; empty when unknown.
    """

    image: Path
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    source: str = ""
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    def place(self, index: int) -> str:
        """Where an object was read, for messages."""
        return f"{self.source} {self.names[index] if self.names else f'box {index}'}"

    def check_size(self, width: int, height: int) -> None:
        """Raises DataError where the image has other pixels than were annotated: its boxes would lie elsewhere."""
        if self.width and (self.width, self.height) != (width, height):
            raise DataError(
                f"{self.source or self.image}: image {self.image.name} is {width} x {height} pixels, but its "
                f"annotation says {self.width} x {self.height}. Use the image that was annotated or mend the size."
            )

    def take(self, rows: NDArray[np.int64]) -> Record:
        """The record with these of its objects."""
        names = [self.names[i] for i in rows.tolist()] if self.names else ()
        crowd, difficult = self.crowd[rows], self.difficult[rows]
        objects, labels = self.boxes[rows], self.labels[rows]
        return replace(self, boxes=objects, labels=labels, crowd=crowd, difficult=difficult, names=names)

    @property
    def ignore(self) -> NDArray[np.bool_]:
        """(M,) bool: objects that neither train nor count."""
        return self.crowd | self.difficult


def without_objects(image: Path) -> Record:
    """The record of an image of which nothing is known."""
    none = np.zeros(0, dtype=np.bool_)
    return Record(image, 0, 0, np.zeros((0, 4)), np.zeros(0, dtype=np.int64), none, none)


@dataclass(slots=True)
class Annotations:
    """A data set's truth: class names in label order, one record an image (images without objects stay in), the box
    kind."""

    classes: tuple[str, ...]
    records: list[Record]
    kind: BoxKind = "hbb"
    notes: list[str] = field(default_factory=list)  # what a reader clipped, dropped or guessed, one line each

    def __len__(self) -> int:
        return len(self.records)
