"""Keeps the figures of a benchmark's finished runs, so that its table can grow elsewhere: on another day, or machine.

    python benchmarks/accuracy/keep.py runs/hit_uav_mnv3s benchmarks/accuracy/kept/hit_uav_mnv3s

Copy the kept folder to where the benchmark's --out is, and the benchmark's command takes these runs for done. Of each
run it keeps what a table needs, metrics.json and recipe.yaml, with the data set's folder left out. The interval over
images needs more, detections, and is left out of rows that have none.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.files import whole_file
from skystill.training.settled import settled


def keep(run: Path, folder: Path) -> None:
    recipe, _ = parse_recipe(recipe_parser("distill", ""), [str(run / "recipe.yaml")])
    folder.mkdir(parents=True, exist_ok=True)
    method = settled(recipe.method)  # runs of versions before this one hold no defaults
    replace(recipe, method=method, data=replace(recipe.data, root="."), out=None).write(folder / "recipe.yaml")
    with whole_file(folder / "metrics.json") as part:
        part.write_text(json.dumps(json.loads((run / "metrics.json").read_text()), separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a benchmark's --out")
    parser.add_argument("kept", type=Path, help="where to keep them")
    options = parser.parse_args()
    done = sorted(path.parent for path in options.runs.glob("*-seed*/metrics.json"))
    for run in done:
        keep(run, options.kept / run.name)
    print(f"{len(done)} runs kept in {options.kept}")


if __name__ == "__main__":
    main()
