"""What the formats share: building records, finding images and classes, writing without leaving halves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from skystill.data.annotations import Record
from skystill.data.images import SUFFIXES
from skystill.errors import DataError
from skystill.structures import BoxKind

COLUMNS: dict[BoxKind, int] = {"hbb": 4, "obb": 8}


class Objects:
    """Collects one image's objects row by row."""

    def __init__(self, kind: BoxKind) -> None:
        self.columns = COLUMNS[kind]
        self.boxes: list[Sequence[float]] = []
        self.labels: list[int] = []
        self.crowd: list[bool] = []
        self.difficult: list[bool] = []

    def add(self, box: Sequence[float], label: int, crowd: bool = False, difficult: bool = False) -> None:
        """Adds an object: `box` as 4 or 8 corner coordinates in pixels."""
        self.boxes.append(box)
        self.labels.append(label)
        self.crowd.append(crowd)
        self.difficult.append(difficult)

    def record(self, image: Path, width: int, height: int, source: str) -> Record:
        """The image's record, well shaped without any object too."""
        boxes = np.asarray(self.boxes, dtype=np.float64).reshape(-1, self.columns)
        labels = np.asarray(self.labels, dtype=np.int64)
        flags = (np.asarray(self.crowd, dtype=np.bool_), np.asarray(self.difficult, dtype=np.bool_))
        return Record(image, width, height, boxes, labels, *flags, source)


def corners(x1: float, y1: float, x2: float, y2: float, kind: BoxKind) -> tuple[float, ...]:
    """An upright box as 2 corners for HBB or as 4 in drawing order for OBB."""
    return (x1, y1, x2, y2) if kind == "hbb" else (x1, y1, x2, y1, x2, y2, x1, y2)


def enclosing(points: Sequence[float]) -> tuple[float, float, float, float]:
    """The upright box around corners x y x y ..."""
    return min(points[0::2]), min(points[1::2]), max(points[0::2]), max(points[1::2])


def label_of(name: str, classes: Sequence[str], where: str) -> int:
    """The label of a class name. Raises DataError that starts with `where`."""
    try:
        return classes.index(name)
    except ValueError:
        raise DataError(
            f"{where}: class {name!r} is unknown; the classes are {', '.join(classes)}. "
            "Fix the name or add it to the class list."
        ) from None


def read_text(path: Path) -> str:
    """A text file's content. Raises DataError when it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"annotation file {path} does not exist. Correct the path.") from None
    except UnicodeDecodeError:
        raise DataError(
            f"annotation file {path} is not UTF-8 text. Is it an image or an archive? Give the text file."
        ) from None
    except OSError as error:
        raise DataError(
            f"annotation file {path} cannot be read ({error.strerror}). Correct the path or its rights."
        ) from None


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing: to a temporary file beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Every image file right inside a folder, by its name without suffix. Raises DataError when two share a name."""
    if not folder.is_dir():
        raise DataError(f"folder of images {folder} does not exist. Correct the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            raise DataError(f"images {found[path.stem]} and {path} share one annotation. Rename or remove one of them.")
        found[path.stem] = path
    return found


def first_folder(candidates: Iterable[Path], file_name: str) -> Path | None:
    """The first of the folders that holds the file."""
    return next((folder for folder in candidates if (folder / file_name).is_file()), None)
