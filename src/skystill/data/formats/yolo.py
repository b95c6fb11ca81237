"""YOLO: text files, one an image, with class numbers and coordinates as fractions of the image (docs.ultralytics.com).

A line is class cx cy w h (HBB) or class x1 y1 x2 y2 x3 y3 x4 y4 (OBB). A data.yaml names the classes and the folders of
images; the labels lie in the same place with the last `images` of the path replaced by `labels`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from skystill.data.annotations import Annotations, Record
from skystill.data.formats.common import (
    IMAGES_MEND,
    Objects,
    Vocabulary,
    corners,
    has_images,
    images_by_stem,
    plain,
    read_text,
    shaped,
    unique_stems,
)
from skystill.data.images import SUFFIXES, image_size
from skystill.errors import DataError
from skystill.files import write_text
from skystill.kinds import BoxKind

SPLITS = ("train", "val", "test")
_NORMAL = 2.0  # a coordinate beyond this is a pixel, not a fraction of the image that reaches over the rim
_MEND = "Correct the line or choose another format."


def read(
    path: str | Path,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    kind: BoxKind = "hbb",
) -> Annotations:
    """Reads one split of a YOLO data set.

    path: data.yaml#val for the split val of a data.yaml (plain data.yaml where it has one split), a folder of images or
    a folder of labels. images: the folder of images for a folder of labels that is not found by the images/labels rule.
    classes: names in label order; by default those of data.yaml or classes.txt, looked for in the folder and above.
    kind: "hbb" takes the upright box around oriented or polygon lines. Images without a file stay in without objects.
    Raises DataError with the file and line.
    """
    file, _, split = str(path).partition("#")
    place = Path(file)
    if place.suffix.lower() in (".yaml", ".yml"):
        content = _load_yaml(place)
        names, pairs = _names(content, place), _listed(content, place, split)
    else:
        names, pairs = _names_around(place, classes), _in_folder(place, images)
    words = Vocabulary(classes if classes is not None else names)
    records = [_record(image, label, names, words, kind) for image, label in pairs]
    return words.annotations(records, kind)


def write(annotations: Annotations, destination: str | Path) -> None:
    """Writes one file an image, and the names into classes.txt, into the folder `destination`.

    YOLO has no flags, so crowds and difficult objects are left out: written, they would turn into plain objects.
    """
    folder = Path(destination)
    for stem, record in unique_stems(annotations, "YOLO file").items():
        if not (record.width and record.height):
            raise DataError(f"{record.source}: the image's size is unknown, which YOLO needs. Add width and height.")
        write_text(folder / f"{stem}.txt", "".join(_lines(record)))
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in annotations.classes))


def yaml_with(path: Path, split: str, classes: Sequence[str]) -> str:
    """What data.yaml says with this split beside those already in it. Raises DataError where its classes differ."""
    content: dict[str, Any] = {}
    if path.is_file():
        content = _load_yaml(path)
        if _names(content, path) != list(classes):
            raise DataError(
                f"{path} has other classes than this data. Choose another destination or give its classes, "
                "--classes '[NAME, ...]'."
            )
    splits = {key: content[key] for key in SPLITS if key in content} | {split: f"images/{split}"}
    content = {**splits, "names": dict(enumerate(classes))}  # without `path`, splits start from the file's folder
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def label_path(image: Path) -> Path:
    """Where the labels of an image lie: the last folder `images` becomes `labels`, or beside the image."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            return Path(*parts[:i], "labels", *parts[i + 1 :]).with_suffix(".txt")
    return image.with_suffix(".txt")


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML ({' '.join(str(error).split())[:100]}). Correct the file.") from None
    if not isinstance(content, dict) or "names" not in content:
        raise DataError(f"{path} is not a YOLO data.yaml: it has no names. Add the class names or choose another file.")
    return content


def _names(content: dict[str, Any], path: Path) -> list[str]:
    names = content["names"]
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{path}: names must be numbered 0, 1, 2 and so on. Correct the numbers.")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or len(set(map(str, names))) != len(names):
        raise DataError(f"{path}: names must be a list of different class names. Correct it.")
    return [str(name) for name in names]


def _names_around(place: Path, classes: Sequence[str] | None) -> list[str]:
    """The names that class numbers stand for, from the nearest data.yaml or classes.txt; else the given classes."""
    for folder in (place, *place.absolute().parents[:3]):
        for name in ("data.yaml", "data.yml", "dataset.yaml"):
            if (folder / name).is_file():
                return _names(_load_yaml(folder / name), folder / name)
        if (folder / "classes.txt").is_file():
            return [line.strip() for line in read_text(folder / "classes.txt").splitlines() if line.strip()]
    if classes is None:
        raise DataError(
            f"no data.yaml or classes.txt in or above {place}. Add one, or give the classes in "
            "order: --classes '[NAME, ...]' (in recipes data.classes)."
        )
    return list(classes)


