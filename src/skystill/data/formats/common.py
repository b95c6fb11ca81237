"""What the formats share: building records, finding images and classes, writing without leaving halves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from skystill.data.annotations import Annotations, Record
from skystill.data.images import SUFFIXES
from skystill.errors import DataError, did_you_mean
from skystill.kinds import BoxKind

IMAGES_MEND = "Give it with --images FOLDER (in recipes data.images_train, _val or _test)."
COLUMNS: dict[BoxKind, int] = {"hbb": 4, "obb": 8}


class Objects:
    """Collects one image's objects row by row."""

    def __init__(self, kind: BoxKind) -> None:
        self.columns = COLUMNS[kind]
        self.boxes: list[Sequence[float]] = []
        self.labels: list[int] = []
        self.crowd: list[bool] = []
        self.difficult: list[bool] = []
        self.names: list[str] = []

    def add(self, box: Sequence[float], label: int, name: str, crowd: bool = False, difficult: bool = False) -> None:
        """Adds an object: `box` as 4 or 8 corner coordinates in pixels. name: what the file calls it, "line 3" say."""
        self.boxes.append(box)
        self.labels.append(label)
        self.crowd.append(crowd)
        self.difficult.append(difficult)
        self.names.append(name)

    def record(self, image: Path, width: int, height: int, source: str) -> Record:
        """The image's record, well shaped without any object too."""
        boxes = np.asarray(self.boxes, dtype=np.float64).reshape(-1, self.columns)
        labels = np.asarray(self.labels, dtype=np.int64)
        flags = (np.asarray(self.crowd, dtype=np.bool_), np.asarray(self.difficult, dtype=np.bool_))
        return Record(image, width, height, boxes, labels, *flags, source, self.names)


class Vocabulary:
    """Class names and their labels: the given ones, or, where none are given, those that the files use, by name."""

    def __init__(self, classes: Sequence[str] | None) -> None:
        self.names = dict[str, int]()
        self.open = classes is None
        for name in classes or ():
            self.names[name] = len(self.names)

    def label(self, name: str, where: str) -> int:
        """The label of a class name. Raises DataError that starts with `where` when the names are given."""
        if name not in self.names:
            if not self.open:
                known = ", ".join(self.names)
                mend = "Fix the name, add it to the class list (none may be left out), or remove its objects."
                close = did_you_mean(name, self.names)
                raise DataError(f"{where}: class {name!r} is unknown; the classes are {known}.{close} {mend}")
            self.names[name] = len(self.names)
        return self.names[name]

    def annotations(self, records: list[Record], kind: BoxKind, notes: Iterable[str] = ()) -> Annotations:
        """The finished annotations. Names that were found, not given, are put in order of name, with a note."""
        classes = tuple(self.names)
        if self.open:
            classes = tuple(sorted(self.names))
            order = np.array([classes.index(name) for name in self.names], dtype=np.int64)
            for record in records:
                record.labels = order[record.labels] if len(record) else record.labels
            notes = [*notes, *_order_note(classes)]
        return Annotations(classes, records, kind, list(notes))


def _order_note(classes: Sequence[str]) -> list[str]:
    if len(classes) < 2:
        return []
    names = ", ".join(classes)
    mend = f"--classes '[{names}]' sets their order (in recipes data.classes)"
    return [f"classes, sorted by name: {names}; {mend}"]


def shaped(points: Sequence[float], kind: BoxKind) -> Sequence[float]:
    """Four corners as they are for OBB, or the upright box around any corners for HBB."""
    return points if kind == "obb" else enclosing(points)


def corners(x1: float, y1: float, x2: float, y2: float, kind: BoxKind) -> tuple[float, ...]:
    """An upright box as 2 corners for HBB or as 4 in drawing order for OBB."""
    return (x1, y1, x2, y2) if kind == "hbb" else (x1, y1, x2, y1, x2, y2, x1, y2)


def enclosing(points: Sequence[float]) -> tuple[float, float, float, float]:
    """The upright box around corners x y x y ..."""
    return min(points[0::2]), min(points[1::2]), max(points[0::2]), max(points[1::2])


def plain(value: float) -> str:
    """A number for a text file: short, and exact to 12 digits."""
    return format(float(value), ".12g")


def read_text(path: Path) -> str:
    """A text file's content. Raises DataError when it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Correct the path.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8 text but perhaps an image or archive. Give the annotation file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Correct the path.") from None


def images_by_stem(folders: Iterable[Path]) -> dict[str, Path]:
    """Every image file right inside the folders, by its name without suffix. Raises DataError when two share a name."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"folder of images {folder} does not exist. Correct the path.")
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
            if path.stem in found:
                raise DataError(f"{found[path.stem]} and {path} share one annotation. Rename or remove one of them.")
            found[path.stem] = path
    return found


def has_images(folder: Path) -> bool:
    """Whether an image file lies right inside the folder."""
    return folder.is_dir() and any(p.suffix.lower() in SUFFIXES for p in folder.iterdir())


def folders_with_text(folder: Path) -> list[str]:
    """Names of the folders right inside that hold .txt files."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and next(p.glob("*.txt"), None))


def unique_stems(annotations: Annotations, what: str) -> dict[str, Record]:
    """Records by image name, for formats with one file an image. Raises DataError when two images share a name."""
    found: dict[str, Record] = {}
    for record in annotations.records:
        stem = record.image.stem
        if stem in found:
            both = f"{found[stem].image} and {record.image}"
            raise DataError(f"{both} would share one {what}. Give the images different names.")
        found[stem] = record
    return found
