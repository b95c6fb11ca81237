"""Sections of reports that are made from runs: scores, curves, binding matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from skystill.evaluation.compare import FIGURES, Run, text_of
from skystill.evaluation.plots import binding_matrices, svg_data_uri, training_curves
from skystill.evaluation.report import Section, TableData

ALPHA = "alpha: how much each student level (row) learned from each teacher level (column); a row sums to 1"
BETA = "beta: how much each student level (column) feeds the calibrated map (row) that imitates a teacher level"


def scores_table(runs: Sequence[Run], split: str) -> TableData:
    """A row a run, the best AP marked."""
    rows = [
        [run.label, *(text_of(run.figure(name, split)) for name in FIGURES), text_of(run.metrics.get("step_s"), 3)]
        for run in runs
    ]
    points = [run.figure("ap", split) for run in runs]
    ranked = [-math.inf if math.isnan(p) else p for p in points]
    return TableData(["run", *FIGURES.values(), "s/step"], rows, ranked.index(max(ranked)) if len(runs) > 1 else None)


def curves_section(runs: Sequence[Run]) -> Section:
    """Validation AP and every loss term over the epochs."""
    terms = list(dict.fromkeys(key for run in runs for row in run.curves for key in row if key.startswith("train/")))
    columns = ["val/ap", "val/ap50", *terms][:12]
    figure = training_curves({run.label: run.curves for run in runs}, columns)
    return Section("Training", images=[(svg_data_uri(figure), "validation AP and the weighted loss terms")])


def bindings_section(runs: Sequence[Run], first_level: int = 3) -> list[Section]:
    """Binding matrices of the runs that have them; no section when none has."""
    images = []
    for run in runs:
        matrices = run.matrices()
        if matrices:
            images.append((svg_data_uri(binding_matrices(matrices, first_level)), run.label))
    return [Section("Which layers taught which", [ALPHA, BETA], images=images)] if images else []
