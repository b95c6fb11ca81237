"""What a benchmark found: a row a run, and for every method its mean, its paired gain over the student alone and cost.

Scores are in 0..100. One schema for all accuracy results: data, pair, command, machine, rows; `methods` sums up rows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from skystill.benchmark.launch import DIVERGED
from skystill.benchmark.plan import ALONE, Job, check_teachers
from skystill.data.module import DataModule, Split
from skystill.data.split import flight_of
from skystill.detectors.weights import load
from skystill.errors import ConfigError, DataError
from skystill.evaluation.compare import FIGURES, gap_closed
from skystill.evaluation.detections import detections_file, load_detections, save_detections
from skystill.evaluation.errors import ErrorBreakdown, evaluate_errors
from skystill.evaluation.paired import bootstrap_ap, paired_interval
from skystill.evaluation.runs import read_runs
from skystill.structures import Detections, Targets
from skystill.training.recipe import Recipe
from skystill.training.scoring import collect
from skystill.training.teacher_scores import teacher_scores
from skystill.training.teachers import notes_of

TEACHER = "teacher"
_TOLD = ("machine", "versions", "step_s", "train_s", "peak_mb")
Row = dict[str, Any]


def scored_split(recipe: Recipe) -> Split:
    """What methods are compared on: the test split where the recipe scores one, else val.

    Errors: ConfigError when there is neither.
    """
    if recipe.trainer.test and recipe.data.has("test"):
        return "test"
    if recipe.data.has("val"):
        return "val"
    raise ConfigError("the recipe has nothing to compare methods on. Give data.test or data.val.")


def gather(jobs: Sequence[Job], command: str) -> dict[str, Any]:
    """Everything the tables and plots show, as JSON can hold it. Jobs without a result are left out."""
    recipe = jobs[0].recipe
    split = scored_split(recipe)
    data = DataModule(recipe.data, recipe.seed)
    data.setup("test" if split == "test" else "validate")
    truth = [targets for _, targets in _samples(data, split)]
    done = [job for job in jobs if (job.folder / "metrics.json").is_file()]
    metrics = {job: run.metrics for job, run in zip(done, read_runs([job.folder for job in done]), strict=True)}
    images = data.datasets[split].identity()
    for job in done:
        _check_run(job, metrics[job], split, images)
        check_teachers(job)  # once more, since runs take hours
    seen = {job: _detections(job, data, split, truth) for job in done}
    rows = [
        *_teacher_rows(recipe, data, split, jobs[0].folder.parent),
        *(row for job in done for row in _rows(job, metrics[job])),
    ]
    rows += [_diverged(job, split) for job in jobs if (job.folder / DIVERGED).is_file()]
    labels = list(dict.fromkeys(job.label for job in jobs))
    machines = _machines(done, metrics)
    result: dict[str, Any] = {
        "data": Path(recipe.data.root).resolve().name if recipe.data.format != "synthetic" else "synthetic scenes",
        "pair": recipe.name or "",
        "command": command,
        "machine": "; ".join(machines),
        "machines": machines,
        "versions": next((m["versions"] for m in metrics.values()), {}),
        "schedule": schedule_of(recipe),
        "split": split,
        "classes": list(data.classes),
        "rows": rows,
        "methods": {},
        **_filling(recipe, [metrics[job] for job in done if job.label != ALONE]),
    }
    teacher = next((row["ap"] for row in rows if row["method"] == TEACHER and row["split"] == split), math.nan)
    for label in labels:
        mine = [job for job in done if job.label == label]
        if mine:
            result["methods"][label] = _summary(mine, done, metrics, seen, truth, data, split, teacher)
    result["leader"] = _leader(result, split)
    return result


def _check_run(job: Job, metrics: dict[str, Any], split: Split, images: str) -> None:
    """Refuses a run that cannot stand in the tables. images: what the split is now. Errors: DataError with the mend."""
    if lacking := [key for key in (split, *_TOLD) if key not in metrics]:
        raise DataError(
            f"{job.folder / 'metrics.json'}: holds no {lacking[0]!r}. Delete it; the same command mends it."
        )
    if metrics[split]["ap"] is None:
        raise DataError(f"no object that counts is in the {split} split, so there is nothing to compare.")
    theirs = metrics.get("images", {}).get(split)  # older runs did not tell
    if theirs is not None and theirs != images:
        raise DataError(
            f"{job.folder}: was scored on other {split} images or objects than those of data.root "
            f"{job.recipe.data.root} now. Give that which it was scored on, or another --out."
        )


def schedule_of(recipe: Recipe) -> str:
    """The training schedule in a line."""
    data, optim = recipe.data, recipe.optim
    views = f", {data.replay} views an image" if data.replay else ""
    shown = f"crops of {data.crop} px" if data.crop else "whole images"
    return (
        f"{recipe.trainer.epochs} epochs x {data.views}, {shown}{views}, batch {data.batch}, {optim.optimizer} "
        f"lr {optim.lr:g}, {optim.schedule}, EMA {optim.ema:g}"
    )


def _machines(done: Sequence[Job], metrics: dict[Job, dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """Machine -> method -> seeds: runs of a seed that were not made by one machine are paired by their images and first
    weights alone, and their seconds do not compare."""
    found: dict[str, dict[str, list[int]]] = {}
    for job in done:
        found.setdefault(metrics[job]["machine"], {}).setdefault(job.label, []).append(job.seed)
    return found


def _filling(recipe: Recipe, taught: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """cache_fill_s: seconds that the runs spent on filling the teacher cache, in all; None where not every one tells.

    {} without a cache.
    """
    told = [metrics.get("cache_fill_s") for metrics in taught]
    if recipe.teacher.cache is None and not any(seconds is not None for seconds in told):
        return {}
    known = [seconds for seconds in told if seconds is not None]
    return {"cache_fill_s": sum(known) if len(known) == len(told) else None}


def _rows(job: Job, metrics: dict[str, Any]) -> Iterable[Row]:
    for split in ("val", "test"):
        if split in metrics:
            figures = {name: metrics[split][name] for name in FIGURES}
            cost = {name: metrics.get(name) for name in ("step_s", "peak_mb", "train_s", "waited")}
            yield {"method": job.label, "seed": job.seed, "split": split, **figures, **cost}


def _teacher_rows(recipe: Recipe, data: DataModule, split: Split, out: Path) -> Iterable[Row]:
    """The first teacher's scores on the split."""
    for path in recipe.teacher.weights[:1]:
        if scores := teacher_scores(path, recipe, data, split, out):
            figures = {name: scores.get(name) for name in (*FIGURES, "per_class")}
            yield {"method": TEACHER, "seed": notes_of(path).get("seed"), "split": split} | figures


