"""Where a data set's files stand in a folder, by format: splits written one after another form one data set.

coco  <split>.json                images/<split>/
dota  labelTxt/<split>/           images/<split>/
yolo  labels/<split>/, data.yaml  images/<split>/
voc   Annotations/                JPEGImages/      ImageSets/Main/<split>.txt
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from skystill.data.annotations import Annotations
from skystill.data.formats import FORMATS
from skystill.data.formats.common import has_images, read_text
from skystill.data.formats.yolo import yaml_with
from skystill.data.images import SUFFIXES
from skystill.errors import ConfigError, DataError
from skystill.files import whole_file, write_text

Placing = Literal["leave", "copy", "link"]


def write_dataset(
    annotations: Annotations, destination: str | Path, format: str, split: str = "train", place: Placing = "leave"
) -> Path:
    """Writes annotations as one split of a data set; returns the path that reads it again.

    place: leave the images where they are, copy them, or link to them. They can be left by COCO alone, whose files
    point to them. Nothing is overwritten: a split that is there already, another image in an image's place, or images
    beside these that a reader would take for empty ones, raise DataError. Raises ConfigError or DataError.
    """
    root, folder = Path(destination), image_folder(Path(destination), format, split)
    check_vacant(root, format, split)
    if format != "coco" and place == "leave":
        pairs = f"{format.upper()} pairs images and labels by their folders"
        raise ConfigError(f"{pairs}: bring the images along with --place_images copy or link.")
    if format == "voc":
        _not_in_other_lists(annotations, root, split)
    listing = yaml_with(root / "data.yaml", split, annotations.classes) if format == "yolo" else ""
    if place != "leave":
        annotations = _placed(annotations, folder, place)
    target = _split_path(root, format, split)
    FORMATS[format].write(annotations, root / "Annotations" if format == "voc" else target)
    if format == "voc":
        write_text(target, "".join(f"{record.image.stem}\n" for record in annotations.records))
    if format == "yolo":
        write_text(root / "data.yaml", listing)
    return target


def check_vacant(root: Path, format: str, split: str, images: bool = False) -> None:
    """Raises DataError where a split is there already. images: or any image in its folder, for those who draw them."""
    folder, target = image_folder(root, format, split), _split_path(root, format, split)
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise DataError(f"{target} is there already. Remove it, or give another destination or --subset.")
    if images and format != "voc" and has_images(folder):  # VOC's splits share one folder
        raise DataError(f"{folder} holds images already. Remove them, or give another destination or --subset.")


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


def _split_path(root: Path, format: str, split: str) -> Path:
    """What says which images a split has, and stands for it."""
    paths = {
        "coco": root / f"{split}.json",
        "dota": root / "labelTxt" / split,
        "yolo": root / "labels" / split,
        "voc": root / "ImageSets" / "Main" / f"{split}.txt",
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
    _check_room(folder, sources, alone=folder.name != "JPEGImages")
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        _bring(source, folder / name, place)
    records = [replace(record, image=folder / record.image.name) for record in annotations.records]
    return replace(annotations, records=records)


def _check_room(folder: Path, sources: Mapping[str, Path], alone: bool) -> None:
    """alone: no image but these may lie in the folder."""
    for path in sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES):
        source = sources.get(path.name)
        if source is None and alone:
            what = "is no image of this split"
        elif source is not None and not (path.exists() and filecmp.cmp(path, source, shallow=False)):
            what = f"is there already and differs from {source}"
        else:
            continue
        raise DataError(f"{path} {what}. Remove it, or give another destination or --subset.")


def _bring(source: Path, target: Path, place: Placing) -> None:
    if target.exists() and target.samefile(source):
        return
    with whole_file(target) as part:
        if place == "copy":
            shutil.copyfile(source, part)
        else:
            part.symlink_to(source.resolve())