def _listed(content: dict[str, Any], path: Path, split: str) -> Iterator[tuple[Path, Path]]:
    """(image, label file) of the split that a data.yaml lists."""
    splits = [key for key in SPLITS if content.get(key)]
    if not split and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        have = ", ".join(splits) or "none"
        example = f"{path}#{(splits or ['train'])[0]}"
        raise DataError(f"{path}: name one split behind '#', as in {example}; its splits are: {have}.")
    base = path.parent / str(content.get("path") or ".")
    base = base if base.is_dir() else path.parent  # ultralytics takes `path` from its own folder of data sets
    entries = content[split] if isinstance(content[split], list) else [content[split]]
    for entry in entries:
        for image in _images_of(base, str(entry), path):
            yield image, label_path(image)


def _images_of(base: Path, entry: str, path: Path) -> list[Path]:
    """The images of one entry: a folder, searched with those in it, or a text file with an image a line."""
    tried = (base / entry, base / entry.removeprefix("../"))
    place = next((p for p in tried if p.exists()), None)
    if place is None:
        raise DataError(f"{path}: {tried[0]} does not exist. Correct the path in the file.")
    if place.is_dir():
        return sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
    return [base / line.strip() for line in read_text(place).splitlines() if line.strip()]


def _in_folder(place: Path, images: str | Path | None) -> Iterator[tuple[Path, Path]]:
    """(image, label file) for a folder of images or a folder of labels."""
    if not place.is_dir():
        raise DataError(f"{place} is no folder. Give data.yaml, or the folder of YOLO images or labels.")
    if images is None and has_images(place):
        for image in images_by_stem([place]).values():
            beside = image.with_suffix(".txt")
            yield image, beside if beside.is_file() else label_path(image)
        return
    folder = Path(images) if images is not None else _swap(place, "labels", "images")
    if not has_images(folder):
        raise DataError(f"no folder of images found for the labels in {place}. {IMAGES_MEND}")
    found = images_by_stem([folder])
    for label in sorted(place.glob("*.txt")):
        if label.stem not in found and label.name != "classes.txt":
            raise DataError(f"{label} has no image of the same name. Add the image or remove the file.")
    for stem, image in found.items():
        yield image, place / f"{stem}.txt"


def _swap(path: Path, old: str, new: str) -> Path:
    parts = list(path.parts)
    last = max((i for i, part in enumerate(parts) if part == old), default=None)
    return path if last is None else Path(*parts[:last], new, *parts[last + 1 :])


def _record(image: Path, label: Path, names: Sequence[str], words: Vocabulary, kind: BoxKind) -> Record:
    height, width = image_size(image)
    objects = Objects(kind)
    lines = read_text(label).splitlines() if label.is_file() else []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{label} line {number}"
            index, points = _parse(line, where, kind)
            if not 0 <= index < len(names):
                raise DataError(f"{where}: class {index} is unknown; there are {len(names)}, from 0. Fix the number.")
            scaled = [value * (height if i % 2 else width) for i, value in enumerate(points)]
            objects.add(shaped(scaled, kind), words.label(names[index], where), f"line {number}")
    return objects.record(image, width, height, str(label if label.is_file() else image))


def _parse(line: str, where: str, kind: BoxKind) -> tuple[int, Sequence[float]]:
    """Class number and corners, as fractions, of one line."""
    fields = line.split()
    try:
        index, numbers = int(fields[0]), [float(field) for field in fields[1:]]
    except ValueError:
        raise DataError(
            f"{where}: class and coordinates expected, it looks like {_looks_like(line)}. {_MEND}"
        ) from None
    if any(abs(number) > _NORMAL for number in numbers):
        raise DataError(f"{where}: coordinates must be fractions of the image, they look like pixels. {_MEND}")
    if kind == "hbb" and len(numbers) == 4:
        cx, cy, w, h = numbers
        return index, corners(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, "hbb")
    if len(numbers) == 8 or (kind == "hbb" and len(numbers) >= 6 and len(numbers) % 2 == 0):
        return index, numbers
    expected = "5 columns (box) or 9 (corners)" if kind == "hbb" else "9 columns (corners) for kind obb"
    scored = "; 6 columns look like predictions with a score" if len(fields) == 6 else ""
    raise DataError(f"{where}: {expected} expected, not {len(fields)}{scored}. {_MEND}")


def _looks_like(line: str) -> str:
    if line.lstrip().startswith("<"):
        return "XML, perhaps VOC"
    if line.lstrip().startswith(("{", "[")):
        return "JSON, perhaps COCO"
    return "DOTA" if len(line.split()) in (9, 10) else repr(line.strip()[:40])


def _lines(record: Record) -> Iterator[str]:
    size = (record.width, record.height)
    for box, label, ignore in zip(record.boxes, record.labels, record.ignore, strict=True):
        if ignore:
            continue
        if len(box) == 8:
            values = [value / size[i % 2] for i, value in enumerate(box)]
        else:
            middle, extent = (box[:2] + box[2:]) / 2 / size, (box[2:] - box[:2]) / size
            values = [*middle, *extent]
        yield f"{label} {' '.join(map(plain, values))}\n"
