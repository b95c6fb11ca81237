"""Boxes drawn on images, readable on small tiles too."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skystill.data import palette
from skystill.errors import DataError
from skystill.evaluation.pairs import corners
from skystill.fonts import font
from skystill.structures import Detections, Targets

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_IGNORED = "#A0A0A0"
_SIDE = 512  # the shorter side of a drawn picture is at least this many pixels
_LONGEST = 4096  # the longer side of an enlarged picture is at most this many pixels
_GAP = 12
_HIDES = 0.25  # share of a box that a text may cover

Pixels = Tensor | NDArray[np.uint8]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


def to_picture(image: Pixels) -> Image:
    """A picture of a uint8 image: torch (C, H, W) or numpy (H, W, C) or (H, W).

    One or two bands show the first in grey, more show the first three as red, green and blue. Raises DataError for
    another type or shape.
    """
    from PIL import Image

    pixels = image.detach().cpu().movedim(0, -1).numpy() if isinstance(image, Tensor) else np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or 0 in pixels.shape:
        raise DataError(
            f"cannot draw an image of type {pixels.dtype} and shape {pixels.shape}. "
            "Give uint8: a tensor (C, H, W) or an array (H, W, C)."
        )
    bands = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(bands))


def draw(image: Pixels, boxes: Targets | Detections, classes: Sequence[str]) -> Image:
    """The image with its boxes in the colour of their class, each with the class name and the score.

    image: as `to_picture`; small ones are enlarged by a whole factor. boxes: HBB or OBB in the image's pixels. Ignored
    objects are grey. A text that would hide another text or box is left out, those of lower scores first; each class
    has one all the same.
    """
    picture = to_picture(image)
    scale = _enlargement(picture.size)
    return _draw(_enlarged(picture, scale), boxes, texts_of(boxes, classes), scale)


def side_by_side(image: Pixels, columns: Mapping[str, Targets | Detections], classes: Sequence[str]) -> Image:
    """The same image once per named column, each with other boxes, above a legend of the classes that occur.

    columns: for instance {"truth": targets, "teacher": detections, "distilled": detections}. Detections carry their
    score.
    """
    from PIL import Image, ImageDraw

    picture = to_picture(image)
    scale = _enlargement(picture.size)
    picture = _enlarged(picture, scale)
    line = 34
    width = len(columns) * (picture.width + _GAP) - _GAP
    sheet = Image.new("RGB", (max(width, 1), line + picture.height + line), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (name, boxes) in enumerate(columns.items()):
        left = i * (picture.width + _GAP)
        title = f"{name}  ({len(boxes.counted()) if isinstance(boxes, Targets) else len(boxes)})"
        pen.text((left + 2, 4), title, fill="#222222", font=font(20, title))
        numbers = [""] * len(boxes) if isinstance(boxes, Targets) else [_score(s) for s in boxes.scores.tolist()]
        sheet.paste(_draw(picture, boxes, numbers, scale), (left, line))
    used = sorted({label for boxes in columns.values() for label in boxes.labels.tolist()})
    entries = [(classes[k], palette.colour(k)) for k in used]
    if any(isinstance(boxes, Targets) and bool(boxes.ignore.any()) for boxes in columns.values()):
        entries.append(("ignored", _IGNORED))
    _legend(pen, entries, top=line + picture.height + 6, width=width)
    return sheet


def _enlargement(size: tuple[int, int]) -> int:
    """How many times as large small pictures are drawn; a narrow strip stays below what JPEG can hold."""
    return max(1, min(math.ceil(_SIDE / min(size)), _LONGEST // max(size)))


def picture_data_uri(picture: Image) -> str:
    """The picture as a `data:` address for a web page, as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _draw(picture: Image, boxes: Targets | Detections, texts: Sequence[str], scale: int) -> Image:
    from PIL import ImageDraw

    picture = picture.copy()
    pen = ImageDraw.Draw(picture)
    ignored = boxes.ignore.tolist() if isinstance(boxes, Targets) else [False] * len(boxes)
    order = boxes.scores.argsort(descending=True).tolist() if isinstance(boxes, Detections) else range(len(boxes))
    outlines = (corners(boxes.boxes) * scale).tolist()
    colours = [_IGNORED if skip else palette.colour(k) for k, skip in zip(boxes.labels.tolist(), ignored, strict=True)]
    for width, dark in ((5, True), (3, False)):  # a dark rim keeps light lines visible on light ground
        for points, colour in zip(outlines, colours, strict=True):
            ring = [tuple(point) for point in (*points, points[0], points[1])]
            pen.line(ring, fill="#202020" if dark else colour, width=width, joint="curve")
    write_texts(picture, [texts[i] for i in order], [outlines[i] for i in order], [colours[i] for i in order])
    return picture


