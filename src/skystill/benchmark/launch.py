"""Runs trainings as processes of their own, a few at a time, each by the command that a user would type."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO
from zipfile import is_zipfile

import torch

from skystill.benchmark.plan import Job, check_same
from skystill.errors import ConfigError, DivergedError, SkystillError
from skystill.files import lock, write_text
from skystill.training.folder import AT_ONCE, LAST
from skystill.training.folder import finished as whole

DIVERGED = "diverged.txt"
_POLL = 0.2  # seconds between looks at the running processes


def run_jobs(jobs: Sequence[Job], at_once: int, say: Callable[[str], None]) -> None:
    """Runs what is missing; a finished run is kept, one that was cut off goes on from its last whole epoch.

    Several benchmarks may share a folder: each takes the runs that no other process is at. A run that diverged leaves
    diverged.txt in its folder and is not tried again. say: takes a line for the user.
    Errors: ConfigError when a folder holds a run of another recipe; SkystillError with the run's own line when one
    fails, after which the others are stopped. What they have done so far is kept.
    """
    waiting = missing(jobs, say)
    running: dict[subprocess.Popen[bytes], tuple[Job, int, float]] = {}
    free, elsewhere = list(range(at_once)), set[Job]()
    try:
        while waiting or running:
            for job in list(waiting) if free else []:
                log = _claim(job)
                if log is None:
                    if job not in elsewhere:
                        say(f"{job.label}, seed {job.seed}: another process is at it")
                    elsewhere.add(job)
                    continue
                waiting.remove(job)
                if finished(job):  # by that other process
                    log.close()
                    continue
                place = free.pop(0)
                running[_start(job, log, place, at_once)] = (job, place, time.perf_counter())
                say(f"{job.label}, seed {job.seed}: started, {job.log} follows it")
                if not free:
                    break
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


def missing(jobs: Sequence[Job], say: Callable[[str], None]) -> list[Job]:
    """The runs that are not finished; says how many are. Errors: ConfigError when a folder holds a run of another
    recipe."""
    for job in jobs:
        check_same(job)
    left = [job for job in jobs if not finished(job)]
    if len(left) < len(jobs):
        say(f"{len(jobs) - len(left)} of {len(jobs)} runs are there already")
    return left


def finished(job: Job) -> bool:
    """Whether nothing is left to do for this run; a damaged metrics.json is written anew."""
    return whole(job.folder, job.recipe) or (job.folder / DIVERGED).is_file()


def _claim(job: Job) -> IO[bytes] | None:
    """The run's log, locked for as long as the training that inherits it lives; None while another process has it."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = job.log.open("ab")
    if lock(log):
        return log
    log.close()
    return None


def _start(job: Job, log: IO[bytes], place: int, at_once: int) -> subprocess.Popen[bytes]:
    job.recipe.write(job.recipe_file)
    words = [sys.executable, "-m", "skystill", job.verb, str(job.recipe_file)]
    if job.verb == "distill":
        words.append("--no_doctor")  # who starts many runs looks once
    last = job.folder / LAST
    if last.is_file() and not is_zipfile(last):
        last.unlink()  # cut off, as copies are by a full disk: nothing to go on from
    if last.is_file():
        words.append("--resume")
    with log:
        return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=_environment(place, at_once))


def _environment(place: int, at_once: int) -> dict[str, str]:
    """Processes side by side share the cores, and take a GPU each where there are several."""
    found = dict(os.environ)
    found[AT_ONCE] = str(at_once)
    if at_once > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))
        if (count := torch.cuda.device_count()) > 1:
            ours = found.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
            found["CUDA_VISIBLE_DEVICES"] = ours[place % count]
    return found


def _ended(job: Job, process: subprocess.Popen[bytes]) -> str:
    """How it ended, in a word. Errors: what the run itself said when it failed."""
    if process.returncode == 0:
        return "done"
    last = _last_line(job.log)
    if process.returncode == DivergedError.code:
        write_text(job.folder / DIVERGED, last + "\n")
        return "diverged"
    raise (ConfigError if process.returncode == ConfigError.code else SkystillError)(
        f"{job.label}, seed {job.seed} failed: {last.removeprefix('skystill: ')} ({job.log})"
    )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
