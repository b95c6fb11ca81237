"""What is in a data set: counts, sizes and a sheet of pictures with their boxes, to look at before any training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from skystill.boxes.obb import corners_to_obb
from skystill.data.annotations import Annotations, Record
from skystill.data.darkness import dark
from skystill.data.images import image_size
from skystill.data.words import counted
from skystill.errors import DataError
from skystill.files import write_text

if TYPE_CHECKING:
    from rich.console import Console

# Side of a square of the box's area, in pixels: COCO's small ends at 32 and its medium at 96; from the air most objects
# are small, so small is cut further as in AI-TOD (Wang et al., ICPR 2020): very tiny, tiny, small.
EDGES = (0, 8, 16, 32, 96, 1e9)
SIZES = ("very tiny <8", "tiny 8-16", "small 16-32", "medium 32-96", "large >96")
_SHOWN = 5  # sizes of images
_PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of a data set.

    Sizes are sides in pixels of a square of the box's area. Ignored objects are counted apart, not among the others.
    """

    kind: str
    images: int
    empty_images: int
    objects: int
    ignored: int
    per_class: dict[str, int]
    images_per_class: dict[str, int]
    per_size: dict[str, int]
    size_percentiles: dict[str, float]
    objects_per_image_percentiles: dict[str, float]
    image_sizes: dict[str, int]
    notes: list[str]


def summarize(annotations: Annotations) -> Summary:
    """Counts everything, from the annotations alone. Errors: see `check_images`."""
    records, k = annotations.records, len(annotations.classes)
    labels = [record.labels[~record.ignore] for record in records]
    every = _joined(labels).astype(np.int64)
    present = _joined([np.unique(row) for row in labels]).astype(np.int64)
    sizes = _joined([side(record)[~record.ignore] for record in records])
    shapes = [f"{record.width} x {record.height}" for record in records]
    return Summary(
        kind=annotations.kind,
        images=len(records),
        empty_images=sum(len(row) == 0 for row in labels),
        objects=len(every),
        ignored=sum(int(record.ignore.sum()) for record in records),
        per_class=_by_name(annotations.classes, np.bincount(every, minlength=k)),
        images_per_class=_by_name(annotations.classes, np.bincount(present, minlength=k)),
        per_size=_by_name(SIZES, np.histogram(sizes, EDGES)[0]),
        size_percentiles=_percentiles(sizes),
        objects_per_image_percentiles=_percentiles(np.array([len(row) for row in labels], dtype=np.float64)),
        image_sizes={shape: shapes.count(shape) for shape in sorted(set(shapes), key=lambda s: -shapes.count(s))},
        notes=[*annotations.notes, *check_images(annotations)],
    )


def side(record: Record) -> NDArray[np.float64]:
    """(M,) side in pixels of a square with each object's area."""
    boxes = torch.from_numpy(record.boxes)
    size = boxes[:, 2:] - boxes[:, :2] if boxes.shape[1] == 4 else corners_to_obb(boxes)[:, 2:4]
    return np.asarray(size.clamp(min=0).prod(1).sqrt().numpy())


def check_images(annotations: Annotations) -> list[str]:
    """One line for each kind of trouble with image files: missing or broken ones, sizes that differ from the file,
    deep ones that are read as nearly black. Raises DataError where no image at all can be used."""
    broken, other = [], []
    for record in annotations.records:
        try:
            height, width = image_size(record.image)
        except DataError as error:
            broken.append(str(error))
            continue
        if (record.width, record.height) not in ((0, 0), (width, height)):
            other.append(f"{record.source} says {record.width} x {record.height}, the file has {width} x {height}")
    if broken and len(broken) == len(annotations.records):
        whole = f"none of the {len(broken)} images can be used; the first: " if len(broken) > 1 else ""
        raise DataError(f"{whole}{broken[0]} The folder of images is given with --images FOLDER.")
    lines = [f"{len(broken)} image(s) cannot be used; the first: {broken[0]}"] if broken else []
    lines += [f"{len(other)} image(s) have another size than stated; the first: {other[0]}"] if other else []
    note = dark([record.image for record in annotations.records])
    return [*lines, note] if note else lines


def write_json(summary: Summary, path: str | Path) -> None:
    """Writes the numbers as JSON."""
    write_text(Path(path), json.dumps(asdict(summary), indent=2, ensure_ascii=False) + "\n")


def print_tables(summary: Summary) -> None:
    """Prints the numbers as tables; a line takes the place of those about objects where there are none."""
    from rich.console import Console

    console = Console()
    images, objects = counted(summary.images, "image"), counted(summary.objects, "object")
    head = f"{images} ({summary.empty_images} without objects), {objects}, {summary.ignored} ignored, {summary.kind}"
    console.print(head, highlight=False, soft_wrap=True)
    if sides := _sides(summary.image_sizes):
        console.print(f"image sizes: {sides}", highlight=False, soft_wrap=True)
    if summary.objects:
        _print_objects(summary, console)
    else:
        names = f"; the classes are {', '.join(summary.per_class)}" if summary.per_class else ""
        console.print(f"no objects to count or measure{names}", highlight=False, markup=False, soft_wrap=True)
    for note in summary.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _sides(sizes: dict[str, int]) -> str:
    """The most frequent sizes of images in words; nothing where the format says none."""
    known = [f"{size} px" + f" ({count})" * (len(sizes) > 1) for size, count in sizes.items() if size != "0 x 0"]
    return ", ".join(known[:_SHOWN]) + f" and {len(known) - _SHOWN} more" * (len(known) > _SHOWN)


def _print_objects(summary: Summary, console: Console) -> None:
    """Tables of classes and sizes, and the percentiles."""
    from rich.table import Table

    classes = Table("class", title="Classes")
    for column in ("objects", "share", "images"):
        classes.add_column(column, justify="right")
    for name, count in summary.per_class.items():
        share = f"{100 * count / summary.objects:.1f} %"
        classes.add_row(name, str(count), share, str(summary.images_per_class[name]))
    sizes = Table("size in pixels", title="Sizes")
    for column in ("objects", "share"):
        sizes.add_column(column, justify="right")
    for name, count in summary.per_size.items():
        sizes.add_row(name, str(count), f"{100 * count / summary.objects:.1f} %")
    console.print(classes, sizes)
    for title, values in (
        ("box side", summary.size_percentiles),
        ("objects per image", summary.objects_per_image_percentiles),
    ):
        console.print(
            f"{title}: " + ", ".join(f"{k} {v:g}" for k, v in values.items()), highlight=False, soft_wrap=True
        )


def _joined(rows: list[NDArray[np.float64]] | list[NDArray[np.int64]]) -> NDArray[np.float64]:
    return np.concatenate(rows).astype(np.float64) if rows else np.zeros(0)


def _by_name(names: tuple[str, ...], counts: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.percentile(values, _PERCENTILES)
    return {f"p{p}": round(float(v), 2) for p, v in zip(_PERCENTILES, found, strict=True)}
