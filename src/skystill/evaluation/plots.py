"""Figures of scores: curves, confusion, methods side by side, gains and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from skystill.evaluation.coco import RECALLS, CocoScores
from skystill.evaluation.figures import DASHES, PALETTE, heat, legend_beside, name_cells, panel_grid, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pr_curves(scores: CocoScores) -> Figure:
    """Precision over recall at IoU .5: a line per class that has objects, and their mean in black."""
    curves = {name: np.array(curve) for name, curve in scores.curves.items() if not np.isnan(curve).all()}
    with style():
        figure, (axes,) = panel_grid(1, 1, width=5.6, height=4.2)
        for i, (name, curve) in enumerate(curves.items()):
            label = f"{name}  {scores.per_class[name]['ap50']:.1f}" if name in scores.per_class else name
            axes.plot(RECALLS, curve, DASHES[i // 6 % 3], color=PALETTE[i % 6], label=label)
        if len(curves) > 1:
            mean = np.mean(list(curves.values()), axis=0)
            axes.plot(RECALLS, mean, color=PALETTE[6], linewidth=2.4, label=f"mean  {scores.ap50:.1f}")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision and recall, IoU .5")
        legend_beside(axes, "AP50")
    return figure


def confusion(matrix: ArrayLike, classes: Sequence[str]) -> Figure:
    """A confusion matrix (K+1, K+1) of counts, shaded by the share of its row (background last)."""
    counts = np.asarray(matrix)
    names = [*classes, "background"]
    rows = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(rows, 1)
    with style():
        side = max(3.2, 0.62 * len(names) + 1.4)
        figure, (axes,) = panel_grid(1, 1, width=side + 0.6, height=side)
        heat(axes, share, [[str(c) for c in row] for row in counts.tolist()], limit=1.0)
        name_cells(axes, names, names)
        axes.set(xlabel="detected as", ylabel="truth", title="Confusion (counts; shade: share of the row)")
    return figure


def compare_bars(
    groups: Mapping[str, Mapping[str, Sequence[float]]], unit: str = "score", title: str = "Comparison"
) -> Figure:
    """Bars side by side: a cluster per quantity, a bar per method (the mean), a dot per seed.

    groups: method -> quantity -> one value a seed; nan values are left out, and so are quantities without any value.
    """
    values_of = [(name, values) for rows in groups.values() for name, values in rows.items()]
    quantities = list(dict.fromkeys(name for name, values in values_of if not all(map(math.isnan, values))))
    width = 0.8 / max(1, len(groups))
    with style():
        figure, (axes,) = panel_grid(1, 1, width=max(5.0, 0.34 * len(quantities) * len(groups) + 2.4), height=3.6)
        for i, (method, rows) in enumerate(groups.items()):
            seeds = [[v for v in rows.get(name, ()) if not math.isnan(v)] for name in quantities]
            places = np.arange(len(quantities)) + (i - (len(groups) - 1) / 2) * width
            means = [float(np.mean(values)) if values else math.nan for values in seeds]
            axes.bar(places, means, width * 0.92, color=PALETTE[i % 7], label=method)
            for place, mean, values in zip(places, means, seeds, strict=True):
                if values:
                    spot, above = (place, max(values)), (0, 4)
                    axes.annotate(f"{mean:.1f}", spot, above, textcoords="offset points", ha="center", fontsize=7)
                if len(values) > 1:
                    axes.plot([place] * len(values), values, "o", color="white", mec="#222222", ms=3.5, mew=0.8)
        axes.set_xticks(range(len(quantities)), quantities)
        several = any(len(values) > 1 for rows in groups.values() for values in rows.values())
        axes.set(ylabel=unit, title=f"{title} (bar: mean, dot: seed)" if several else title)
        axes.grid(visible=False, axis="x")
        legend_beside(axes, "")
    return figure


def gain_bars(gains: Mapping[str, tuple[float, float | None, float | None, Sequence[float]]], title: str) -> Figure:
    """Horizontal bars around zero, the largest on top, each with its interval and a dot per seed.

    gains: method -> (mean, low, high, one value a seed); low and high are None where there is no interval.
    """
    ranked = sorted(gains, key=lambda name: gains[name][0])
    with style():
        figure, (axes,) = panel_grid(1, 1, width=6.2, height=0.34 * len(ranked) + 1.1)
        for place, name in enumerate(ranked):
            mean, low, high, seeds = gains[name]
            axes.barh(place, mean, 0.62, color=PALETTE[0] if mean >= 0 else PALETTE[1], alpha=0.75)
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color="#222222", linewidth=1.2)
            axes.plot(list(seeds), [place] * len(seeds), "o", color="white", mec="#222222", ms=4, mew=0.8)
        axes.axvline(0, color="#222222", linewidth=0.8)
        axes.set_yticks(range(len(ranked)), [f"{name}  {gains[name][0]:+.2f}" for name in ranked])
        axes.set(xlabel=title)
        axes.grid(visible=False, axis="y")
    return figure


def gain_panels(gains: Mapping[str, Mapping[str, float]]) -> Figure:
    """A panel per quantity with a horizontal bar per method around zero; one order and one scale for all.

    gains: quantity -> method -> gain, methods from the bottom up; nan has no bar, and a quantity of nothing else no
    panel.
    """
    shown = {name: row for name, row in gains.items() if not all(math.isnan(value) for value in row.values())}
    methods = list(next(iter(shown.values()), {}))
    wide = min(4, max(1, len(shown)))
    known = [0.0, *(value for row in shown.values() for value in row.values() if not math.isnan(value))]
    room = 0.3 * (max(known) - min(known)) or 1.0  # for the figure at a bar's end
    span = (min(known) - (room if min(known) < 0 else 0), max(known) + room)
    with style():
        rows = math.ceil(max(1, len(shown)) / wide)
        figure, panels = panel_grid(rows, wide, width=9.6 / wide, height=0.24 * len(methods) + 0.9)
        for n, (axes, (quantity, row)) in enumerate(zip(panels, shown.items(), strict=False)):
            for place, value in enumerate(row[method] for method in methods):
                if math.isnan(value):
                    axes.annotate("-", (0, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
                    continue
                axes.barh(place, value, 0.66, color=PALETTE[1] if value < 0 else PALETTE[0], alpha=0.75)
                side, beside = ("right", -3) if value < 0 else ("left", 3)
                axes.annotate(
                    f"{value:+.1f}",
                    (value, place),
                    (beside, 0),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=7,
                )
            axes.axvline(0, color="#222222", linewidth=0.8)
            axes.set_yticks(range(len(methods)), methods if n % wide == 0 else [""] * len(methods))
            axes.set(title=quantity, xlim=span, ylim=(-0.6, len(methods) - 0.4))
            axes.grid(visible=False, axis="y")
        for axes in panels[len(shown) :]:
            axes.remove()
    return figure


def cost_scatter(points: Mapping[str, tuple[float, float]], cost: str, score: str) -> Figure:
    """A named dot per method: score over cost. points: method -> (cost, score)."""
    with style():
        figure, (axes,) = panel_grid(1, 1, width=6.2, height=3.6)
        colours = {name: PALETTE[i % 7] for i, name in enumerate(points)}
        for name, (x, y) in points.items():
            axes.plot(x, y, "o", color=colours[name], ms=6)
        axes.margins(x=0.15, y=0.15)
        axes.set(xlabel=cost, ylabel=score, xlim=(0, None), ylim=(max(0.0, axes.get_ylim()[0]), None))
        _name_points(axes, points, colours)
    return figure


def _name_points(axes: Axes, points: Mapping[str, tuple[float, float]], colours: Mapping[str, str]) -> None:
    """Names right of their points, in their colours, from the lowest up, each above what it would cover."""
    shown = {name: place for name, place in points.items() if np.isfinite(place).all()}
    spots = {name: axes.transData.transform(place) * 72 / axes.figure.dpi for name, place in shown.items()}
    taken = [(x - 4, x + 4, y - 4) for x, y in spots.values()]  # left and right end and foot, in 1/72 inch
    for name, place in sorted(shown.items(), key=lambda item: item[1][1]):
        x, y = spots[name]
        top, start, end = y + 3, x + 5, x + 5 + 5 * len(name)
        for left, right, other in sorted(taken, key=lambda spot: spot[2]):
            if left < end and start < right and abs(other - top) < 9:
                top = other + 9
        taken.append((start, end, top))
        spot = (6, top - y)
        axes.annotate(name, place, xytext=spot, textcoords="offset points", fontsize=8, color=colours[name])