def _diverged(job: Job, split: Split) -> Row:
    said = (job.folder / DIVERGED).read_text(encoding="utf-8").strip()
    return {"method": job.label, "seed": job.seed, "split": split, "diverged": said}


def _samples(data: DataModule, split: Split) -> Iterable[Any]:
    dataset = data.datasets[split]
    return (dataset[index] for index in range(len(dataset)))


def _detections(job: Job, data: DataModule, split: Split, truth: Sequence[Targets]) -> list[Detections] | None:
    """The run's detections on the split, from its folder, or made by its student.

    None where the folder holds neither: of a run of another machine mostly the figures alone are kept.
    """
    path, names = detections_file(job.folder, split), [t.name for t in truth]
    if path.is_file():
        return load_detections(path, names)
    if not (job.folder / "student.safetensors").is_file():
        return None
    found = collect(load(job.folder / "student.safetensors"), data, split, job.recipe.trainer.max_dets).detections
    try:
        save_detections(path, found, names)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}). Give a folder that can.") from error
    return found


def _summary(
    mine: Sequence[Job],
    done: Sequence[Job],
    metrics: dict[Job, dict[str, Any]],
    seen: dict[Job, list[Detections] | None],
    truth: Sequence[Targets],
    data: DataModule,
    split: Split,
    teacher: float,
) -> dict[str, Any]:
    """One method's means, and its gain over the student alone at the seeds that both have."""
    scores = [metrics[job][split] for job in mine]
    costs = {name: _mean([metrics[job][name] for job in mine]) for name in ("step_s", "train_s", "peak_mb")}
    waiting = [share for job in mine if (share := metrics[job].get("waited")) is not None]  # older runs did not tell
    found: dict[str, Any] = {
        "seeds": [job.seed for job in mine],
        **{
            name: {"mean": _mean([s[name] for s in scores]), "std": _std([s[name] for s in scores])} for name in FIGURES
        },
        "per_class": {name: _mean([s["per_class"][name]["ap"] for s in scores]) for name in data.classes},
        "errors": _errors([_breakdown(job, metrics[job][split], seen[job], truth, data) for job in mine]),
        **costs,
        "waited": max(waiting, default=None),
    }
    alone = {job.seed: job for job in done if job.label == ALONE}
    pairs = [(alone[job.seed], job) for job in mine if job.seed in alone]
    if mine[0].label == ALONE or not pairs:
        return found
    before, after = ([metrics[job][split]["ap"] for job in side] for side in zip(*pairs, strict=True))
    found["gain"] = paired_interval(before, after).as_dict()
    kept = [(one, other) for a, b in pairs if (one := seen[a]) is not None and (other := seen[b]) is not None]
    most, group = mine[0].recipe.trainer.max_dets, data.config.group
    if len(kept) == len(pairs):
        flights = None if group is None else [flight_of(image.name, group) for image in truth]
        less, more = [one for one, _ in kept], [other for _, other in kept]
        found["gain_images"] = bootstrap_ap(less, more, truth, data.classes, max_dets=most, groups=flights).as_dict()
    found["gap_closed"] = _number(gap_closed(teacher, statistics.mean(before), statistics.mean(after)))
    return found


