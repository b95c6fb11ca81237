"""A file of detections: COCO results, or the detections.json of `skystill predict`.

COCO results are a list of {image_id or file_name, category_id or category, bbox [x, y, width, height], score}
(https://cocodataset.org/#format-results). detections.json holds such a list under "detections", and oriented ones also
have "corners", four points x y.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from skystill.boxes.obb import corners_to_obb
from skystill.data.formats.common import read_text
from skystill.errors import DataError
from skystill.kinds import BoxKind
from skystill.structures import Detections

_Row = tuple[list[float], float, int]  # box as 4 or 8 corner coordinates, score, label


@dataclass(frozen=True)
class Vocabulary:
    """What the data set calls its images and classes.

    images: files, in the data set's order. others: files of its other splits, of which a file may speak in vain. ids,
    categories: COCO's ids, to the place of an image and to a class name; empty for other formats. pass_over: detections
    of classes that are not here are passed over instead of refused.
    """

    images: Sequence[Path]
    classes: Sequence[str]
    kind: BoxKind = "hbb"
    others: Sequence[Path] = ()
    ids: Mapping[Any, int] = field(default_factory=dict)
    categories: Mapping[Any, str] = field(default_factory=dict)
    pass_over: bool = False


def read_predictions(path: str | Path, words: Vocabulary) -> list[Detections]:
    """What the file says was found in each of `words.images`, in pixels of the image file, best first.

    An image is known by the end of its path, by its COCO id, or by its name without suffix. Raises DataError, in one
    line, for a file that is none of these, images and classes that the data does not have, and boxes or scores that
    cannot be.
    """
    path = Path(path)
    rows = _rows(path)
    finder, labels = _Finder(words), {name: label for label, name in enumerate(words.classes)}
    found: dict[int, list[_Row]] = defaultdict(list)
    strange_images: dict[str, None] = {}
    strange_classes: dict[str, None] = {}
    for number, row in enumerate(rows):
        where = f"{path} detection {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: not an object with bbox and score but {row!r:.40}. {_FORM}")
        image, name = finder.find(row, where), _category(row, words, where)
        box, score = _box(row, words.kind, where), _score(row, where)
        if image is None:
            strange_images[str(row.get("file_name", row.get("image_id")))] = None
        elif name not in labels and not words.pass_over:
            strange_classes[name] = None
        elif image >= 0 and name in labels:
            found[image].append((box, score, labels[name]))
    _refuse(path, strange_images, strange_classes, words)
    if not found:
        raise DataError(f"{path}: tells of no image to train on. Give the detections in the training images.")
    return [_detections(found.get(index, []), words.kind) for index in range(len(words.images))]


_FORM = 'COCO results are a list of {"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}.'


def _rows(path: Path) -> list[Any]:
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} line {error.lineno}: no JSON ({error.msg}). {_FORM}") from None
    if isinstance(content, dict) and isinstance(content.get("detections"), list):
        content = content["detections"]
    if isinstance(content, dict) and "annotations" in content:
        raise DataError(f"{path}: COCO truth, not results. {_FORM}")
    if not isinstance(content, list):
        raise DataError(f"{path}: not COCO results. {_FORM}")
    if not content:
        raise DataError(f"{path}: holds no detection. {_FORM}")
    return content


class _Finder:
    """Finds the image that a detection speaks of."""

    def __init__(self, words: Vocabulary) -> None:
        self.ids = words.ids
        self.named = _by_name(words.images)
        self.others = _by_name(words.others)
        self.stems: dict[str, list[int]] = defaultdict(list)
        for place, image in enumerate(words.images):
            for name in {image.stem, image.name}:
                self.stems[name].append(place)
        self._met: dict[Any, int | None] = {}

    def find(self, row: dict[str, Any], where: str) -> int | None:
        """The image's place, -1 for one of another split, None for one that the data does not have."""
        key = row.get("file_name", row.get("image_id"))
        if not isinstance(key, str | int):
            raise DataError(f"{where}: has neither file_name nor image_id. {_FORM}")
        if key not in self._met:
            self._met[key] = self._by_path(key, where) if "file_name" in row else self._by_id(key, where)
        return self._met[key]

    def _by_path(self, name: str | int, where: str) -> int | None:
        tail = PurePosixPath(str(name).replace("\\", "/")).parts
        fitting = _ending(self.named, tail)
        if not fitting:
            return -1 if _ending(self.others, tail) else None
        return _only(fitting, name, where)

    def _by_id(self, key: str | int, where: str) -> int | None:
        if key in self.ids:
            return self.ids[key]
        fitting = self.stems.get(str(key), [])
        return _only(fitting, key, where) if fitting else None


