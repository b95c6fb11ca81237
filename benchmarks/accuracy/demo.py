"""The demo over several seeds, as an accuracy result: teacher, student alone, student with LTD on synthetic scenes.

    python benchmarks/accuracy/demo.py --seeds 0 1 2 --out benchmarks/accuracy/results/synthetic_demo

A seed whose summary.json exists is not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from skystill.benchmark.tables import markdown_rows
from skystill.demo import demo_recipe
from skystill.evaluation.compare import FIGURES, text_of
from skystill.evaluation.report import TableData
from skystill.training.fit import machine


def rows_of(folder: Path, seed: int) -> list[dict[str, Any]]:
    summary = json.loads((folder / "summary.json").read_text())
    rows = []
    for method in ("teacher", "alone", "ltd"):
        run = folder / method / "metrics.json"
        cost = json.loads(run.read_text()) if run.exists() else {}
        figures = {name: summary[method][name] for name in FIGURES}
        cost = {"step_s": cost.get("step_s"), "peak_mb": cost.get("peak_mb")}
        rows.append({"method": method, "seed": seed, "split": "test", **figures, **cost})
    return rows


def markdown(result: dict[str, Any]) -> str:
    """Means over seeds, and the gain of each seed over the student alone."""
    rows = result["rows"]
    alone = {row["seed"]: row["ap"] for row in rows if row["method"] == "alone"}
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        known = [[row[name] for row in mine if row[name] is not None] for name in FIGURES]
        gains = [f"{row['ap'] - alone[row['seed']]:+.2f}" for row in mine if method == "ltd"]
        means = [text_of(statistics.mean(values), 2) if values else "-" for values in known]
        lines.append([method, ", ".join(str(row["seed"]) for row in mine), *means, ", ".join(gains)])
    table = TableData(("method", "seeds", *FIGURES.values(), "gain in AP, by seed"), lines)
    head = [f"# {result['pair']} on {result['data']}", "", f"`{result['command']}`", "", result["machine"], ""]
    return "\n".join([*head, f"Schedule: {result['schedule']}", "", *markdown_rows(table), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/demo_seeds"))
    parser.add_argument("--out", type=Path, required=True, help="without suffix: .json and .md are written")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        folder = arguments.runs / f"seed{seed}"
        if not (folder / "summary.json").exists():
            command = [sys.executable, "-m", "skystill", "demo", "--out", str(folder), "--seed", str(seed)]
            subprocess.run(command, check=True)
        rows += [row for row in rows_of(folder, seed) if row["method"] != "teacher" or seed == arguments.seeds[0]]
        recipe = demo_recipe(folder, seed)
        result = {
            "data": "synthetic scenes, 256 px",
            "pair": f"the demo's: gfl_lite0 to {recipe.detector.preset}",
            "command": f"python benchmarks/accuracy/demo.py --seeds {' '.join(map(str, arguments.seeds))}",
            "machine": machine(),
            "schedule": f"{recipe.trainer.epochs} epochs of {recipe.data.scenes_train} scenes, "
            f"crop {recipe.data.crop}, batch {recipe.data.batch}, {recipe.optim.optimizer} lr {recipe.optim.lr}; "
            f"LTD {recipe.method.settings or 'by its defaults'}",
            "rows": rows,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(markdown(result))


if __name__ == "__main__":
    main()