def _leader(result: dict[str, Any], split: str) -> dict[str, Any]:
    """The method that is ahead of every other at the seeds that both have, and its paired differences there.

    {} where there is none, as after a tie. One with a diverged seed does not lead: its others may be the lucky ones.
    """
    rows = [row for row in result["rows"] if row["split"] == split]
    points = {
        label: {row["seed"]: row["ap"] for row in rows if row["method"] == label and "ap" in row}
        for label in result["methods"]
    }
    lost = {row["method"] for row in rows if "diverged" in row}
    for label, mine in points.items():
        ahead = {}
        for other, theirs in points.items():
            if other != label and (common := sorted(mine.keys() & theirs.keys())):
                ahead[other] = paired_interval([theirs[s] for s in common], [mine[s] for s in common])
        if label not in lost and all(gain.mean > 0 for gain in ahead.values()) and (ahead or len(points) == 1):
            return {"method": label, "ahead_of": {other: gain.as_dict() for other, gain in ahead.items()}}
    return {}


def _breakdown(
    job: Job, scores: dict[str, Any], seen: Sequence[Detections] | None, truth: Sequence[Targets], data: DataModule
) -> ErrorBreakdown:
    """As the run stored it; runs of older versions did not."""
    if "errors" in scores:
        return ErrorBreakdown.from_dict(scores["errors"])
    if seen is None:
        raise DataError(f"{job.folder}: holds neither errors nor a student to find them with. Train it again.")
    return evaluate_errors(seen, truth, data.classes, job.recipe.trainer.max_dets)


def _errors(each: Sequence[ErrorBreakdown]) -> dict[str, Any]:
    """Means over seeds: AP50 lost by kind, and the share of objects missed by size."""
    shares = {size: [e.missed[size] / e.objects[size] for e in each if e.objects[size]] for size in each[0].objects}
    return {
        "dap50": {kind: _mean([e.dap50[kind] for e in each]) for kind in each[0].dap50},
        "missed": {size: _mean(found) for size, found in shares.items()},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and not math.isnan(v)]
    return statistics.mean(known) if known else None


def _std(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and not math.isnan(v)]
    return statistics.stdev(known) if len(known) > 1 else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