def _by_name(images: Iterable[Path]) -> dict[str, list[tuple[int, tuple[str, ...]]]]:
    """Place and parts of the whole path of every image, by its name."""
    found: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    for place, image in enumerate(images):
        found[image.name].append((place, image.absolute().parts))
    return found


def _ending(images: dict[str, list[tuple[int, tuple[str, ...]]]], tail: tuple[str, ...]) -> list[int]:
    """Places of the images whose path ends so."""
    return [place for place, parts in images.get(tail[-1] if tail else "", []) if parts[-len(tail) :] == tail]


def _only(fitting: list[int], name: object, where: str) -> int:
    if len(fitting) > 1:
        raise DataError(f"{where}: {len(fitting)} images are called {name}. Give file_name with the folders it is in.")
    return fitting[0]


def _category(row: dict[str, Any], words: Vocabulary, where: str) -> str:
    if "category" in row:
        return str(row["category"])
    if "category_id" not in row:
        raise DataError(f"{where}: has neither category nor category_id. {_FORM}")
    if not words.categories:
        raise DataError(f"{where}: category_id needs truth in COCO's form, which lists ids. Give category, the name.")
    key = row["category_id"]
    return words.categories.get(key, f"id {key}") if isinstance(key, str | int) else f"id {key}"


def _box(row: dict[str, Any], kind: BoxKind, where: str) -> list[float]:
    """(x1, y1, x2, y2), or four corners."""
    if kind == "obb":
        mend = "data.kind obb needs corners, [x1, y1, ..., x4, y4]: predict with an oriented detector, or set kind hbb"
        corners = _numbers(row.get("corners"), 8, f"{where}: {mend}")
        if _shoelace(corners) <= 0:
            raise DataError(f"{where}: corners {corners} enclose no area. Remove this detection.")
        return corners
    x, y, w, h = _numbers(row.get("bbox"), 4, f"{where}: bbox must be 4 numbers, [x, y, width, height]")
    if w <= 0 or h <= 0:
        raise DataError(f"{where}: bbox [x, y, width, height] {[x, y, w, h]} has no area. Remove this detection.")
    return [x, y, x + w, y + h]


def _numbers(values: Any, count: int, what: str) -> list[float]:
    fits = isinstance(values, list) and len(values) == count and all(_is_number(v) for v in values)
    if not fits:
        raise DataError(f"{what}; not {values!r:.60}.")
    return [float(v) for v in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shoelace(corners: Sequence[float]) -> float:
    xs, ys = corners[0::2], corners[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(4))) / 2


def _score(row: dict[str, Any], where: str) -> float:
    score = row.get("score")
    if not _is_number(score) or not 0 <= score <= 1:  # type: ignore[operator]
        raise DataError(f"{where}: score is {score}. Scores are 0 to 1; write them so.")
    return float(score)  # type: ignore[arg-type]


def _refuse(path: Path, images: Iterable[str], classes: Iterable[str], words: Vocabulary) -> None:
    if images := list(images):
        raise DataError(
            f"{path}: tells of {len(images)} image(s) that the data does not have, such as {images[0]!r}. Correct the "
            "names, or remove these detections."
        )
    if classes := list(classes):
        raise DataError(
            f"{path}: class(es) {', '.join(classes)} are unknown; the data has {', '.join(words.classes)}. Map "
            "them by teacher.classes, rename them, or remove these detections."
        )


def _detections(rows: list[_Row], kind: BoxKind) -> Detections:
    rows = sorted(rows, key=lambda row: -row[1])
    corners = torch.tensor([box for box, _, _ in rows], dtype=torch.float64)
    corners = corners.reshape(-1, 8 if kind == "obb" else 4)
    boxes = corners_to_obb(corners) if kind == "obb" and len(rows) else corners[:, : 5 if kind == "obb" else 4]
    scores = torch.tensor([score for _, score, _ in rows], dtype=torch.float32)
    return Detections(boxes.float(), scores, torch.tensor([label for _, _, label in rows], dtype=torch.int64))