def write_texts(
    picture: Image,
    texts: Sequence[str],
    outlines: Sequence[Sequence[Sequence[float]]],
    colours: Sequence[str],
    others: Sequence[Sequence[Sequence[float]]] = (),
) -> None:
    """Writes on the picture, above, below or beside each outlined box, its text on its colour, the first ones first.

    A text that would hide another text or box is left out, but for the first of its colour. outlines: points [x, y] of
    boxes, whose texts may be empty. others: those of more boxes that texts should not hide.
    """
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    hulls = np.array([_hull(points) for points in (*outlines, *others)]).reshape(-1, 4)
    placed: list[Rectangle] = []
    named: set[str] = set()
    for i, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        spots = _spots(pen, text, hulls[i].tolist(), picture.size, placed) if text else []
        rest = np.delete(hulls, i, axis=0) if spots else hulls
        hidden = [_hidden(spot, rest) for spot in spots]
        if spots and (min(hidden) <= _HIDES or colour not in named):
            spot = spots[hidden.index(min(hidden))]
            pen.rectangle(spot, fill=colour)
            pen.text((spot[0] + 2, spot[1]), text, fill="#111111", font=font(14, text))
            placed.append(spot)
            named.add(colour)


def _spots(
    pen: ImageDraw, text: str, box: Rectangle, size: tuple[int, int], placed: Sequence[Rectangle]
) -> list[Rectangle]:
    """Where a text may stand: above, below or beside its box, in the picture and on no other text."""
    _, _, right, bottom = pen.textbbox((0, 0), text, font=font(14, text))
    width, height = right + 4, bottom + 2
    level = min(max(box[0] - 2, 0), max(size[0] - width, 0))
    places = (
        (level, box[1] - height - 3),
        (level, box[3] + 4),
        (box[2] + 4, box[1]),
        (box[0] - width - 4, box[1]),
    )
    spots = [(left, top, left + width, top + height) for left, top in places]
    return [
        spot
        for spot in spots
        if min(spot) >= 0 and spot[2] <= max(size[0], width) and spot[3] <= size[1]
        if not any(_meet(spot, other) for other in placed)
    ]


def _hidden(spot: Rectangle, boxes: NDArray[np.float64]) -> float:
    """The largest share of one of the boxes (N, 4) that a text at `spot` would cover."""
    sides = np.minimum(boxes[:, 2:], spot[2:]) - np.maximum(boxes[:, :2], spot[:2])
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return float((sides.clip(0).prod(axis=1) / whole.clip(1)).max(initial=0.0))


def _legend(pen: ImageDraw, entries: Sequence[tuple[str, str]], top: int, width: int) -> None:
    """Class names beside their colour, in one line, as many as fit."""
    left = 4.0
    for name, colour in entries:
        letters = font(16, name)
        length = pen.textlength(name, font=letters)
        if left + 22 + length > width:
            pen.text((left, top), "…", fill="#222222", font=font(16))
            return
        pen.rectangle((left, top + 3, left + 14, top + 17), fill=colour, outline="#444444")
        pen.text((left + 20, top), name, fill="#222222", font=letters)
        left += 20 + length + 18


def texts_of(boxes: Targets | Detections, classes: Sequence[str]) -> list[str]:
    """What is written beside each box: its class, and the score of a detection."""
    names = [classes[label] for label in boxes.labels.tolist()]
    if isinstance(boxes, Targets):
        return names
    return [f"{name} {_score(score)}" for name, score in zip(names, boxes.scores.tolist(), strict=True)]


def _score(score: float) -> str:
    """As thresholds and the JSON of `predict` write it, so that a box in a picture can be looked up."""
    return f"{score:.2f}"


def _enlarged(picture: Image, scale: int) -> Image:
    from PIL.Image import Resampling

    return picture.resize((picture.width * scale, picture.height * scale), Resampling.BICUBIC)


def _hull(points: Sequence[Sequence[float]]) -> Rectangle:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
