"""A benchmark's result as tables: for a terminal, in Markdown, and on a page."""

from __future__ import annotations

import math
from typing import Any

from skystill.contention import MARK
from skystill.evaluation.compare import FIGURES, step_text, text_of
from skystill.evaluation.report import TableData

COLUMNS = ("method", "seeds", "AP", "gain", "95% seeds", "95% images", "gap closed", "AP50", "s/step", "MiB")
NOTES = (
    "AP: mean and standard deviation over seeds. gain: mean paired difference to the student alone, equal seeds. "
    "95% seeds: Student's t interval of the gain over seeds: would it be there again after training again? "
    "95% images: bootstrap interval over test images with these weights. gap closed: share of the way from the student "
    "alone to the teacher. s/step and minutes: as the runs went, with whatever else the machine did then; "
    f"{MARK} where that took the cores from them for a tenth of the time or more. "
    "Bold: ahead of every other at the seeds that both have, with none diverged."
)


def main_table(result: dict[str, Any]) -> TableData:
    """A row a method, best mean AP first after teacher and student alone, which begin it; the leader is marked."""
    methods = result["methods"]
    diverged = [r for r in result["rows"] if "diverged" in r]
    rows = [["teacher", "", *_points(r["ap"]), "", "", "", "", text_of(r["ap50"]), "", ""] for r in _teacher(result)]
    for name in _ranked(methods):
        found = methods[name]
        lost = sum(r["method"] == name for r in diverged)
        seeds = f"{len(found['seeds'])}, {lost} diverged" if lost else str(len(found["seeds"]))
        cells = [name, seeds, *_points(found["ap"]["mean"], found["ap"]["std"]), *_gain(found)]
        cost = [step_text(found), text_of(found["peak_mb"], 0)]
        rows.append([*cells, text_of(found["ap50"]["mean"]), *cost])
    best = result["leader"].get("method")
    mark = next((i for i, row in enumerate(rows) if row[0] == best), None)
    rows += [[r["method"], "", f"seed {r['seed']} diverged", *[""] * (len(COLUMNS) - 3)] for r in diverged]
    return TableData(COLUMNS, rows, mark, f"{result['split']} split of {result['data']}")


def figures_table(result: dict[str, Any]) -> TableData:
    """COCO's figures, mean over seeds, a row a method."""
    methods = result["methods"]
    rows = [["teacher", *(text_of(r[key]) for key in FIGURES)] for r in _teacher(result)]
    rows += [[name, *(text_of(methods[name][key]["mean"]) for key in FIGURES)] for name in _ranked(methods)]
    return TableData(("method", *FIGURES.values()), rows, None, "COCO's figures, mean over seeds")


def ahead_table(result: dict[str, Any]) -> TableData | None:
    """How far the leader is ahead of every other method; None when it is alone."""
    leader = result["leader"]
    if not leader.get("ahead_of"):
        return None
    rows = [
        [name, str(d["n"]), _signed(d["mean"]), _interval(d["t_low"], d["t_high"]), f"{d['wins']} of {d['n']}"]
        for name, d in sorted(leader["ahead_of"].items(), key=lambda item: item[1]["mean"])
    ]
    head = ("ahead of", "seeds", "by AP", "95% seeds", "seeds won")
    return TableData(head, rows, None, f"{leader['method']} against the others, equal seeds")


def class_table(result: dict[str, Any]) -> TableData:
    """Mean AP of each class, a row a method."""
    methods = result["methods"]
    known = [("teacher", r["per_class"]) for r in _teacher(result) if r.get("per_class")]
    known += [(name, methods[name]["per_class"]) for name in _ranked(methods)]
    rows = [[name, *(text_of(points.get(c)) for c in result["classes"])] for name, points in known]
    return TableData(("method", *result["classes"]), rows, None, "AP by class, mean over seeds")


def error_table(result: dict[str, Any]) -> TableData:
    """AP50 lost by kind of error and objects missed by size, a row a method."""
    methods = result["methods"]
    caption = "points of AP50 lost by kind of error; share of objects missed by size"
    if not methods:  # all diverged
        return TableData(("method",), [], None, caption)
    first = next(iter(methods.values()))["errors"]
    rows = [
        [
            name,
            *(text_of(m["errors"]["dap50"][kind]) for kind in first["dap50"]),
            *(_percent(m["errors"]["missed"][size]) for size in first["missed"]),
        ]
        for name, m in ((name, methods[name]) for name in _ranked(methods))
    ]
    head = ("method", *first["dap50"], *(f"missed {size[0].upper()}" for size in first["missed"]))
    return TableData(head, rows, None, caption)


def markdown(result: dict[str, Any]) -> str:
    """The whole result as a Markdown text."""
    lines = [f"# {result['pair']} on {result['data']}", "", f"`{result['command']}`", ""]
    lines += [f"Schedule: {result['schedule']}. {machines_line(result)}".strip(), ""]
    tables = [main_table(result), ahead_table(result), figures_table(result), class_table(result), error_table(result)]
    for table in filter(None, tables):
        lines += [f"## {table.caption}", "", *markdown_rows(table), ""]
    return "\n".join([*lines, NOTES, ""])


def machines_line(result: dict[str, Any]) -> str:
    """Where the runs were made, and of several machines which."""
    machines = result.get("machines", {})
    if len(machines) < 2:
        return f"Machine: {result['machine']}." if result["machine"] else ""
    runs = [
        f"{machine} ({'; '.join(f'{name} {_seeds(seeds)}' for name, seeds in mine.items())})"
        for machine, mine in machines.items()
    ]
    return (
        f"Machines, with their methods and seeds: {', '.join(runs)}. Two runs of a seed on two machines are paired by "
        "images and first weights alone: rounding leads them apart. Nor do their seconds and memory compare."
    )


def _seeds(seeds: list[int]) -> str:
    return " ".join(map(str, sorted(seeds)))


def markdown_rows(table: TableData) -> list[str]:
    """The lines of one Markdown table; the marked row is bold."""
    lines = ["| " + " | ".join(table.columns) + " |", "|---|" + "--:|" * (len(table.columns) - 1)]
    for number, row in enumerate(table.rows):
        cells = [f"**{c}**" if c and number == table.mark else c for c in row]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _points(mean: float | None, std: float | None = None) -> list[str]:
    return [text_of(mean, 2) if std is None else f"{text_of(mean, 2)} ± {std:.2f}"]


def _gain(found: dict[str, Any]) -> list[str]:
    if "gain" not in found:
        return ["", "", "", ""]
    seeds, images = found["gain"], found.get("gain_images", {"low": None, "high": None})
    return [
        _signed(seeds["mean"]),
        _interval(seeds["t_low"], seeds["t_high"]),
        _interval(images["low"], images["high"]),
        _percent(found["gap_closed"]),
    ]


def _ranked(methods: dict[str, Any]) -> list[str]:
    """The student alone, then the others, best first."""
    return sorted(methods, key=lambda name: (name != "alone", -methods[name]["ap"]["mean"]))


def _teacher(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for r in result["rows"] if r["method"] == "teacher" and r["split"] == result["split"]]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None or math.isnan(low) else f"{low:+.2f} .. {high:+.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
