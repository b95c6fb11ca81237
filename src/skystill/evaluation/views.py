"""Training views drawn with where a method teaches them, and where teacher and truth disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from skystill.evaluation.draw import texts_of, to_picture, write_texts
from skystill.evaluation.pairs import corners
from skystill.fonts import font
from skystill.structures import Detections, Targets

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_SIDE, _GAP, _LINE = 384, 10, 26  # of a picture, between pictures, of a line of text, in pixels
_TRUTH, _IGNORED, _ALONE, _OVERLOOKED = "#FFFFFF", "#A0A0A0", "#F0E442", "#FF5CC8"
_LEVELS = ("#56B4E9", "#E69F00", "#00C08B", "#E58FC0", "#7FA8FF")  # of cells, fine to coarse
_VEIL = 120  # of 255: how much of a cell's colour lies over the picture
_MEANING = {"R_sem": "taught what is there", "R_loc": "taught how far it reaches"}
SURE, BLIND = 0.5, 0.1  # a sure teacher's score, and the best score of an object's class that the teacher overlooks
Entry = tuple[str, str, bool]  # of the legend: text, colour, and whether it is an area


@dataclass(frozen=True)
class Region:
    """Cells of one image. centre: (P, 2) pixels. side: (P,) pixels, that of its level's cells."""

    centre: Tensor
    side: Tensor


@dataclass(frozen=True)
class View:
    """One training image. pixels: uint8 (C, H, W). alone: what the teacher is sure of and no object fits. blind: (M,)
    bool, objects that count and the teacher overlooks. regions: where a method teaches, by name, the same in all views
    of a sheet; empty for a method without regions."""

    pixels: Tensor
    truth: Targets
    alone: Detections
    blind: Tensor
    regions: Mapping[str, Region]


def draw_views(views: Sequence[View], classes: Sequence[str]) -> Image:
    """A row a view: each region, and where teacher and truth disagree; a legend below. At least one view."""
    from PIL.Image import new
    from PIL.ImageDraw import Draw

    colours = _colours(views)
    names = [*views[0].regions, "teacher and truth disagree"]
    rows = []
    for view in views:
        scale = _SIDE / max(view.pixels.shape[1:])
        regions = [_cells(view, scale, region, colours) for region in view.regions.values()]
        rows.append([*regions, _disagreement(view, scale, classes)])
    width = len(names) * (_SIDE + _GAP) - _GAP
    lines = _wrapped(_entries(views, colours), width)
    sheet = new("RGB", (width, _LINE + sum(row[0].height + _GAP for row in rows) + len(lines) * _LINE), "white")
    pen = Draw(sheet)
    for i, name in enumerate(names):
        text = f"{name}: {_MEANING[name]}" if name in _MEANING else name
        pen.text((i * (_SIDE + _GAP) + 2, 3), text, fill="#222222", font=font(16, text))
    top = _LINE
    for row in rows:
        for i, picture in enumerate(row):
            sheet.paste(picture, (i * (_SIDE + _GAP), top))
        top += row[0].height + _GAP
    _legend(pen, lines, top)
    return sheet


def _colours(views: Sequence[View]) -> dict[float, str]:
    """Side of a cell -> its colour."""
    sides = {side for view in views for region in view.regions.values() for side in region.side.tolist()}
    return {side: _LEVELS[i % len(_LEVELS)] for i, side in enumerate(sorted(sides))}


def _cells(view: View, scale: float, region: Region, colours: Mapping[float, str]) -> Image:
    """The cells of a region, each level in its colour, fine ones on top, and the objects."""
    from PIL import Image, ImageDraw
    from PIL.ImageColor import getrgb

    picture = _scaled(view, scale).convert("RGBA")
    for side, colour in sorted(colours.items(), reverse=True):
        veil = Image.new("RGBA", picture.size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(veil)
        half = side / 2
        for x, y in region.centre[region.side == side].tolist():
            box = [(x - half) * scale, (y - half) * scale, (x + half) * scale - 1, (y + half) * scale - 1]
            pen.rectangle(box, fill=(*getrgb(colour)[:3], _VEIL), outline=(*getrgb(colour)[:3], 255))
        picture = Image.alpha_composite(picture, veil)
    flat = picture.convert("RGB")
    _outline(flat, view.truth.boxes, scale, [_IGNORED if skip else _TRUTH for skip in view.truth.ignore.tolist()])
    return flat


def _disagreement(view: View, scale: float, classes: Sequence[str]) -> Image:
    picture, truth, alone = _scaled(view, scale), view.truth, view.alone
    colours = [_OVERLOOKED if missed else _TRUTH for missed in view.blind.tolist()]
    _outline(picture, truth.boxes[truth.ignore], scale, [_IGNORED] * int(truth.ignore.sum()))
    _outline(picture, truth.counted().boxes, scale, colours)
    yellow = [_ALONE] * len(alone)
    _outline(picture, alone.boxes, scale, yellow)
    texts = texts_of(alone, classes)
    surest = alone.scores.argsort(descending=True)
    found, objects = ((corners(boxes) * scale).tolist() for boxes in (alone.boxes[surest], truth.boxes))
    write_texts(picture, [texts[i] for i in surest.tolist()], found, yellow, objects)
    return picture


def _entries(views: Sequence[View], colours: Mapping[float, str]) -> list[Entry]:
    """What the sheet shows."""
    ignored = any(bool(view.truth.ignore.any()) for view in views)
    return [
        ("object", _TRUTH, False),
        *([("object that does not count", _IGNORED, False)] if ignored else []),
        *((f"cell of {side:g} px", colour, True) for side, colour in colours.items()),
        (f"teacher is sure ({SURE:g} or more), no object fits", _ALONE, False),
        (f"object whose class the teacher scores below {BLIND:g}", _OVERLOOKED, False),
    ]


def _legend(pen: ImageDraw, lines: Sequence[Sequence[Entry]], top: int) -> None:
    for line in lines:
        left = 4
        for text, colour, filled in line:
            shape = (left, top + 5, left + 14, top + 19)
            pen.rectangle(shape, fill=colour if filled else None, outline="#666666" if filled else colour, width=3)
            if not filled:
                pen.rectangle((left - 1, top + 4, left + 15, top + 20), outline="#666666")
            pen.text((left + 22, top + 2), text, fill="#222222", font=font(15, text))
            left += _width(text)
        top += _LINE


def _wrapped(entries: Sequence[Entry], width: int) -> list[list[Entry]]:
    lines: list[list[Entry]] = [[]]
    for entry in entries:
        if lines[-1] and sum(_width(text) for text, *_ in [*lines[-1], entry]) > width:
            lines.append([])
        lines[-1].append(entry)
    return lines


def _width(text: str) -> int:
    return 44 + int(font(15, text).getlength(text))


def _scaled(view: View, scale: float) -> Image:
    from PIL.Image import Resampling

    picture = to_picture(view.pixels)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Resampling.BICUBIC if scale > 1 else Resampling.LANCZOS)


def _outline(picture: Image, boxes: Tensor, scale: float, colours: Sequence[str]) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    rings = [[*points, points[0], points[1]] for points in (corners(boxes) * scale).tolist()]
    for width, dark in ((4, True), (2, False)):
        for ring, colour in zip(rings, colours, strict=True):
            pen.line([tuple(p) for p in ring], fill="#202020" if dark else colour, width=width, joint="curve")
