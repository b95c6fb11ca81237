"""The verbs for data: convert, inspect, split, synth, tile. Nothing but calling and printing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from skystill.data.annotations import Annotations, Record
from skystill.data.formats import read_annotations
from skystill.data.layout import Placing, check_vacant, image_folder, write_dataset
from skystill.data.words import counted
from skystill.errors import ConfigError, DataError
from skystill.kinds import BoxKind


def convert(
    source: str,
    destination: str,
    to: str,
    format: str | None = None,
    images: str | None = None,
    classes: list[str] | None = None,
    subset: str = "train",
    place_images: Placing = "leave",
    kind: BoxKind = "hbb",
    fix: bool = False,
) -> None:
    """Rewrite annotations in another format.

    Convert the subsets one after another into the same destination and they form one data set:
    convert train.json out yolo --subset train --place_images copy, then the same with val.

    Args:
        source: Annotation file or folder. A split of a YOLO data set is data.yaml#val; a part of a VOC data set is
            its ImageSets/Main/val.txt.
        destination: Folder to write into.
        to: Format to write: coco, dota, yolo or voc.
        format: Format of the source; guessed when left out.
        images: Folder of the source's images; looked for around the annotations when left out.
        classes: Class names in label order, such as '[person, car]'. DOTA and VOC list none, so give the same for every
            subset.
        subset: Name of the part, for file and folder names: train, val, test.
        place_images: Leave the images where they are (COCO alone can), copy them into the destination, or link to them.
        kind: hbb for upright boxes, obb for oriented ones. Upright boxes are drawn around oriented ones.
        fix: Drop boxes without area, outside their image or with broken coordinates instead of stopping.
    """
    annotations = _read(source, format, images, classes, kind, fix)
    path = write_dataset(annotations, destination, to, subset, place_images)
    _report(annotations, path)


def inspect(
    source: str,
    out: str | None = None,
    format: str | None = None,
    images: str | None = None,
    classes: list[str] | None = None,
    kind: BoxKind = "hbb",
    fix: bool = False,
    pictures: int = 8,
    seed: int = 0,
) -> None:
    """Show what is in a data set: classes, sizes, trouble, and pictures with their boxes drawn.

    Do this before any training: boxes that sit beside their objects, classes with few objects and objects of a few
    pixels explain most disappointing detectors.

    Args:
        source: Annotation file or folder, as for convert.
        out: Folder for sheet.png and summary.json; only tables are printed when left out.
        format: Format of the source; guessed when left out.
        images: Folder of the images; looked for around the annotations when left out.
        classes: Class names in label order, such as '[person, car]'.
        kind: hbb for upright boxes, obb for oriented ones.
        fix: Drop boxes that cannot be instead of stopping at the first.
        pictures: How many pictures the sheet shows.
        seed: Chooses the pictures.
    """
    from skystill.data.inspect import print_tables, summarize, write_json
    from skystill.data.sheet import draw_sheet

    annotations = _read(source, format, images, classes, kind, fix)
    summary = summarize(annotations)
    print_tables(summary)
    if out is not None:
        write_json(summary, Path(out) / "summary.json")
        print(f"wrote {draw_sheet(annotations, summary, Path(out) / 'sheet.png', pictures, seed)}")


def split(
    source: str,
    destination: str,
    fractions: dict[str, float],
    group: str | None = None,
    seed: int = 0,
    to: str = "coco",
    format: str | None = None,
    images: str | None = None,
    classes: list[str] | None = None,
    place_images: Placing = "leave",
    kind: BoxKind = "hbb",
    fix: bool = False,
) -> None:
    """Split a data set into parts with the same mix of classes, keeping frames of one flight together.

    Args:
        source: Annotation file or folder, as for convert.
        destination: Folder to write into.
        fractions: Share of each part, for example '{train: 0.7, val: 0.1, test: 0.2}'.
        group: Regular expression searched in the image's file name; its first group names the flight, for example
            '^(flight[0-9]+)_'. Without it every image stands for itself, and frames of one flight may end up in
            training and test alike, which makes results look better than they are.
        seed: The same seed gives the same parts.
        to: Format to write: coco, dota, yolo or voc.
        format: Format of the source; guessed when left out.
        images: Folder of the source's images; looked for around the annotations when left out.
        classes: Class names in label order, such as '[person, car]'.
        place_images: Leave the images where they are (COCO alone can), copy them into the destination, or link to them.
        kind: hbb for upright boxes, obb for oriented ones.
        fix: Drop boxes that cannot be instead of stopping at the first.
    """
    from skystill.data.split import split as parts_of

    annotations = _read(source, format, images, classes, kind, fix)
    parts = parts_of(annotations, fractions, group, seed)
    for name in parts:
        check_vacant(Path(destination), to, name)
    for name, part in parts.items():
        _report(part, write_dataset(part, destination, to, name, place_images))
    for note in annotations.notes:
        print(f"note: {note}")


def synth(
    destination: str,
    scenes: int = 100,
    size: int = 256,
    seed: int = 0,
    format: str = "coco",
    kind: BoxKind = "hbb",
    subset: str = "train",
    first: int = 0,
) -> None:
    """Draw synthetic aerial scenes with exact truth, to try every step without any download.

    Args:
        destination: Folder to write into.
        scenes: How many scenes, at least 1.
        size: Width and height of a scene in pixels.
        seed: The same seed gives the same scenes.
        format: Format of the annotations: coco, dota, yolo or voc.
        kind: hbb for upright boxes, obb for oriented ones.
        subset: Name of the part: train, val, test.
        first: Number of the first scene. Give each subset numbers of its own, and none repeats another's scenes.
    """
    from skystill.data.synthetic import CLASSES

    if scenes < 1:
        raise ConfigError(f"--scenes is {scenes}. Give at least 1.")
    check_vacant(Path(destination), format, subset, images=True)
    folder = image_folder(Path(destination), format, subset)
    numbers = _tracked(range(first, first + scenes), "drawing")
    records = [_scene(index, seed, size, kind, folder / f"scene_{index:06d}.png") for index in numbers]
    annotations = Annotations(CLASSES, records, kind)
    _report(annotations, write_dataset(annotations, destination, format, subset, "copy"))


def tile(
    source: str,
    destination: str,
    size: int,
    overlap: int = 0,
    to: str = "coco",
    subset: str = "train",
    format: str | None = None,
    images: str | None = None,
    classes: list[str] | None = None,
    kind: BoxKind = "hbb",
    fix: bool = False,
    empty: bool = True,
    bands: int | None = None,
) -> None:
    """Cut large images into tiles, with their truth.

    For images too large to show whole, and for set predictors, which see well only at the size they learned from. An
    object counts on a tile that shows at least 40% of it, is difficult down to 1% and left out below; upright boxes are
    cut at the tile. A tile is called <image>__<left>_<top>.

      skystill data tile val.json tiles 1024 --overlap 200 --subset val

    Args:
        source: Annotation file or folder, as for convert.
        destination: Folder to write into; subsets written one after another form one data set.
        size: Side of a tile in pixels. Smaller images become one tile.
        overlap: Pixels that neighbours share at the least. With the side of the largest object, every one is whole on
            some tile.
        to: Format to write: coco, dota, yolo or voc. YOLO cannot mark difficult objects and leaves them out.
        subset: Name of the part, for file and folder names: train, val, test.
        format: Format of the source; guessed when left out.
        images: Folder of the images; looked for around the annotations when left out.
        classes: Class names in label order, such as '[person, car]'.
        kind: hbb for upright boxes, obb for oriented ones.
        fix: Drop boxes that cannot be instead of stopping at the first.
        empty: false leaves out tiles without an object, as training may; keep them to validate and test.
        bands: How many the detector takes. With 4, a fourth band that the file calls alpha stays, which is how GDAL
            writes near infrared.
    """
    from skystill.data.tile import check_names, windows
    from skystill.data.tile import tile as tiles_of

    windows(size, size, size, overlap)  # refuses what cuts no tiles, before anything is read
    check_vacant(Path(destination), to, subset, images=True)
    annotations = _read(source, format, images, classes, kind, fix)
    check_names(annotations.records)
    folder = image_folder(Path(destination), to, subset)
    records = _tracked(annotations.records, "cutting")
    tiles = list(tiles_of(records, folder, size, overlap, empty, bands))
    cut = Annotations(annotations.classes, tiles, annotations.kind, annotations.notes)
    _report(cut, write_dataset(cut, destination, to, subset, "copy"))


T = TypeVar("T")


def _tracked(items: Sequence[T], doing: str) -> Iterable[T]:
    """The items, with a bar on the terminal while they are worked on."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    # track leaves an empty line where it cannot erase its bar
    return track(items, doing, console=console, transient=True, disable=not console.is_terminal)


