"""Finished runs: what their metrics.json and metrics.csv hold, and whether they compare.

A run is a folder that training wrote. Scores are in 0..100.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skystill.errors import DataError

if TYPE_CHECKING:
    from skystill.evaluation.errors import ErrorBreakdown


@dataclass(frozen=True)
class Run:
    """One finished run. metrics: its metrics.json. curves: rows of its metrics.csv, each with the columns it fills.

    place: where it lies, if it takes that to tell it from another run, see `read_runs`.
    """

    folder: Path
    metrics: dict[str, Any]
    curves: list[dict[str, float]]
    place: str = ""

    @property
    def label(self) -> str:
        """Name, method and seed, and the place if it has one, as tables show it."""
        place = f" in {self.place}" if self.place else ""
        return f"{self.metrics['name']} {self.metrics['method']} seed {self.metrics['seed']}{place}"

    def objects(self, split: str) -> dict[str, float]:
        """Class -> how many objects its scores count."""
        return {name: row.get("objects", 0) for name, row in self.metrics.get(split, {}).get("per_class", {}).items()}

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
    """Finished runs, in the order given.

    Where two are alike in name, method and seed, all get a place: the folder that holds them, or, where that is one and
    the same, their own, from the folder on that holds all. Errors: DataError for a folder without a readable
    metrics.json, or one that is given twice.
    """
    paths = [Path(folder) for folder in folders]
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise DataError(f"{path}: is given twice. Name each run once.")
    runs = [_read(path) for path in paths]
    if _unlike([run.label for run in runs]):
        return runs
    beside = _unlike([f"{run.label} {run.folder.parent}" for run in runs])
    places = [run.folder.parent.resolve() if beside else run.folder.resolve() for run in runs]
    above = os.path.commonpath(places)
    return [replace(run, place=place.relative_to(above).as_posix()) for run, place in zip(runs, places, strict=True)]


def _unlike(texts: list[str]) -> bool:
    return len(set(texts)) == len(texts)


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


def other_images(runs: Sequence[Run], split: str = "test") -> str | None:
    """What to say of runs whose scores count other objects, so that they do not compare; None where they do."""
    scored = [run for run in runs if run.objects(split)]
    for run in scored[1:]:
        if run.objects(split) != scored[0].objects(split):
            counts = [f"{sum(one.objects(split).values()):.0f} objects for {one.label}" for one in (scored[0], run)]
            return f"not scored on the same {split} images: {', '.join(counts)}. No run is marked as the best."
    return None


def best_ap(runs: Sequence[Run], split: str) -> int | None:
    """Index of the run of highest AP; None for a run alone, runs that do not compare, or none with an AP."""
    points = [ranked(run.figure("ap", split)) for run in runs]
    if len(runs) < 2 or max(points) == -math.inf or other_images(runs, split):
        return None
    return points.index(max(points))


def ranked(value: float) -> float:
    """A score to sort by: none comes last."""
    return -math.inf if math.isnan(value) else value
