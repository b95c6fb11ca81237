"""Cuts large images and their truth into tiles, as DOTA's development kit does before training.

For images too large to show whole, and for detectors that see well at one size alone (`Detector.free_size`), which are
scored on tiles of the size that they learn from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from skystill.boxes.obb import corners_to_obb
from skystill.data.annotations import Record
from skystill.data.images import read_pixels, write_pixels
from skystill.data.transforms import MIN_TRACE, MIN_VISIBLE, visible_share
from skystill.errors import ConfigError, DataError

Window = tuple[int, int, int, int]  # top, left, height, width in pixels


def windows(height: int, width: int, size: int, overlap: int = 0) -> list[Window]:
    """Squares of `size` pixels that cover an image, row by row; neighbours share `overlap` pixels or more.

    The last of a row and of a column is moved in, so that all lie inside; an image smaller than `size` is one itself.
    Errors: ConfigError for an overlap that leaves no step.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ConfigError(f"size {size} and overlap {overlap} cut no tiles. Give a size above 0, an overlap below it.")
    rows, columns = _starts(height, size, overlap), _starts(width, size, overlap)
    return [(top, left, min(size, height), min(size, width)) for top in rows for left in columns]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    last = max(length - size, 0)
    return [*range(0, last, size - overlap), last]


def check_names(records: Iterable[Record]) -> None:
    """Raises DataError for images whose tiles would share names; ask before any is written."""
    sources: dict[str, Path] = {}
    for record in records:
        if (other := sources.setdefault(record.image.stem, record.image)) != record.image:
            raise DataError(f"tiles of {other} and {record.image} would share names. Give the images different ones.")


def tile(
    records: Iterable[Record],
    folder: Path,
    size: int,
    overlap: int = 0,
    empty: bool = True,
    bands: int | None = None,
) -> Iterator[Record]:
    """The tiles of images, written to `folder` as <image>__<left>_<top>, with what each shows of the truth.

    As in a training crop, an object counts with at least 40% of its area inside, is difficult down to 1% and forgotten
    below; upright boxes are cut at the tile, oriented ones stay whole. Values of pixels stay as they are: 8 bits of
    one or three bands become PNG, all else TIFF. empty: False leaves out tiles that show no object that counts.
    bands: see `read_image`.
    Errors: DataError for an image that is not to be read, or of other size than its record says. Names: `check_names`.
    """
    for record in records:
        pixels = read_pixels(record.image, bands)
        rows, columns = pixels.shape[-2:]
        record.check_size(width=columns, height=rows)
        for top, left, height, width in windows(rows, columns, size, overlap):
            shown = _shown(record, top, left, height, width)
            if empty or not shown.ignore.all():
                path = folder / f"{record.image.stem}__{left}_{top}"
                shown.image = write_pixels(path, pixels[:, top : top + height, left : left + width])
                yield shown


def _shown(record: Record, top: int, left: int, height: int, width: int) -> Record:
    """What a window shows of a record."""
    boxes: NDArray[np.float64] = record.boxes - np.tile([left, top], record.boxes.shape[1] // 2)
    upright = boxes.shape[1] == 4
    turned = torch.from_numpy(boxes)
    share = visible_share(turned if upright else corners_to_obb(turned), height, width).numpy()
    kept = np.flatnonzero(share >= MIN_TRACE)
    if upright:
        boxes = np.clip(boxes, 0, [width, height, width, height])
    difficult = record.difficult | (share < MIN_VISIBLE)
    return replace(record, width=width, height=height, boxes=boxes, difficult=difficult).take(kept)