def _read(
    source: str, format: str | None, images: str | None, classes: list[str] | None, kind: BoxKind, fix: bool
) -> Annotations:
    """`read_annotations`, refusing what lists no image."""
    annotations = read_annotations(source, format, images, classes, kind, fix)
    if not len(annotations):
        raise DataError(f"{source} lists no images. Give annotations that do.")
    return annotations


def _scene(index: int, seed: int, size: int, kind: BoxKind, path: Path) -> Record:
    from PIL import Image

    from skystill.data.synthetic import render

    scene = render(index, seed=seed, size=size)
    path.parent.mkdir(parents=True, exist_ok=True)  # after render, which refuses what cannot be drawn
    Image.fromarray(scene.image).save(path)
    boxes = (scene.boxes if kind == "hbb" else scene.corners).astype(np.float64)
    flags = np.zeros((2, len(boxes)), dtype=np.bool_)
    height, width = scene.image.shape[:2]
    return Record(path, width, height, boxes, scene.labels, flags[0], flags[1], path.name)


def _report(annotations: Annotations, path: Path) -> None:
    images, objects = counted(len(annotations), "image"), counted(sum(map(len, annotations.records)), "object")
    print(f"wrote {path}: {images}, {objects}, {counted(len(annotations.classes), 'class', 'classes')}")
    for note in annotations.notes:
        print(f"note: {note}")
