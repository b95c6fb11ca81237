"""Sections of reports that are made from runs: scores, curves, binding matrices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from skystill.evaluation.compare import FIGURES, SHORT, errors_plot, missed_plot, remarks, step_text, text_of
from skystill.evaluation.curves import binding_matrices, training_curves
from skystill.evaluation.errors import KINDS, SIZES
from skystill.evaluation.figures import svg_data_uri
from skystill.evaluation.report import Section, TableData
from skystill.evaluation.runs import Run, best_ap

ALPHA = "alpha: how much each student level (row) learned from each teacher level (column); a row sums to 1"
BETA = "beta: how much each student level (column) feeds the calibrated map (row) that imitates a teacher level"
ERRORS = (
    "After TIDE (Bolya et al., ECCV 2020). classification: right place, wrong class. localization: right class, IoU .1 "
    "to .5. both: wrong class, IoU .1 to .5. duplicate: a second detection of one object. background: nothing there. "
    "missed: an object that no detection finds or nearly finds. Costs do not add up: each is measured with the other "
    "errors left in."
)


def scores_table(runs: Sequence[Run], split: str) -> TableData:
    """A row a run, the best AP marked where the runs compare."""
    rows = [
        [run.label, *(text_of(run.figure(name, split)) for name in FIGURES), step_text(run.metrics)] for run in runs
    ]
    columns = ["run", *FIGURES.values(), "s/step"]
    return TableData(columns, rows, best_ap(runs, split), remarks(runs, split))


def figures_text(run: Run) -> str:
    """A run's metrics.json, but for the hundreds of points of its precision-recall curves."""
    return json.dumps({k: _brief(v) if isinstance(v, dict) else v for k, v in run.metrics.items()}, indent=1)


def _brief(figures: dict[str, Any]) -> dict[str, Any]:
    return figures | ({"curves": "left out here"} if "curves" in figures else {})


def errors_section(runs: Sequence[Run], split: str) -> list[Section]:
    """What the runs that were asked lost AP50 by; no section when none was."""
    asked = [(run, found) for run in runs if (found := run.errors(split)) is not None]
    if not asked:
        return []
    gains = [[run.label, *(text_of(found.dap50[kind]) for kind in KINDS)] for run, found in asked]
    counts = [[run.label, *(str(found.counts[kind]) for kind in KINDS)] for run, found in asked]
    missed = [
        [run.label, *(f"{found.missed[size]} of {found.objects[size]}" for size in SIZES)] for run, found in asked
    ]
    tables = [
        TableData(["run", *KINDS], gains, caption=f"points of AP50 gained on {split} if this kind alone were mended"),
        TableData(["run", *KINDS], counts, caption="how many, whatever their score"),
        TableData(["run", *SIZES], missed, caption="missed objects by size"),
    ]
    names = ", ".join(f"{kind} ({short})" for kind, short in zip(KINDS, SHORT, strict=True))
    images = [
        (svg_data_uri(errors_plot(runs, split)), f"AP50 lost by each kind of error, lower is better: {names}"),
        (svg_data_uri(missed_plot(runs, split)), "share of objects missed by size, lower is better"),
    ]
    return [Section("Errors", [ERRORS], tables, images)]


def curves_section(runs: Sequence[Run]) -> list[Section]:
    """Validation AP and every loss term over the epochs; no section when no run logged any."""
    if not any(run.curves for run in runs):
        return []
    terms = list(dict.fromkeys(key for run in runs for row in run.curves for key in row if key.startswith("train/")))
    columns = ["val/ap", "val/ap50", *terms][:12]
    shared = len({run.metrics["name"] for run in runs}) == 1
    names = [run.label.removeprefix(f"{run.metrics['name']} ") if shared else run.label for run in runs]
    figure = training_curves({name: run.curves for name, run in zip(names, runs, strict=True)}, columns)
    return [Section("Training", images=[(svg_data_uri(figure), "validation AP and the weighted loss terms")])]


def bindings_section(runs: Sequence[Run], first_level: int = 3) -> list[Section]:
    """Binding matrices of the runs that have them; no section when none has."""
    found = [(run.label, matrices) for run in runs if (matrices := run.matrices())]
    if not found:
        return []
    words = [text for name, text in (("alpha", ALPHA), ("beta", BETA)) if any(name in one for _, one in found)]
    images = [(svg_data_uri(binding_matrices(matrices, first_level)), label) for label, matrices in found]
    return [Section("Which layers taught which", words, images=images)]
