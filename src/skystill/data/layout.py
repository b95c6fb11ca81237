"""Where a data set's files stand in a folder, by format: splits written one after another form one data set.

coco  <split>.json                images/<split>/
dota  labelTxt/<split>/           images/<split>/
yolo  labels/<split>/, data.yaml  images/<split>/
voc   Annotations/                JPEGImages/      ImageSets/Main/<split>.txt
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

from skystill.data.annotations import Annotations
from skystill.data.formats import FORMATS
from skystill.data.formats.common import read_text
from skystill.data.formats.yolo import write_yaml
from skystill.errors import ConfigError, DataError
from skystill.files import whole_file, write_text

Placing = Literal["leave", "copy", "link"]


def write_dataset(
    annotations: Annotations, destination: str | Path, format: str, split: str = "train", place: Placing = "leave"
) -> Path:
    """Writes annotations as one split of a data set; returns the path that reads it again.

    place: leave the images where they are, copy them, or link to them. They can be left by COCO alone, whose files
    point to them. Raises ConfigError or DataError.
    """
    root, folder = Path(destination), image_folder(Path(destination), format, split)
    if format != "coco" and place == "leave":
        pairs = f"{format.upper()} pairs images and labels by their folders"
        raise ConfigError(f"{pairs}: bring the images along with --place_images copy or link.")
    if format == "voc":
        _not_in_other_lists(annotations, root, split)
    if place != "leave":
        annotations = _placed(annotations, folder, place)
    target = _annotation_path(root, format, split)
    FORMATS[format].write(annotations, target)
    if format == "voc":
        names = "".join(f"{record.image.stem}\n" for record in annotations.records)
        target = root / "ImageSets" / "Main" / f"{split}.txt"
        write_text(target, names)
    if format == "yolo":
        write_yaml(root, split, annotations.classes)
    return target


def image_folder(root: Path, format: str, split: str) -> Path:
    """The folder of a split's images. Raises ConfigError for an unknown format."""
    if format not in FORMATS:
        raise ConfigError(f"format {format!r} is unknown. Choose one of {', '.join(FORMATS)}.")
    return root / "JPEGImages" if format == "voc" else root / "images" / split


def _not_in_other_lists(annotations: Annotations, root: Path, split: str) -> None:
    """VOC keeps all splits in one folder, where an image of another split with the same name would be overwritten."""
    names = {record.image.stem for record in annotations.records}
    for path in sorted((root / "ImageSets" / "Main").glob("*.txt")):
        shared = names.intersection(read_text(path).split()) if path.stem != split else ()
        if shared:
            raise DataError(f"image {min(shared)} is in {path} already. Rename it or choose another destination.")


def _annotation_path(root: Path, format: str, split: str) -> Path:
    paths = {
        "coco": root / f"{split}.json",
        "dota": root / "labelTxt" / split,
        "yolo": root / "labels" / split,
        "voc": root / "Annotations",
    }
    return paths[format]


def _placed(annotations: Annotations, folder: Path, place: Placing) -> Annotations:
    """The annotations of the images copied or linked into `folder`."""
    sources: dict[str, Path] = {}
    for record in annotations.records:
        other = sources.setdefault(record.image.name, record.image)
        if other != record.image:
            raise DataError(f"{other} and {record.image} would share one place. Give the images different names.")
        if not record.image.is_file():
            raise DataError(f"image {record.image} does not exist. Correct the path or the folder of images.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        _bring(source, folder / name, place)
    records = [replace(record, image=folder / record.image.name) for record in annotations.records]
    return replace(annotations, records=records)


def _bring(source: Path, target: Path, place: Placing) -> None:
    if target.exists() and target.samefile(source):
        return
    with whole_file(target) as part:
        if place == "copy":
            shutil.copyfile(source, part)
        else:
            part.symlink_to(source.resolve())
