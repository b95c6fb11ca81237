"""Figures of runs and scores, in one quiet style that stays readable for colour-blind eyes.

Each function returns a matplotlib Figure of its own, without pyplot's global state; `figure_to_svg` and
`png_data_uri` make files or web pages of it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skystill.evaluation.coco import RECALLS, CocoScores
from skystill.fonts import families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (jfly.uni-koeln.de/color), told apart with every common colour vision; yellow, too pale for
# lines on white, is left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":")
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "skystill",  # the same figure gives the same file
}
_GRID_LIMIT = 9  # panels of training_curves
_BINDING_AXES = {"beta": ("calibrated level", "student level")}  # what rows and columns of a named matrix are


def pr_curves(scores: CocoScores) -> Figure:
    """Precision over recall at IoU .5: a line per class that has objects, and their mean in black."""
    curves = {name: np.array(curve) for name, curve in scores.curves.items() if not np.isnan(curve).all()}
    with _style():
        figure, (axes,) = _panels(1, 1, width=5.6, height=4.2)
        for i, (name, curve) in enumerate(curves.items()):
            label = f"{name}  {scores.per_class[name]['ap50']:.1f}" if name in scores.per_class else name
            axes.plot(RECALLS, curve, _DASHES[i // 6 % 3], color=PALETTE[i % 6], label=label)
        if len(curves) > 1:
            mean = np.mean(list(curves.values()), axis=0)
            axes.plot(RECALLS, mean, color=PALETTE[6], linewidth=2.4, label=f"mean  {scores.ap50:.1f}")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision and recall, IoU .5")
        _legend_beside(axes, "AP50")
    return figure


def confusion(matrix: ArrayLike, classes: Sequence[str]) -> Figure:
    """A confusion matrix (K+1, K+1) of counts, shaded by the share of its row (background last)."""
    counts = np.asarray(matrix)
    names = [*classes, "background"]
    rows = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(rows, 1)
    with _style():
        side = max(3.2, 0.62 * len(names) + 1.4)
        figure, (axes,) = _panels(1, 1, width=side + 0.6, height=side)
        _heat(axes, share, [[str(c) for c in row] for row in counts.tolist()], limit=1.0)
        _name_cells(axes, names, names)
        axes.set(xlabel="detected as", ylabel="truth", title="Confusion (counts; shade: share of the row)")
    return figure


def training_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], columns: Sequence[str] = ()) -> Figure:
    """A panel per quantity, a line per run, over the epochs (or steps where the rows have no epoch).

    runs: run -> rows of its metrics.csv; a row may lack a quantity. columns: the quantities to show; without them the
    first nine that the rows hold.
    """
    found = {name: None for rows in runs.values() for row in rows for name in row if name not in ("epoch", "step")}
    shown = [name for name in columns if name in found] if columns else list(found)[:_GRID_LIMIT]
    wide = min(3, max(1, len(shown)))
    with _style():
        figure, panels = _panels(math.ceil(max(1, len(shown)) / wide), wide, width=3.3, height=2.5)
        for axes, column in zip(panels, shown, strict=False):
            for i, (name, rows) in enumerate(runs.items()):
                points = [(_when(row, k), row[column]) for k, row in enumerate(rows) if column in row]
                if points:
                    x, y = zip(*points, strict=True)
                    marker = "o" if len(points) < 3 else None
                    axes.plot(x, y, _DASHES[i // 7 % 3], color=PALETTE[i % 7], label=name, marker=marker)
            axes.set(
                title=column,
                xlabel="epoch" if any("epoch" in row for rows in runs.values() for row in rows) else "step",
            )
        for axes in panels[len(shown) :]:
            axes.remove()
        lines = {str(line.get_label()): line for axes in panels[: len(shown)] for line in axes.get_lines()}
        if lines:
            figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=min(4, len(lines)))
    return figure


def binding_matrices(matrices: Mapping[str, ArrayLike], first_level: int = 3) -> Figure:
    """How pyramid levels bind: a heat map with numbers for each named matrix.

    matrices: name -> (rows, columns). Rows are student levels and columns teacher levels, but in "beta" rows are
    calibrated levels and columns the student levels that feed them. first_level: the finest pyramid level, 3 for P3
    (stride 8).
    """
    with _style():
        figure, panels = _panels(1, max(1, len(matrices)), width=3.6, height=3.2)
        values = {name: np.asarray(matrix, dtype=np.float64) for name, matrix in matrices.items()}
        limit = max([float(np.nanmax(value)) for value in values.values()] or [1.0])
        for axes, (name, value) in zip(panels, values.items(), strict=False):
            _heat(axes, value, [[f"{v:.2f}" for v in row] for row in value], limit)
            rows, columns = ([f"P{first_level + i}" for i in range(n)] for n in value.shape)
            _name_cells(axes, rows, columns)
            of_rows, of_columns = _BINDING_AXES.get(name, ("student level", "teacher level"))
            axes.set(title=name, xlabel=of_columns, ylabel=of_rows)
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
    with _style():
        figure, (axes,) = _panels(1, 1, width=max(5.0, 0.34 * len(quantities) * len(groups) + 2.4), height=3.6)
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
        axes.set(ylabel=unit, title=f"{title} (bar: mean, dot: seed)")
        axes.grid(visible=False, axis="x")
        _legend_beside(axes, "")
    return figure


def gain_bars(gains: Mapping[str, tuple[float, float | None, float | None, Sequence[float]]], title: str) -> Figure:
    """Horizontal bars around zero, the largest on top, each with its interval and a dot per seed.

    gains: method -> (mean, low, high, one value a seed); low and high are None where there is no interval.
    """
    ranked = sorted(gains, key=lambda name: gains[name][0])
    with _style():
        figure, (axes,) = _panels(1, 1, width=6.2, height=0.34 * len(ranked) + 1.1)
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
    """A panel per quantity with a horizontal bar per method around zero; one order, a scale a panel.

    gains: quantity -> method -> gain, methods from the bottom up; nan has no bar.
    """
    methods = list(next(iter(gains.values()), {}))
    wide = min(4, max(1, len(gains)))
    with _style():
        rows = math.ceil(max(1, len(gains)) / wide)
        figure, panels = _panels(rows, wide, width=9.6 / wide, height=0.24 * len(methods) + 0.9)
        for n, (axes, (quantity, row)) in enumerate(zip(panels, gains.items(), strict=False)):
            values = [row[method] for method in methods]
            least, most = (f([0.0, *(v for v in values if not math.isnan(v))]) * 1.1 for f in (min, max))
            colours = [PALETTE[1] if v < 0 else PALETTE[0] for v in values]
            axes.barh(range(len(methods)), [0 if math.isnan(v) else v for v in values], 0.66, color=colours, alpha=0.75)
            for place, value in enumerate(values):
                text = "-" if math.isnan(value) else f"{value:+.1f}"
                axes.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)
            axes.axvline(0, color="#222222", linewidth=0.8)
            axes.set_yticks(range(len(methods)), methods if n % wide == 0 else [""] * len(methods))
            axes.set(title=quantity, xlim=(least, most if most > least else 1.0))
            axes.grid(visible=False, axis="y")
        for axes in panels[len(gains) :]:
            axes.remove()
    return figure


def cost_scatter(points: Mapping[str, tuple[float, float]], cost: str, score: str) -> Figure:
    """A named dot per method: score over cost. points: method -> (cost, score)."""
    with _style():
        figure, (axes,) = _panels(1, 1, width=6.2, height=3.6)
        for i, (x, y) in enumerate(points.values()):
            axes.plot(x, y, "o", color=PALETTE[i % 7], ms=6)
        axes.margins(x=0.15, y=0.15)
        axes.set(xlabel=cost, ylabel=score, xlim=(0, None), ylim=(max(0.0, axes.get_ylim()[0]), None))
        _name_points(axes, points)
    return figure


def _name_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Names right of their points, from the lowest up, each above those that it would cover."""
    taken: list[tuple[float, float, float]] = []  # left and right end of names and their height, in 1/72 inch
    for name, place in sorted(points.items(), key=lambda item: item[1][1]):
        if not np.isfinite(place).all():
            continue
        x, y = axes.transData.transform(place) * 72 / axes.figure.dpi
        top, end = y + 3, x + 5 * len(name)
        for left, right, other in sorted(taken, key=lambda spot: spot[2]):
            if left < end and x < right and abs(other - top) < 9:
                top = other + 9
        taken.append((x, end, top))
        axes.annotate(name, place, xytext=(6, top - y), textcoords="offset points", fontsize=8)


