"""A benchmark's result as figures and one page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skystill.benchmark.tables import (
    NOTES,
    ahead_table,
    class_table,
    error_table,
    figures_table,
    machines_line,
    main_table,
)
from skystill.evaluation.compare import FIGURES
from skystill.evaluation.figures import svg_data_uri
from skystill.evaluation.plots import cost_scatter, gain_bars, gain_panels
from skystill.evaluation.report import Section, write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(result: dict[str, Any]) -> dict[str, Figure]:
    """Figures by file name: gains with their intervals, by object size, by class; accuracy against training time."""
    methods = result["methods"]
    found: dict[str, Figure] = {}
    gains = {
        name: (m["gain"]["mean"], m["gain"]["t_low"], m["gain"]["t_high"], _gains(result, name))
        for name, m in methods.items()
        if "gain" in m
    }
    if gains and "alone" in methods:
        found["gains"] = gain_bars(gains, f"AP gained over the student alone, {result['split']}")
        order = sorted(gains, key=lambda name: gains[name][0])
        sizes = {FIGURES[key]: {name: _ahead(methods, name, key) for name in order} for key in ("ap_s", "ap_m", "ap_l")}
        found["sizes"] = gain_panels(sizes)
        classes = {name: {m: _ahead_in(methods, m, name) for m in order} for name in result["classes"]}
        found["classes"] = gain_panels(classes)
    points = {name: (m["train_s"] / 60, m["ap"]["mean"]) for name, m in methods.items()}
    found["time"] = cost_scatter(points, "minutes of training", f"AP on {result['split']}")
    return found


def write_page(result: dict[str, Any], path: Path) -> Path:
    """Writes the page; it needs no network to open. Errors: DataError when it cannot be written."""
    drawn = {name: svg_data_uri(figure) for name, figure in figures(result).items()}
    captions = {
        "gains": "paired gain in AP: bar the mean, line Student's 95% interval over seeds, dot a seed",
        "sizes": "mean gain in AP over the student alone, by object size",
        "classes": "mean gain in AP over the student alone, by class",
        "time": f"accuracy against training time, validation included{_left_out(result)}",
    }
    tables = [main_table(result)]
    if (ahead := ahead_table(result)) is not None:
        tables.append(ahead)
    sections = [
        Section("Which method helps, and by how much", [NOTES], tables, _images(drawn, captions, "gains")),
        Section("Sizes", tables=[figures_table(result)], images=_images(drawn, captions, "sizes")),
        Section("Classes", tables=[class_table(result)], images=_images(drawn, captions, "classes")),
        Section("Errors", ["What AP50 is lost by, in the manner of TIDE."], [error_table(result)]),
        Section("Cost", images=_images(drawn, captions, "time")),
        Section("How", [result["schedule"], machines_line(result)], details={"command": result["command"]}),
    ]
    return write_report(path, f"{result['pair']} on {result['data']}", "methods compared at equal seeds", sections)


def _images(drawn: dict[str, str], captions: dict[str, str], *names: str) -> list[tuple[str, str]]:
    return [(drawn[name], captions[name]) for name in names if name in drawn]


def _left_out(result: dict[str, Any]) -> str:
    """What a method pays beside its training time where its teacher was read from a cache."""
    if "cache_fill_s" not in result:
        return ""
    seconds = result["cache_fill_s"]  # 0 where earlier runs filled it, None where runs do not tell
    known = f" ({seconds:.0f} s)" if seconds else ""
    return f"; filling the teacher cache once{known} is not in it"


def _rows(result: dict[str, Any], method: str) -> list[dict[str, Any]]:
    return [
        r for r in result["rows"] if r["method"] == method and r["split"] == result["split"] and "diverged" not in r
    ]


def _gains(result: dict[str, Any], method: str) -> list[float]:
    alone = {row["seed"]: row["ap"] for row in _rows(result, "alone")}
    return [row["ap"] - alone[row["seed"]] for row in _rows(result, method) if row["seed"] in alone]


def _ahead(methods: dict[str, Any], name: str, key: str) -> float:
    return _nan(methods[name][key]["mean"]) - _nan(methods["alone"][key]["mean"])


def _ahead_in(methods: dict[str, Any], name: str, label: str) -> float:
    return _nan(methods[name]["per_class"][label]) - _nan(methods["alone"]["per_class"][label])


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
