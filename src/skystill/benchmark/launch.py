"""Runs trainings as processes of their own, a few at a time, each by the command that a user would type."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from skystill.benchmark.plan import Job, check_same
from skystill.errors import ConfigError, DivergedError, SkystillError
from skystill.training.folder import LAST

DIVERGED = "diverged.txt"
_POLL = 0.2  # seconds between looks at the running processes


def run_jobs(jobs: Sequence[Job], at_once: int, say: Callable[[str], None]) -> None:
    """Runs what is missing; a finished run is kept, one that was cut off goes on from its last whole epoch.

    A run that diverged leaves diverged.txt in its folder and is not tried again. say: takes a line for the user.
    Errors: ConfigError when a folder holds a run of another recipe; SkystillError with the run's own line when one
    fails, after which the others are stopped. What they have done so far is kept.
    """
    for job in jobs:
        check_same(job)
    waiting = [job for job in jobs if not finished(job)]
    if len(waiting) < len(jobs):
        say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are there already")
    running: dict[subprocess.Popen[bytes], tuple[Job, int, float]] = {}
    free = list(range(at_once))
    try:
        while waiting or running:
            while waiting and free:
                job, place = waiting.pop(0), free.pop(0)
                running[_start(job, place, at_once)] = (job, place, time.perf_counter())
                say(f"{job.label}, seed {job.seed}: started, {job.log} follows it")
            time.sleep(_POLL)
            for process in [p for p in running if p.poll() is not None]:
                job, place, start = running.pop(process)
                free.append(place)
                say(f"{job.label}, seed {job.seed}: {_ended(job, process)} after {time.perf_counter() - start:.0f} s")
    finally:
        for process in running:
            process.terminate()  # a training keeps its last whole epoch
        for process in running:
            process.wait()


def finished(job: Job) -> bool:
    """Whether nothing is left to do for this run."""
    return (job.folder / "metrics.json").is_file() or (job.folder / DIVERGED).is_file()


def _start(job: Job, place: int, at_once: int) -> subprocess.Popen[bytes]:
    job.recipe.write(job.recipe_file)
    words = [sys.executable, "-m", "skystill", job.verb, str(job.recipe_file)]
    if job.verb == "distill":
        words.append("--no_doctor")  # who starts many runs looks once
    if (job.folder / LAST).is_file():
        words.append("--resume")
    with job.log.open("ab") as log:
        return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=_environment(place, at_once))


def _environment(place: int, at_once: int) -> dict[str, str]:
    """Processes side by side share the cores, and take a GPU each where there are several."""
    found = dict(os.environ)
    if at_once > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))
        if torch.cuda.device_count() > 1:
            found["CUDA_VISIBLE_DEVICES"] = str(place % torch.cuda.device_count())
    return found


def _ended(job: Job, process: subprocess.Popen[bytes]) -> str:
    """How it ended, in a word. Errors: what the run itself said when it failed."""
    if process.returncode == 0:
        return "done"
    last = _last_line(job.log)
    if process.returncode == DivergedError.code:
        (job.folder / DIVERGED).write_text(last + "\n", encoding="utf-8")
        return "diverged"
    raise (ConfigError if process.returncode == ConfigError.code else SkystillError)(
        f"{job.label}, seed {job.seed} failed: {last.removeprefix('skystill: ')} ({job.log})"
    )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
