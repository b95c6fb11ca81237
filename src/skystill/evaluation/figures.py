"""One quiet style for all figures, readable for colour-blind eyes, and what several of them are made of.

A figure is matplotlib's own, without pyplot's global state; `figure_to_svg` and `svg_data_uri` make files or web pages
of it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from skystill.fonts import families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (jfly.uni-koeln.de/color), told apart with every common colour vision; yellow, too pale for
# lines on white, is left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")
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


def figure_to_svg(figure: Figure) -> str:
    """The figure as SVG text; letters are drawn as shapes, so it needs no font."""
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def svg_data_uri(figure: Figure) -> str:
    """The figure as an SVG `data:` address for a web page."""
    return "data:image/svg+xml;base64," + base64.b64encode(figure_to_svg(figure).encode()).decode()


def style() -> Any:
    """A context in which figures are made and written in this style, and the user's own stays."""
    from matplotlib import rc_context

    style: Any = _STYLE | {"font.family": families()}  # the stubs list every key there is
    return rc_context(style)


def panel_grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panels, each width x height inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.flat)


def heat(axes: Axes, values: NDArray[Any], texts: Sequence[Sequence[str]], limit: float) -> None:
    """Cells shaded from white (0) to blue (limit), with a text in each."""
    axes.imshow(values, cmap="Blues", vmin=0.0, vmax=limit, aspect="equal")
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            dark = values[row, column] > 0.5 * limit
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "#222222")


def name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Names beside and below a matrix, without grid and rim."""
    long = max((len(name) for name in columns), default=0) > 4
    axes.set_xticks(range(len(columns)), columns, rotation=40 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def legend_beside(axes: Axes, title: str) -> None:
    """A legend at the right of the axes, where there is anything to tell."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(title=title or None, loc="upper left", bbox_to_anchor=(1.01, 1.0), alignment="left")
