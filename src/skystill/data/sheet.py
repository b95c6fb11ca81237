"""A contact sheet: bars of classes and sizes over pictures with their boxes drawn, in one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skystill.data.annotations import Annotations, Record
from skystill.data.images import read_image
from skystill.data.inspect import Summary
from skystill.data.palette import colour
from skystill.data.spread import spread
from skystill.data.words import counted
from skystill.errors import DataError
from skystill.files import whole_file
from skystill.fonts import families

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS, _BARS = 4, 15
_INK, _SOFT = "#222222", "#777777"
_RIM = "#444444"  # keeps a pale bar visible on the white sheet


def chosen(annotations: Annotations, count: int, seed: int = 0) -> list[Record]:
    """Records to show: every class comes up while there is room, then others; images with objects first.

    They lie evenly over the images in order of name, from one that `seed` draws: neighbours are often of one flight.
    """
    named = sorted(annotations.records, key=lambda record: record.image)
    start = int(np.random.default_rng(seed).integers(max(len(named), 1)))
    records = [named[i] for i in spread(len(named), start)]
    picked: list[Record] = []
    for label in range(len(annotations.classes)):
        fresh = (r for r in records if label in r.labels and all(r is not p for p in picked))
        if not any(label in r.labels for r in picked) and (record := next(fresh, None)) is not None:
            picked.append(record)
    rest = [r for r in records if all(r is not p for p in picked)]
    return (picked + sorted(rest, key=lambda r: len(r) == 0))[:count]


def draw_sheet(annotations: Annotations, summary: Summary, path: str | Path, count: int = 8, seed: int = 0) -> Path:
    """Draws the sheet with `count` pictures as a PNG; returns its path. An unreadable image shows its error."""
    from matplotlib import rc_context

    records = chosen(annotations, count, seed)
    with rc_context({"font.family": families()}), whole_file(Path(path)) as part:
        _figure(summary, records).savefig(part, format="png", dpi=100, bbox_inches="tight", pad_inches=0.2)
    return Path(path)


def _figure(summary: Summary, records: Sequence[Record]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(1, -(-len(records) // _COLUMNS))
    figure = Figure(figsize=(4 * _COLUMNS, 4 + 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=(4, 3.6 * rows))  # type: ignore[misc]
    left, right = top.subplots(1, 2)
    top.suptitle(_headline(summary), fontsize=17, color=_INK)
    _bars(left, "Objects by class", summary.per_class, [colour(i) for i in range(len(summary.per_class))])
    _bars(right, "Objects by size (side of a square of the same area, pixels)", summary.per_size, ["#5B6C7D"] * 9)
    axes = np.atleast_1d(bottom.subplots(rows, _COLUMNS)).ravel()
    for axis, record in zip(axes, records, strict=False):
        _picture(axis, record)
    for axis in axes[len(records) :]:
        axis.axis("off")
    return figure


def _headline(summary: Summary) -> str:
    empty = f" ({summary.empty_images} without objects)" if summary.empty_images else ""
    return f"{counted(summary.images, 'image')}{empty}, {counted(summary.objects, 'object')}"


def _bars(axis: Any, title: str, counts: dict[str, int], colors: Sequence[str]) -> None:
    rows = list(zip(counts, counts.values(), colors, strict=False))
    if len(rows) > _BARS:
        title = f"{title} (the {_BARS} most frequent of {len(rows)})"
        rows = sorted(rows, key=lambda row: -row[1])[:_BARS]
    bars = axis.barh([r[0] for r in rows], [r[1] for r in rows], color=[r[2] for r in rows], height=0.7, edgecolor=_RIM)
    axis.bar_label(bars, padding=4, color=_INK)
    axis.set_ylim(max(len(rows), 4) - 0.4, -0.6)  # few classes get no thicker bars
    axis.margins(x=0.12)
    axis.set_title(title, loc="left", color=_INK)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(length=0, labelbottom=False, labelcolor=_INK)


def _picture(axis: Any, record: Record) -> None:
    from matplotlib.collections import PolyCollection

    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(f"{record.image.name[-34:]}   {counted(len(record), 'object')}", fontsize=9, color=_SOFT, loc="left")
    try:
        pixels = _rgb(record.image)
    except DataError as error:
        # A long path has no place to wrap at: it must neither push the pictures away nor run over them.
        inside = {"ha": "center", "va": "center", "fontsize": 8, "clip_on": True, "in_layout": False}
        axis.text(0.5, 0.5, str(error), wrap=True, transform=axis.transAxes, **inside)
        return
    axis.imshow(pixels, interpolation="antialiased", extent=(0, pixels.shape[1], pixels.shape[0], 0))
    for ignored in (False, True):
        rows = np.flatnonzero(record.ignore == ignored)
        polygons = [outline(record.boxes[i]) for i in rows]
        edges = [colour(int(record.labels[i])) for i in rows]
        # A dark line under the coloured one keeps it readable on any ground.
        axis.add_collection(PolyCollection(polygons, facecolors="none", edgecolors="#000000A0", linewidths=2.8))
        lines = PolyCollection(polygons, facecolors="none", edgecolors=edges, linewidths=1.5)
        lines.set_linestyle(":" if ignored else "-")
        axis.add_collection(lines)
    axis.set_xlim(0, pixels.shape[1])
    axis.set_ylim(pixels.shape[0], 0)


def outline(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 2) corners of a box of either kind."""
    return (box if len(box) == 8 else box[[0, 1, 2, 1, 2, 3, 0, 3]]).reshape(4, 2)


def _rgb(path: Path) -> NDArray[Any]:
    """(H, W, 3) to look at: the first three bands, or one as grey; deep images from their 2nd to 98th percentile."""
    image = read_image(path)
    pixels = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    shown = np.moveaxis(pixels.numpy(), 0, -1)
    if shown.dtype == np.uint8:
        return shown
    low, high = np.percentile(shown, (2, 98))
    return np.asarray(((shown - low) / max(high - low, 1e-6)).clip(0, 1))
