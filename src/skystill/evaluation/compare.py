"""Runs side by side, as tables and plots. A figure that a run lacks is shown as "-"."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from skystill.evaluation.runs import Run, other_images, ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

FIGURES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "AP S", "ap_m": "AP M", "ap_l": "AP L"}
SHORT = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")  # errors.KINDS as TIDE's plots name them


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
    placed = any(run.place for run in runs)
    for name in [*([] if shared else ["run"]), "method", "seed", *(["in"] if placed else [])]:
        table.add_column(name, no_wrap=name in ("method", "seed"), overflow="fold")
    for name in (*FIGURES.values(), "s/step", "MiB"):
        table.add_column(name, justify="right")
    comparable = len(runs) > 1 and not other_images(runs, split)
    best = {name: max((run.figure(name, split) for run in runs), default=math.nan, key=ranked) for name in FIGURES}
    for name, run in zip(names, runs, strict=True):
        cells = [] if shared else [name]
        cells += [escape(str(run.metrics["method"])), str(run.metrics["seed"])]
        cells += [escape(run.place)] if placed else []
        for key in FIGURES:
            value = run.figure(key, split)
            text = text_of(value)
            cells.append(f"[bold]{text}[/]" if comparable and value == best[key] else text)
        rest = [text_of(run.metrics.get("step_s", math.nan), 3), text_of(run.metrics.get("peak_mb", math.nan), 0)]
        table.add_row(*cells, *rest)
    return table


def compare_markdown(runs: Sequence[Run], split: str = "test") -> str:
    """The same table as Markdown."""
    placed = any(run.place for run in runs)
    names = ["run", "method", "seed", *(["in"] if placed else [])]
    head = [*names, *FIGURES.values(), "s/step", "MiB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(names) + "--:|" * (len(head) - len(names))]
    for run in runs:
        m = run.metrics
        cells = [text_of(run.figure(name, split)) for name in FIGURES]
        cells += [text_of(m.get("step_s", math.nan), 3), text_of(m.get("peak_mb", math.nan), 0)]
        named = [str(m["name"]), str(m["method"]), str(m["seed"]), *([run.place] if placed else [])]
        lines.append("| " + " | ".join([*named, *cells]) + " |")
    said = other_images(runs, split)
    return "\n".join([*lines, *(["", said] if said else [])]) + "\n"


def compare_plot(runs: Sequence[Run], split: str = "test") -> Figure:
    """Bars of COCO's figures: a bar a method (mean over its runs), a dot a seed."""
    return _bars(
        runs,
        lambda run: {title: run.figure(key, split) for key, title in FIGURES.items()},
        unit=f"score on {split}",
    )


def errors_plot(runs: Sequence[Run], split: str = "test") -> Figure:
    """Bars of what each kind of error costs in AP50: a bar a method (mean over its runs), a dot a seed."""
    from skystill.evaluation.errors import KINDS

    def lost(run: Run) -> dict[str, float]:
        found = run.errors(split)
        return {} if found is None else {s: found.dap50[kind] for kind, s in zip(KINDS, SHORT, strict=True)}

    return _bars(runs, lost, unit=f"AP50 lost on {split}", title="What each kind of error costs")


def missed_plot(runs: Sequence[Run], split: str = "test") -> Figure:
    """Bars of the share of objects missed, by size: a bar a method (mean over its runs), a dot a seed."""
    from skystill.evaluation.errors import SIZES

    def missed(run: Run) -> dict[str, float]:
        found = run.errors(split)
        if found is None:
            return {}
        counts = ((size, found.missed[size], found.objects[size]) for size in SIZES)
        return {size: 100 * lost / count if count else math.nan for size, lost, count in counts}

    return _bars(runs, missed, unit=f"% of objects on {split}", title="Missed objects by size")


def _bars(
    runs: Sequence[Run], values: Callable[[Run], dict[str, float]], unit: str, title: str = "Comparison"
) -> Figure:
    """A bar for each name of `_groups` and each of its runs' values; a run without any has none."""
    from skystill.evaluation.plots import compare_bars

    groups: dict[str, dict[str, list[float]]] = {}
    for name, run in zip(_groups(runs), runs, strict=True):
        for column, value in values(run).items():
            groups.setdefault(name, {}).setdefault(column, []).append(value)
    return compare_bars(groups, unit, title)


def _groups(runs: Sequence[Run]) -> list[str]:
    """What a run's bar is called: its method, and what tells it from those of other recipes or places."""
    named = len({run.metrics["name"] for run in runs}) > 1
    groups = []
    for run in runs:
        parts = [str(run.metrics["name"])] if named else []
        groups.append(" ".join([*parts, str(run.metrics["method"]), *([f"in {run.place}"] if run.place else [])]))
    return groups


def text_of(value: float | None, digits: int = 1) -> str:
    """A number for a table; "-" for none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"