def step_lines(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], log: bool = False) -> Figure:
    """A panel per quantity, a named line per series over the steps; many points are pale behind their running mean.

    panels: title -> name -> (step, value). A name has one colour in all panels. Values are shares from 0 to 1, or with
    `log` of any size on a logarithmic scale, where those that are not above 0 are left out.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    with _style():
        figure, grid = _panels(1, max(1, len(panels)), width=4.4, height=2.9)
        for axes in grid[1:]:
            axes.sharex(grid[0])
        for axes, (title, lines) in zip(grid, panels.items(), strict=False):
            for name, points in lines.items():
                shown = np.array([(x, y) for x, y in points if y > 0 or not log], dtype=np.float64)
                if len(shown) == 0:
                    continue
                number = names.index(name)
                how: dict[str, Any] = {"color": PALETTE[number % 7], "linestyle": _DASHES[number // 7 % 3]}
                window = max(1, len(shown) // 15)
                smooth = np.convolve(shown[:, 1], np.ones(window) / window, mode="valid")
                if window > 1:
                    axes.plot(*shown.T, **how, linewidth=0.8, alpha=0.25)
                middle = shown[(window - 1) // 2 : (window - 1) // 2 + len(smooth), 0]
                axes.plot(middle, smooth, **how, label=name, marker="o" if len(shown) < 6 else None, markersize=4)
            axes.set(title=title, xlabel="step")
            axes.locator_params(axis="x", integer=True)
            if not log:
                axes.set_ylim(0, 1.02)
            elif axes.has_data():
                axes.set_yscale("log")
        handles = {str(line.get_label()): line for axes in grid for line in axes.get_lines()}
        shown_names = [name for name in names if name in handles]
        if shown_names:
            figure.legend([handles[n] for n in shown_names], shown_names, loc="outside right upper")
    return figure


def matrix_grid(
    name: str,
    rows: Sequence[str],
    columns: Sequence[str],
    matrices: Mapping[tuple[str, str], ArrayLike],
    first_level: int = 3,
) -> Figure:
    """One binding under several conditions: a grid of heat maps, all on one scale.

    name: of the binding, whose axes are as in `binding_matrices`. rows, columns: their names, at least one each.
    matrices: (row, column) -> matrix; what is lacking stays empty. first_level: as in `binding_matrices`.
    """
    of_rows, of_columns = _BINDING_AXES.get(name.rpartition("_")[2], ("student level", "teacher level"))
    values = {place: np.asarray(matrix, dtype=np.float64) for place, matrix in matrices.items()}
    limit = max([float(np.nanmax(value)) for value in values.values()] or [1.0])
    with _style():
        figure, grid = _panels(len(rows), len(columns), width=2.5, height=2.4)
        for axes, place in zip(grid, product(rows, columns), strict=True):
            if place not in values:
                axes.set_axis_off()
                continue
            value = values[place]
            _heat(axes, value, [[f"{v:.2f}" for v in line] for line in value], limit)
            _name_cells(axes, *([f"P{first_level + i}" for i in range(count)] for count in value.shape))
            axes.set(title=", ".join(place), xlabel=of_columns, ylabel=of_rows)
    return figure


def figure_to_svg(figure: Figure) -> str:
    """The figure as SVG text; letters are drawn as shapes, so it needs no font."""
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def svg_data_uri(figure: Figure) -> str:
    """The figure as an SVG `data:` address for a web page."""
    return "data:image/svg+xml;base64," + base64.b64encode(figure_to_svg(figure).encode()).decode()


def png_data_uri(figure: Figure, dpi: int = 150) -> str:
    """The figure as a PNG `data:` address for a web page."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _style() -> Any:
    from matplotlib import rc_context

    style: Any = _STYLE | {"font.family": families()}  # the stubs list every key there is
    return rc_context(style)


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panels, each width x height inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.flat)


def _heat(axes: Axes, values: NDArray[Any], texts: Sequence[Sequence[str]], limit: float) -> None:
    """Cells shaded from white (0) to blue (limit), with a text in each."""
    axes.imshow(values, cmap="Blues", vmin=0.0, vmax=limit, aspect="equal")
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            dark = values[row, column] > 0.5 * limit
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "#222222")


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    long = max((len(name) for name in columns), default=0) > 4
    axes.set_xticks(range(len(columns)), columns, rotation=40 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend_beside(axes: Axes, title: str) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(title=title or None, loc="upper left", bbox_to_anchor=(1.01, 1.0), alignment="left")


def _when(row: Mapping[str, float], index: int) -> float:
    """Where a row stands on the axis. Epochs count from 0 in metrics.csv, and from 1 in what people read."""
    return row["epoch"] + 1 if "epoch" in row else row.get("step", float(index))
