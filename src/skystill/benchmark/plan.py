"""What a benchmark runs: every variant of a recipe with every seed, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from skystill.errors import ConfigError
from skystill.training.recipe import MethodConfig, Recipe
from skystill.training.same import ELSEWHERE, UNTAUGHT, differences
from skystill.training.taught import exchanged

ALONE = "alone"
# What leaves a run's result as it is.
_IDLE = (*ELSEWHERE, "data.group", "trainer.progress", "trainer.loggers", "trainer.inspect_every")


@dataclass(frozen=True, eq=False)
class Job:
    """One training. label: how tables name the variant. folder: its run folder. recipe: resolved, seed and all."""

    label: str
    seed: int
    folder: Path
    recipe: Recipe

    @property
    def verb(self) -> str:
        """train for the student alone, distill for every other."""
        return "train" if self.label == ALONE else "distill"

    @property
    def recipe_file(self) -> Path:
        """Where the resolved recipe is written."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.folder.with_name(f"{self.folder.name}.log")


def make_jobs(recipe: Recipe, variants: Mapping[str, MethodConfig], seeds: Sequence[int], out: Path) -> list[Job]:
    """All trainings, seed by seed, so that a benchmark that is cut off has whole pairs; the student alone comes first.

    variants: label -> method, ALONE not among them. Errors: ConfigError for a label that cannot name a folder, two of
    which would name the same, a seed that is negative or comes twice.
    """
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ConfigError(f"--seeds are {' '.join(map(str, seeds))}. Give each seed once, and at least one.")
    if min(seeds) < 0:
        raise ConfigError(f"--seeds holds {min(seeds)}. Give numbers of at least 0.")
    if recipe.teacher.cache is not None and recipe.data.view_seed is None and len(seeds) > 1:
        raise ConfigError(
            "teacher.cache holds the views of one seed, and several seeds are to run. Give data.view_seed, e.g. "
            "--data.view_seed 0: all runs see the same views then, in an order of their own."
        )
    from skystill.training.settled import settled  # which loads torch, and a misspelt option needs none

    names = _folder_names(variants)
    jobs = []
    for seed in seeds:
        for label in (ALONE, *variants):
            folder = out / f"{names[label]}-seed{seed}"
            method = recipe.method if label == ALONE else settled(variants[label])
            jobs.append(Job(label, seed, folder, replace(recipe, method=method, seed=seed, out=str(folder))))
    return jobs


def _folder_names(variants: Iterable[str]) -> dict[str, str]:
    """Label -> what its run folders are called before the seed. Some disks do not tell capitals from small letters."""
    names, taken = {ALONE: ALONE}, {ALONE: ALONE}
    for label in variants:
        if not label or label.startswith((".", "-")) or "/" in label or label == "teacher":
            raise ConfigError(f"{label!r} cannot name a variant. Use letters, digits, spaces, + and -.")
        names[label] = label.replace(" ", "_")
        other = taken.setdefault(names[label].casefold(), label)
        if other != label or label == ALONE:
            raise ConfigError(f"the variants {other!r} and {label!r} would share a folder. Name one of them otherwise.")
    return names


def check_same(job: Job) -> None:
    """Refuses to take a run of another recipe for this one's. Errors: ConfigError that names what differs."""
    passed_over = _IDLE + UNTAUGHT * (job.label == ALONE)
    found = differences(job.folder / "recipe.yaml", job.recipe, passed_over)
    if found:
        differs = "; ".join(f"{key} is {there} there, {here} here" for key, there, here in found[:4])
        raise ConfigError(f"{job.folder}: holds a run of another recipe: {differs}. Give another --out or delete it.")
    check_teachers(job)


def check_teachers(job: Job) -> None:
    """Refuses a run that learned from other teachers than those there now, as far as it tells. Errors: ConfigError."""
    if job.label != ALONE and (path := exchanged(job.folder, job.recipe.teacher.weights)) is not None:
        raise ConfigError(
            f"{job.folder}: holds a run that learned from another teacher than {path} is now. Bring that one back, "
            "give another --out, or delete it."
        )
