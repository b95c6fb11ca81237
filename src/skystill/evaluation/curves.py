"""Figures of what went on in a training: losses and scores over time, bindings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from skystill.evaluation.figures import DASHES, PALETTE, heat, name_cells, panel_grid, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GRID_LIMIT = 9  # panels of training_curves
_LETTERS = 13  # of a legend to an inch
_BINDING_AXES = {"beta": ("calibrated level", "student level")}  # what rows and columns of a named matrix are


def training_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], columns: Sequence[str] = ()) -> Figure:
    """A panel per quantity, a line per run, over the epochs (or steps where the rows have no epoch).

    runs: run -> rows of its metrics.csv; a row may lack a quantity. columns: the quantities to show; without them the
    first nine that the rows hold.
    """
    found = {name: None for rows in runs.values() for row in rows for name in row if name not in ("epoch", "step")}
    shown = [name for name in columns if name in found] if columns else list(found)[:_GRID_LIMIT]
    wide = min(3, max(1, len(shown)))
    with style():
        figure, panels = panel_grid(math.ceil(max(1, len(shown)) / wide), wide, width=3.3, height=2.5)
        for axes, column in zip(panels, shown, strict=False):
            for i, (name, rows) in enumerate(runs.items()):
                points = [(_when(row, k), row[column]) for k, row in enumerate(rows) if column in row]
                if points:
                    x, y = zip(*points, strict=True)
                    marker = "o" if len(points) < 3 else None
                    axes.plot(x, y, DASHES[i // 7 % 3], color=PALETTE[i % 7], label=name, marker=marker)
            axes.set(
                title=column,
                xlabel="epoch" if any("epoch" in row for rows in runs.values() for row in rows) else "step",
            )
            axes.locator_params(axis="x", integer=True)
        for axes in panels[len(shown) :]:
            axes.remove()
        lines = {str(line.get_label()): line for axes in panels[: len(shown)] for line in axes.get_lines()}
        if lines:
            room = int(3.3 * wide * _LETTERS / (max(map(len, lines)) + 6))  # columns of names that go side by side
            beside = max(1, min(4, len(lines), room))
            figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=beside)
    return figure


def step_lines(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], log: bool = False) -> Figure:
    """A panel per quantity, a named line per series over the steps; many points are pale behind their running mean.

    panels: title -> name -> (step, value). A name has one colour in all panels. Values are shares from 0 to 1, or with
    `log` of any size on a logarithmic scale, where those that are not above 0 are left out.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    with style():
        figure, grid = panel_grid(1, max(1, len(panels)), width=4.4, height=2.9)
        for axes in grid[1:]:
            axes.sharex(grid[0])
        for axes, (title, lines) in zip(grid, panels.items(), strict=False):
            for name, points in lines.items():
                shown = np.array([(x, y) for x, y in points if y > 0 or not log], dtype=np.float64)
                if len(shown) == 0:
                    continue
                number = names.index(name)
                how: dict[str, Any] = {"color": PALETTE[number % 7], "linestyle": DASHES[number // 7 % 3]}
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


def binding_matrices(matrices: Mapping[str, ArrayLike], first_level: int = 3) -> Figure:
    """How pyramid levels bind: a heat map with numbers for each named matrix.

    matrices: name -> (rows, columns). Rows are student levels and columns teacher levels, but in "beta" rows are
    calibrated levels and columns the student levels that feed them. first_level: the finest pyramid level, 3 for P3
    (stride 8).
    """
    with style():
        figure, panels = panel_grid(1, max(1, len(matrices)), width=3.6, height=3.2)
        values = {name: np.asarray(matrix, dtype=np.float64) for name, matrix in matrices.items()}
        limit = max([float(np.nanmax(value)) for value in values.values()] or [1.0])
        for axes, (name, value) in zip(panels, values.items(), strict=False):
            heat(axes, value, [[f"{v:.2f}" for v in row] for row in value], limit)
            rows, columns = ([f"P{first_level + i}" for i in range(n)] for n in value.shape)
            name_cells(axes, rows, columns)
            of_rows, of_columns = _BINDING_AXES.get(name, ("student level", "teacher level"))
            axes.set(title=name, xlabel=of_columns, ylabel=of_rows)
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
    with style():
        figure, grid = panel_grid(len(rows), len(columns), width=2.5, height=2.4)
        for axes, place in zip(grid, product(rows, columns), strict=True):
            if place not in values:
                axes.set_axis_off()
                continue
            value = values[place]
            heat(axes, value, [[f"{v:.2f}" for v in line] for line in value], limit)
            name_cells(axes, *([f"P{first_level + i}" for i in range(count)] for count in value.shape))
            axes.set(title=", ".join(place), xlabel=of_columns, ylabel=of_rows)
    return figure


def _when(row: Mapping[str, float], index: int) -> float:
    """Where a row stands on the axis. Epochs count from 0 in metrics.csv, and from 1 in what people read."""
    return row["epoch"] + 1 if "epoch" in row else row.get("step", float(index))
