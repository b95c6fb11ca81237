"""Runs side by side: what their metrics.json and metrics.csv hold, as tables and a plot.

A run is a folder that training wrote. Scores are in 0..100; a figure that a run lacks is shown as "-".
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skystill.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from skystill.evaluation.errors import ErrorBreakdown

FIGURES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "AP S", "ap_m": "AP M", "ap_l": "AP L"}
SHORT = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")  # errors.KINDS as TIDE's plots name them


@dataclass(frozen=True)
class Run:
    """One finished run. metrics: its metrics.json. curves: rows of its metrics.csv, each with the columns it fills."""

    folder: Path
    metrics: dict[str, Any]
    curves: list[dict[str, float]]

    @property
    def label(self) -> str:
        """Name, method and seed, as tables show it."""
        return f"{self.metrics['name']} {self.metrics['method']} seed {self.metrics['seed']}"

    def figure(self, name: str, split: str) -> float:
        """One of COCO's figures, nan where the run has none."""
        value = self.metrics.get(split, {}).get(name)
        return math.nan if value is None else float(value)

    def errors(self, split: str) -> ErrorBreakdown | None:
        """What it lost AP50 by; None for runs that were not asked."""
        from skystill.evaluation.errors import ErrorBreakdown  # brings torch, which a table of scores does without

        values = self.metrics.get(split, {}).get("errors")
        return None if values is None else ErrorBreakdown.from_dict(values)

    def matrices(self) -> dict[str, list[list[float]]]:
        """The binding matrices (alpha, beta) of the last epoch that logged them."""
        found: dict[str, list[list[float]]] = {}
        for row in self.curves:
            for name in ("alpha", "beta"):
                cells = {key.split("/")[1]: value for key, value in row.items() if key.startswith(f"{name}/")}
                if cells:
                    places = [tuple(map(int, cell.split("_"))) for cell in cells]
                    rows, columns = (max(axis) + 1 for axis in zip(*places, strict=True))
                    found[name] = [[cells[f"{i}_{j}"] for j in range(columns)] for i in range(rows)]
        return found


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Finished runs, in the order given. Errors: DataError for a folder without a readable metrics.json."""
    return [_read(Path(folder)) for folder in folders]


def _read(folder: Path) -> Run:
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        metrics["name"], metrics["method"], metrics["seed"]
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no metrics.json, so no finished run. Give folders that training wrote.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged, or not what training writes. Delete it and train with --resume.") from error
    return Run(folder, metrics, read_curves(folder / "metrics.csv"))


def read_curves(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv; cells without a number are left out. A missing file has no rows."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return [_numbers(row) for row in csv.DictReader(file)]


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """A run that was cut off may end in half a row, so what is no number is left out, not refused."""
    numbers = {}
    for key, cell in row.items():
        with suppress(ValueError, TypeError):
            numbers[key] = float(cell)
    return numbers


def gap_closed(teacher: float, alone: float, distilled: float) -> float:
    """Share of the gap between teacher and student alone that distillation closed; nan where there is no gap."""
    return (distilled - alone) / (teacher - alone) if teacher > alone else math.nan


def compare_table(runs: Sequence[Run], split: str = "test") -> Table:
    """A terminal table: a row a run; the best of each figure stands out. A name that all runs share is its title."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    names = [escape(str(run.metrics["name"])) for run in runs]
    shared = names[0] if len(set(names)) == 1 else None
    title = f"{shared}, {split} split" if shared else f"{split} split"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in ("method", "seed") if shared else ("run", "method", "seed"):
        table.add_column(name, no_wrap=name != "run", overflow="fold")
    for name in (*FIGURES.values(), "s/step", "MiB"):
        table.add_column(name, justify="right")
    best = {name: max((run.figure(name, split) for run in runs), default=math.nan, key=_ranked) for name in FIGURES}
    for name, run in zip(names, runs, strict=True):
        cells = [] if shared else [name]
        cells += [escape(str(run.metrics["method"])), str(run.metrics["seed"])]
        for key in FIGURES:
            value = run.figure(key, split)
            text = text_of(value)
            cells.append(f"[bold]{text}[/]" if len(runs) > 1 and value == best[key] else text)
        rest = [text_of(run.metrics.get("step_s", math.nan), 3), text_of(run.metrics.get("peak_mb", math.nan), 0)]
        table.add_row(*cells, *rest)
    return table


def compare_markdown(runs: Sequence[Run], split: str = "test") -> str:
    """The same table as Markdown."""
    head = ["run", "method", "seed", *FIGURES.values(), "s/step", "MiB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 3 + "--:|" * (len(head) - 3)]
    for run in runs:
        m = run.metrics
        cells = [text_of(run.figure(name, split)) for name in FIGURES]
        cells += [text_of(m.get("step_s", math.nan), 3), text_of(m.get("peak_mb", math.nan), 0)]
        lines.append("| " + " | ".join([str(m["name"]), str(m["method"]), str(m["seed"]), *cells]) + " |")
    return "\n".join(lines) + "\n"


def compare_plot(runs: Sequence[Run], split: str = "test") -> Figure:
    """Bars of COCO's figures: a bar a method (mean over its runs), a dot a seed."""
    from skystill.evaluation.plots import compare_bars

    groups: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        group = groups.setdefault(str(run.metrics["method"]), {title: [] for title in FIGURES.values()})
        for name, title in FIGURES.items():
            group[title].append(run.figure(name, split))
    return compare_bars(groups, unit=f"score on {split}")


def errors_plot(runs: Sequence[Run], split: str = "test") -> Figure:
    """Bars of what each kind of error costs in AP50: a bar a method (mean over its runs), a dot a seed."""
    from skystill.evaluation.errors import KINDS
    from skystill.evaluation.plots import compare_bars

    groups: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        found = run.errors(split)
        if found is not None:
            group = groups.setdefault(str(run.metrics["method"]), {short: [] for short in SHORT})
            for kind, short in zip(KINDS, SHORT, strict=True):
                group[short].append(found.dap50[kind])
    return compare_bars(groups, unit=f"AP50 lost on {split}", title="What each kind of error costs")


def missed_plot(runs: Sequence[Run], split: str = "test") -> Figure:
    """Bars of the share of objects missed, by size: a bar a method (mean over its runs), a dot a seed."""
    from skystill.evaluation.errors import SIZES
    from skystill.evaluation.plots import compare_bars

    groups: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        found = run.errors(split)
        if found is not None:
            group = groups.setdefault(str(run.metrics["method"]), {size: [] for size in SIZES})
            for size in SIZES:
                count = found.objects[size]
                group[size].append(100 * found.missed[size] / count if count else math.nan)
    return compare_bars(groups, unit=f"% of objects on {split}", title="Missed objects by size")


def text_of(value: float | None, digits: int = 1) -> str:
    """A number for a table; "-" for none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _ranked(value: float) -> float:
    return -math.inf if math.isnan(value) else value
