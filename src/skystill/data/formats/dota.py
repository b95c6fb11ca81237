"""DOTA: a folder of text files, one an image (https://captain-whu.github.io/DOTA/dataset.html).

A line is x1 y1 x2 y2 x3 y3 x4 y4 class difficult, in pixels, the corners in drawing order. Up to two header lines
(imagesource:..., gsd:...) may stand first. The difficult flag may be left out; any value but 0 sets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skystill.data.annotations import Annotations, Record
from skystill.data.formats.common import (
    IMAGES_MEND,
    Objects,
    Vocabulary,
    corners,
    folders_with_text,
    has_images,
    images_by_stem,
    plain,
    read_text,
    shaped,
    unique_stems,
)
from skystill.data.images import image_size
from skystill.errors import DataError
from skystill.files import write_text
from skystill.kinds import BoxKind

LABEL_FOLDERS = ("labelTxt", "labels_dota", "labelTxt-v1.0", "labelTxt-v1.5", "labelTxt-v2.0")


def read(
    path: str | Path,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    kind: BoxKind = "hbb",
) -> Annotations:
    """Reads a folder of DOTA files, or a data set's folder that holds labelTxt/, or one file.

    images: the folder of images; by default it is looked for beside the labels. Images without a file stay in without
    objects. classes: names in label order; by default those that occur, sorted. kind: "hbb" takes the upright box
    around the corners. Raises DataError with the file and line.
    """
    path = Path(path)
    folder = next((path / name for name in LABEL_FOLDERS if (path / name).is_dir()), path)
    labels = sorted(folder.glob("*.txt")) if folder.is_dir() else [folder]
    if not labels:
        inside = [str(folder / name) for name in folders_with_text(folder)]
        raise DataError(f"{folder} holds no .txt file. Give {' or '.join(inside[:3]) or 'the folder of DOTA labels'}.")
    found = images_by_stem([Path(images) if images is not None else _image_folder(folder)])
    words, records = Vocabulary(classes), []
    for label in labels:
        if label.stem not in found:
            raise DataError(f"{label} has no image of the same name. Add the image or remove the file.")
        objects = _objects(label, words, kind)
        image = found.pop(label.stem)
        height, width = image_size(image)
        records.append(objects.record(image, width, height, str(label)))
    if not folder.is_dir() or not found:
        return words.annotations(records, kind)
    for image in found.values():
        height, width = image_size(image)
        records.append(Objects(kind).record(image, width, height, str(image)))
    records.sort(key=lambda record: record.image)
    return words.annotations(records, kind, [f"{len(found)} image(s) have no label file and count as empty"])


def write(annotations: Annotations, destination: str | Path) -> None:
    """Writes one file an image into the folder `destination`. DOTA has no crowds: they become difficult."""
    for stem, record in unique_stems(annotations, "DOTA file").items():
        write_text(Path(destination) / f"{stem}.txt", "".join(_lines(record, annotations.classes)))


def parse(line: str) -> tuple[tuple[float, ...], str, bool] | None:
    """Corners, class name and difficult flag of one line, or None when it is no DOTA line."""
    words = line.split()
    try:
        points = tuple(float(word) for word in words[:8])
    except ValueError:
        return None
    tail = words[8:]
    if len(points) < 8 or not tail:
        return None
    flagged = len(tail) > 1 and tail[-1].isdigit()
    name = " ".join(tail[:-1] if flagged else tail)
    if name.replace(".", "").isdigit():  # nine numbers: oriented YOLO
        return None
    return points, name, flagged and tail[-1] != "0"


def _image_folder(folder: Path) -> Path:
    base = folder if folder.is_dir() else folder.parent
    guesses = (base.parent / "images", base.parent.parent / "images" / base.name, base, base.parent)
    found = next((guess for guess in guesses if has_images(guess)), None)
    if found is None:
        raise DataError(f"no folder of images found around {base}. {IMAGES_MEND}")
    return found


def _objects(path: Path, words: Vocabulary, kind: BoxKind) -> Objects:
    objects = Objects(kind)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or (number <= 2 and line.lower().startswith(("imagesource", "gsd"))):
            continue
        row = parse(line)
        if row is None:
            expected = "x1 y1 x2 y2 x3 y3 x4 y4 class difficult expected"
            mend = "Correct the line or choose another format."
            raise DataError(f"{path} line {number}: {expected}, it looks like {_looks_like(line)}. {mend}")
        points, name, difficult = row
        label = words.label(name, f"{path} line {number}")
        objects.add(shaped(points, kind), label, f"line {number}", difficult=difficult)
    return objects


def _looks_like(line: str) -> str:
    if line.lstrip().startswith("<"):
        return "XML, perhaps VOC"
    if line.lstrip().startswith(("{", "[")):
        return "JSON, perhaps COCO"
    if len(line.split()) in (5, 9) and line.split()[0].isdigit():
        return "YOLO"
    return f"{line.strip()[:40]!r}"


def _lines(record: Record, classes: Sequence[str]) -> list[str]:
    lines = []
    for box, label, ignore in zip(record.boxes, record.labels, record.ignore, strict=True):
        points = box if len(box) == 8 else corners(box[0], box[1], box[2], box[3], "obb")
        lines.append(f"{' '.join(map(plain, points))} {classes[label]} {int(ignore)}\n")
    return lines
