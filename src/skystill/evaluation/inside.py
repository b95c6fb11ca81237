"""The report's section "Inside the distillation": what runs with trainer.inspect_every saw while they trained."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skystill.evaluation.curves import matrix_grid, step_lines
from skystill.evaluation.figures import svg_data_uri
from skystill.evaluation.report import Section, TableData
from skystill.evaluation.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = ("small", "medium", "large", "none")
PARTS = ("neck", "head")
Points = list[tuple[float, float]]
Matrix = list[list[float]]
TEXT = (
    "Gradients: how hard each weighted term alone pulls at the student's neck and head. A term far above the others "
    "decides where the weights go, one far below them could as well be left out. Settings and weights of the method "
    "balance them.",
    "Who knows what: at the places that learn an object, the best overlap with it and the best score of its class. "
    "Where the student has reached the teacher, there is no more to learn from it.",
    "Binding by size: alpha says which teacher levels each student level learns from, beta which student levels feed "
    "each calibrated one, in images of small, medium and large objects (by the median object, parted at 32 x 32 and "
    "96 x 96 px) and of none. Entropy 1: even over all levels, 0: each level listens to one.",
)


def inside_section(runs: Sequence[Run]) -> list[Section]:
    """Curves, bindings by size and pictures of the runs that were looked into; no section when none was."""
    tables = [table for run in runs for table in _gradient_table(run)]
    images = [image for run in runs for image in (*_curves(run), *_bindings(run), *_pictures(run))]
    return [Section("Inside the distillation", TEXT, tables, images)] if images else []


def _gradient_table(run: Run) -> list[TableData]:
    """Median length of each term's gradient on neck and head, and its share of all terms' lengths."""
    columns, medians = ["term"], []
    for part in PARTS:
        lengths = {term: float(np.median([y for _, y in points])) for term, points in _gradients(run, part).items()}
        if lengths:
            columns += [part, f"share of {part}"]
            medians.append(lengths)
    rows = []
    for term in dict.fromkeys(term for lengths in medians for term in lengths):
        row = [term]
        for lengths in medians:
            length, total = lengths.get(term, 0.0), sum(lengths.values())
            row += [f"{length:.3g}", f"{100 * length / total:.0f}%" if total else "-"]
        rows.append(row)
    caption = f"{run.label}: length of each term's gradient, median over the looks"
    return [TableData(columns, rows, caption=caption)] if rows else []


def _curves(run: Run) -> list[tuple[str, str]]:
    found = []
    gradients = {f"gradient on the {part}": lines for part in PARTS if (lines := _gradients(run, part))}
    if gradients:
        figure = step_lines(gradients, log=True)
        found.append((svg_data_uri(figure), f"{run.label}: length of each term's gradient"))
    known = {
        title: lines
        for title, key in (("best IoU at positives", "iou"), ("best score of the true class", "score"))
        if (lines := {who: points for who in ("teacher", "student") if (points := curve(run, f"{who}/{key}"))})
    }
    if known:
        words = f"{run.label}: what teacher and student know, mean over objects"
        found.append((svg_data_uri(step_lines(known)), words))
    return found


def _bindings(run: Run) -> list[tuple[str, str]]:
    names = binding_names(run)
    if not names:
        return []
    entropies = {}
    for name in names:
        spread = series(run, f"{name}_entropy/")
        entropies[f"entropy of {name}"] = {size: spread[size] for size in SIZES if size in spread}
    found = [(svg_data_uri(step_lines(entropies)), f"{run.label}: entropy of the binding by size of the objects")]
    for name in names:
        found.append((svg_data_uri(binding_figure(run, name)), f"{run.label}: {name} by size of the objects"))
    return found


def _pictures(run: Run) -> list[tuple[str, str]]:
    """The first and the last sheet of views."""
    paths = sorted((run.folder / "inside").glob("epoch_*.png"))
    words = "where a few training views were taught, and where teacher and truth disagree"
    chosen = dict.fromkeys([*paths[:1], *paths[-1:]])
    return [(_photo(path), f"{run.label}, epoch {int(path.stem.removeprefix('epoch_'))}: {words}") for path in chosen]


def _gradients(run: Run, part: str) -> dict[str, Points]:
    return series(run, f"grad_{part}/")


def curve(run: Run, column: str) -> Points:
    """(step, value) of a column."""
    return [(row["step"], row[column]) for row in run.curves if column in row and "step" in row]


def series(run: Run, prefix: str) -> dict[str, Points]:
    """Curves of all columns that begin so, by what follows."""
    columns = {key for row in run.curves for key in row if key.startswith(prefix)}
    return {column.removeprefix(prefix): curve(run, column) for column in sorted(columns)}


def binding_names(run: Run) -> list[str]:
    """Bindings that were logged by size."""
    found = (re.fullmatch(rf"(.+)_entropy/(?:{'|'.join(SIZES)})", key) for row in run.curves for key in row)
    return sorted({match[1] for match in found if match})


def binding_figure(run: Run, name: str) -> Figure:
    """A row a size: its matrix in the first, the middle and the last epoch that logged the binding."""
    epochs = sorted({row["epoch"] for row in run.curves if any(key.startswith(f"{name}_entropy/") for key in row)})
    shown = {f"epoch {epochs[i] + 1:.0f}": by_size(run, name, epochs[i]) for i in (0, len(epochs) // 2, -1)}
    matrices = {(size, epoch): matrix for epoch, found in shown.items() for size, matrix in found.items()}
    sizes = [size for size in SIZES if any(size in found for found in shown.values())]
    return matrix_grid(name, sizes, list(shown), matrices)


def by_size(run: Run, name: str, epoch: float) -> dict[str, Matrix]:
    """size -> mean binding (L_s, L_t) over the looks of an epoch; sizes that did not occur are left out."""
    rows = [row for row in run.curves if row.get("epoch") == epoch]
    found: dict[str, Matrix] = {}
    for size in SIZES:
        looks = [_matrix(row, f"{name}_{size}/") for row in rows if f"{name}_{size}/0_0" in row]
        if looks:
            found[size] = np.mean(looks, axis=0).tolist()
    return found


def _matrix(row: dict[str, float], prefix: str) -> Matrix:
    places = [tuple(map(int, key.removeprefix(prefix).split("_"))) for key in row if key.startswith(prefix)]
    height, width = (max(axis) + 1 for axis in zip(*places, strict=True))
    return [[row.get(f"{prefix}{i}_{j}", math.nan) for j in range(width)] for i in range(height)]


def _photo(path: Path) -> str:
    """A `data:` address of the picture as JPEG, a quarter of the size and hardly told apart."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
