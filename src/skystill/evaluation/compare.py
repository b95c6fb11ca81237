"""Runs side by side, as tables and plots. A figure that a run lacks is shown as "-"."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skystill.contention import marked, note
from skystill.evaluation.runs import Run, other_images, ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

FIGURES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "AP S", "ap_m": "AP M", "ap_l": "AP L"}
NAMES = {"name": "run", "method": "method", "seed": "seed"}
SHORT = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")  # errors.KINDS as TIDE's plots name them


def gap_closed(teacher: float, alone: float, distilled: float) -> float:
    """Share of the gap between teacher and student alone that distillation closed; nan where there is no gap."""
    return (distilled - alone) / (teacher - alone) if teacher > alone else math.nan


def compare_table(runs: Sequence[Run], split: str = "test") -> Table:
    """A terminal table: a row a run; the best of each figure stands out. A name that all runs share is its title."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    named, figures, cost = _named(runs), _figures(runs, split), _cost(runs)
    title = f"{split} split"
    if len(set(named["run"])) == 1:
        title = f"{escape(named.pop('run')[0])}, {title}"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for head in named:
        table.add_column(head, no_wrap=head in ("method", "seed"), overflow="fold")
    for head in (*figures, *cost):
        table.add_column(head, justify="right")
    comparable = len(runs) > 1 and not other_images(runs, split)
    best = {head: max(values, default=math.nan, key=ranked) for head, values in figures.items()}
    for row in range(len(runs)):
        cells = [escape(texts[row]) for texts in named.values()]
        for head, values in figures.items():
            text = text_of(values[row])
            cells.append(f"[bold]{text}[/]" if comparable and values[row] == best[head] else text)
        table.add_row(*cells, *(texts[row] for texts in cost.values()))
    return table


def compare_markdown(runs: Sequence[Run], split: str = "test") -> str:
    """The same table as Markdown."""
    named, figures = _named(runs), _figures(runs, split)
    columns = named | {head: [text_of(value) for value in values] for head, values in figures.items()} | _cost(runs)
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(named) + "--:|" * (len(columns) - len(named))]
    rows = ["| " + " | ".join(row) + " |" for row in zip(*columns.values(), strict=True)]
    said = remarks(runs, split)
    return "\n".join([*head, *rows, *(["", said] if said else [])]) + "\n"


def _named(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Columns that say which run a row is; a place only where names do not tell runs apart."""
    columns = {head: [str(run.metrics[key]) for run in runs] for key, head in NAMES.items()}
    return columns | ({"in": [run.place for run in runs]} if any(run.place for run in runs) else {})


def _figures(runs: Sequence[Run], split: str) -> dict[str, list[float]]:
    """Columns of COCO's figures."""
    return {head: [run.figure(key, split) for run in runs] for key, head in FIGURES.items()}


def _cost(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Columns of what a training step took."""
    memory = [text_of(run.metrics.get("peak_mb"), 0) for run in runs]
    return {"s/step": [step_text(run.metrics) for run in runs], "MiB": memory}


def step_text(metrics: Mapping[str, Any]) -> str:
    """Seconds of a run's step, marked where other programs made them longer."""
    return marked(text_of(metrics.get("step_s"), 3), metrics.get("waited"))


def remarks(runs: Sequence[Run], split: str) -> str:
    """What a reader of the runs' table must know: that they do not compare, what a mark means. Mostly nothing."""
    return ". ".join(filter(None, [other_images(runs, split), note(run.metrics.get("waited") for run in runs)]))


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
