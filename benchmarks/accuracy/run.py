"""Methods x seeds of one recipe on real data: runs what is missing, then writes the table.

    python benchmarks/accuracy/run.py recipes/gfl_lite2_to_gfl_mnv3s_ltd_hit_uav.yaml --root path/to/hit_uav \\
        --teacher runs/teacher/student.safetensors --methods alone ltd ltd_released --seeds 0 1 2 --runs runs/hit_uav \\
        --out benchmarks/accuracy/results/hit_uav_lite2_mnv3s

A run that was killed is resumed from its last epoch, a finished one is not run again, so the command can be repeated
until the table is full. Every row has the recipe's schedule; rows of equal seed see the same images in the same order.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.training.fit import machine

FIGURES = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l")


def train(arguments: argparse.Namespace, method: str, seed: int) -> Path:
    """One run, by the command line that a user would type."""
    folder = arguments.runs / f"{method}-seed{seed}"
    if (folder / "metrics.json").exists():
        return folder
    command = [sys.executable, "-m", "skystill", "train" if method == "alone" else "distill", str(arguments.recipe)]
    command += ["--data.root", str(arguments.root), "--seed", str(seed), "--out", str(folder), *arguments.more]
    if method != "alone":
        command += ["--teacher.weights", json.dumps([str(arguments.teacher)])]
        # A recipe's settings belong to its own method.
        command += ["--method.name", method] + ([] if method == arguments.method else ["--method.settings", "{}"])
    if (folder / "checkpoints" / "last.ckpt").exists():
        command.append("--resume")
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    metrics = json.loads((folder / "metrics.json").read_text())
    shared = {"method": metrics["method"], "seed": metrics["seed"]}
    cost = {"step_s": metrics["step_s"], "peak_mb": metrics["peak_mb"]}
    return [
        shared | {"split": split} | {f: metrics[split][f] for f in FIGURES} | cost
        for split in ("val", "test")
        if split in metrics
    ]


def markdown(result: dict[str, Any]) -> str:
    """Mean over seeds for each method and split, and the paired gain over the student alone."""
    lines = [f"# {result['pair']} on {result['data']}", "", f"`{result['command']}`", "", result["machine"], ""]
    lines += [f"Schedule: {result['schedule']}", ""]
    for split in ("test", "val"):
        rows = [r for r in result["rows"] if r["split"] == split]
        if not rows:
            continue
        alone = {r["seed"]: r["ap"] for r in rows if r["method"] == "alone"}
        lines += [
            f"## {split}",
            "",
            "| method | seeds | AP | AP50 | AP75 | AP S | AP M | AP L | gain in AP, by seed | s/step |",
        ]
        lines.append("|---|---|--:|--:|--:|--:|--:|--:|---|--:|")
        for method in dict.fromkeys(r["method"] for r in rows):
            mine = [r for r in rows if r["method"] == method]
            figures = [_mean([r[f] for r in mine]) for f in FIGURES]
            paired = [
                r["ap"] - alone[r["seed"]] for r in mine if r["seed"] in alone and method not in ("alone", "teacher")
            ]
            gain = ", ".join(f"{g:+.2f}" for g in paired)
            seeds = ", ".join(str(r["seed"]) for r in mine)
            lines.append(
                f"| {method} | {seeds} | "
                + " | ".join(figures)
                + f" | {gain} | {_mean([r['step_s'] for r in mine], 3)} |"
            )
        lines.append("")
    return "\n".join(lines)


def _mean(values: list[float | None], digits: int = 2) -> str:
    known = [v for v in values if v is not None]
    return f"{statistics.mean(known):.{digits}f}" if known else "-"


def write(arguments: argparse.Namespace, folders: list[Path]) -> None:
    teacher_run = arguments.teacher.parent
    rows = (
        [{**row, "method": "teacher"} for row in rows_of(teacher_run)]
        if (teacher_run / "metrics.json").exists()
        else []
    )
    for folder in folders:
        rows += rows_of(folder)
    recipe, _ = parse_recipe(recipe_parser("train", ""), [str(arguments.recipe), *arguments.more])
    words = ["python", "benchmarks/accuracy/run.py", str(arguments.recipe), "--root", arguments.root.name, "--methods"]
    words += [*arguments.methods, "--seeds", *map(str, arguments.seeds), *arguments.more]
    result = {
        "data": arguments.root.name,
        "pair": arguments.recipe.stem,
        "command": " ".join(words),
        "machine": machine(),
        "schedule": f"{recipe.trainer.epochs} epochs x {recipe.data.views} views, crop {recipe.data.crop}, batch "
        f"{recipe.data.batch}, {recipe.optim.optimizer} lr {recipe.optim.lr}",
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(markdown(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["alone", "ltd", "ltd_released"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--out", type=Path, required=True, help="without suffix: .json and .md are written")
    arguments, arguments.more = parser.parse_known_args()
    recipe, _ = parse_recipe(recipe_parser("train", ""), [str(arguments.recipe)])
    arguments.method = recipe.method.name
    folders: list[Path] = []
    for seed in arguments.seeds:
        for method in arguments.methods:
            folders.append(train(arguments, method, seed))
            write(arguments, folders)  # the table grows run by run


if __name__ == "__main__":
    main()
