"""The whole path on an embedded default: scenes, teacher, student alone, student with LTD, proof.

Everything a real run does, by the same functions that the verbs call, on rendered scenes and with the teacher that
ships in `assets/` (its recipe: recipes/gfl_lite0_synthetic.yaml).
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from skystill.contention import marked, note
from skystill.data.config import DataConfig
from skystill.data.module import DataModule
from skystill.detectors.base import Detector
from skystill.detectors.weights import load
from skystill.errors import SkystillError, WeightsError
from skystill.evaluation.coco import CocoEvaluator, CocoScores
from skystill.evaluation.compare import FIGURES, gap_closed, text_of
from skystill.evaluation.cost import Cost
from skystill.evaluation.draw import picture_data_uri, side_by_side
from skystill.evaluation.operating import best_f1
from skystill.evaluation.report import Section, TableData, write_report
from skystill.evaluation.runs import Run, read_runs
from skystill.evaluation.sections import bindings_section, curves_section, figures_text
from skystill.files import write_text
from skystill.memory import peak_memory
from skystill.training.folder import LAST, run_folder
from skystill.training.recipe import DetectorConfig, MethodConfig, OptimConfig, Recipe, TeacherConfig, TrainerConfig
from skystill.training.scoring import collect, typical_cost
from skystill.training.settled import settled

TEACHER = Path(__file__).parent / "assets" / "demo_teacher.safetensors"
TEACHER_FLOOR = 5.0  # AP on the demo's test scenes under which the shipped teacher must have been damaged
PICTURES = 6  # scenes in the report
NAMES = {"teacher": "teacher", "alone": "student alone", "ltd": "student with LTD"}


def demo_recipe(out: Path, seed: int = 0) -> Recipe:
    """The demo's recipe: a MobileNetV3-small from a random start, both runs in five minutes on two cores.

    Crops of 160 px give more steps in the same time than whole scenes. Nothing but `method` knows of the teacher.
    """
    return Recipe(
        data=DataConfig(
            format="synthetic",
            scene_size=256,
            scenes_train=400,
            scenes_val=40,
            scenes_test=160,
            crop=160,
            batch=8,
            workers=0,
        ),
        detector=DetectorConfig("gfl_mnv3s"),
        teacher=TeacherConfig([str(TEACHER)]),
        method=MethodConfig("ltd"),
        optim=OptimConfig("adamw", lr=1e-2, warmup=100, ema=0.99),
        trainer=TrainerConfig(epochs=16, val_every=8, accelerator="cpu"),
        seed=seed,
        out=str(out),
        name="demo",
    )


def run_demo(out: Path, seed: int = 0) -> dict[str, Any]:
    """Runs the demo into the folder `out`. Returns what summary.json holds.

    What is there of an earlier demo is kept, and gone on with. Errors: WeightsError when the shipped teacher is missing
    or scores below its floor; ConfigError when `out` holds runs of another seed or cannot be written.
    """
    console, started = Console(), time.perf_counter()
    recipe = demo_recipe(out, seed)
    runs = {"alone": out / "alone", "ltd": out / "ltd"}
    for key, folder in runs.items():
        same = replace(recipe, out=str(folder), method=settled(recipe.method))
        run_folder(same, key, resume=(folder / LAST).is_file())

    console.rule("1  scenes")
    data = DataModule(recipe.data, seed)
    data.setup()
    console.print(
        f"{recipe.data.scenes_train} synthetic scenes to learn from, {recipe.data.scenes_test} held out for the test, "
        f"{recipe.data.scene_size} px. Classes: {', '.join(data.classes)}.",
        highlight=False,
    )
    console.rule("2  teacher")
    detectors: dict[str, Detector] = {"teacher": load(TEACHER)}
    seen = {"teacher": collect(detectors["teacher"], data, "test")}
    scores = {"teacher": seen["teacher"].compute()}
    console.print(f"{TEACHER.name}: AP {scores['teacher'].ap:.1f} on the test scenes.", highlight=False)
    if not scores["teacher"].ap >= TEACHER_FLOOR:
        raise WeightsError(
            f"{TEACHER}: AP {scores['teacher'].ap:.1f} on the test scenes; it is damaged. Install again."
        )

    console.rule("3  student alone, and the same student with LTD, side by side")
    peak = _train_both(recipe, runs, console)
    for key in runs:
        detectors[key] = load(runs[key] / "student.safetensors")
        seen[key] = collect(detectors[key], data, "test")
        scores[key] = seen[key].compute()

    console.rule("4  proof")
    least = {key: _best_score(detector, data) for key, detector in detectors.items()}
    costs = {key: typical_cost(detector, data) for key, detector in detectors.items()}
    closed = gap_closed(*(scores[key].ap for key in ("teacher", "alone", "ltd")))
    summary = {key: _summary(scores[key], costs[key]) for key in NAMES} | {"gap_closed": closed, "seed": seed}
    table = _table(scores, costs)
    write_report(
        out / "report.html",
        "A student, alone and with LTD",
        f"skystill demo, seed {seed}: the same student, scenes, order and schedule. The second had a teacher, "
        "from whose features and predictions it learned.",
        _sections(table, _verdict(scores, closed), read_runs(list(runs.values())), _pictures(data, seen, least), least),
    )
    own = peak_memory(torch.device("cpu")) / 2**20
    summary |= {"seconds": round(time.perf_counter() - started, 1), "peak_mb": round(max(own, peak), 1)}
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    console.print(_rich(table))
    console.print(_verdict(scores, closed), highlight=False)
    console.print(f"{summary['seconds']:.0f} s, peak {summary['peak_mb']:.0f} MB", highlight=False)
    console.print(
        f"report   {out / 'report.html'}\nstudent  {runs['ltd'] / 'student.safetensors'}",
        highlight=False,
        soft_wrap=True,
    )
    return summary


def _train_both(recipe: Recipe, runs: dict[str, Path], console: Console) -> float:
    """Both trainings at once, by the verbs, with half of the cores each: small steps gain little from more threads.

    Returns the peak memory of this process and the two together, in MiB. Errors: SkystillError with the line that the
    failed verb gave.
    """
    path = next(iter(runs.values())).parent / "recipe.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe.write(path)
    threads = max(1, (os.cpu_count() or 2) // len(runs))
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    running: dict[str, subprocess.Popen[str]] = {}
    for key, verb in (("alone", "train"), ("ltd", "distill")):
        command = ["skystill", verb, str(path), "--out", str(runs[key])]
        command += ["--resume"] if (runs[key] / LAST).is_file() else []
        console.print(" ".join(command), highlight=False, soft_wrap=True)
        running[key] = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    said: dict[str, list[str]] = {key: [] for key in running}
    readers = [Thread(target=_relay, args=(key, run, said[key], console)) for key, run in running.items()]
    for reader in readers:
        reader.start()
    peak, pids = 0.0, [os.getpid(), *(run.pid for run in running.values())]
    try:
        while any(reader.is_alive() for reader in readers):
            peak = max(peak, sum(map(_memory_mb, pids)))
            time.sleep(1)
    except KeyboardInterrupt:
        for run in running.values():
            run.terminate()
        raise
    for key, run in running.items():
        if run.wait() != 0:
            words = said[key][-1] if said[key] else "the training stopped without a word."
            raise SkystillError(f"{NAMES[key]}: {words}")
    return peak


def _memory_mb(pid: int) -> float:
    """A process's memory in MiB, with its share of the pages that others use too; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _relay(key: str, run: subprocess.Popen[str], said: list[str], console: Console) -> None:
    """Shows a training's epochs as they come; keeps all that it says."""
    assert run.stdout is not None
    for line in run.stdout:
        said.append(line.strip())
        if line.startswith("epoch"):
            console.print(f"{key:>5}  {line.strip()}", highlight=False, soft_wrap=True)


def _summary(scores: CocoScores, cost: Cost) -> dict[str, Any]:
    """A detector's line of summary.json; a figure without objects is null."""
    figures = {name: None if math.isnan(value) else round(value, 3) for name, value in scores.summary().items()}
    return {**figures, "parameters": cost.parameters, "gflops": round(cost.gflops, 4), "ms": round(cost.total.p50, 2)}


def _verdict(scores: dict[str, CocoScores], closed: float) -> str:
    gain = scores["ltd"].ap - scores["alone"].ap
    return f"LTD: {gain:+.1f} AP over the student alone; {closed:.0%} of its gap to the teacher is closed."


def _table(scores: dict[str, CocoScores], costs: dict[str, Cost]) -> TableData:
    rows = []
    for key, name in NAMES.items():
        cost = costs[key]
        figures = [text_of(getattr(scores[key], figure)) for figure in FIGURES]
        price = [f"{cost.parameters / 1e6:.2f}", f"{cost.gflops:.2f}", marked(f"{cost.total.p50:.0f}", cost.waited)]
        rows.append([name, *figures, *price])
    said = note(cost.waited for cost in costs.values())
    return TableData(["", *FIGURES.values(), "M param", "GFLOP", "ms p50"], rows, len(rows) - 1, said)


def _rich(table: TableData) -> Table:
    shown = Table(title="test scenes", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=table.caption or None)
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left", no_wrap=True)
    for number, row in enumerate(table.rows):
        shown.add_row(*row, style="bold green" if number == table.mark else None)
    return shown


def _best_score(detector: Detector, data: DataModule) -> float:
    """The score of a detector's best F1 on the val scenes."""
    seen = collect(detector, data, "val")
    point = best_f1(seen.detections, seen.targets, data.classes)
    return 0.3 if point is None else point.score


def _pictures(data: DataModule, seen: dict[str, CocoEvaluator], least: dict[str, float]) -> list[tuple[str, str]]:
    """The first test scenes that hold objects: truth, teacher, alone, distilled.

    least: score from which on each one's detections are drawn.
    """
    pictures: list[tuple[str, str]] = []
    for index, truth in enumerate(seen["teacher"].targets):
        if len(truth) and len(pictures) < PICTURES:
            image, _ = data.datasets["test"][index]
            found = {NAMES[key]: one.detections[index].above(least[key]) for key, one in seen.items()}
            sheet = side_by_side(image, {"truth": truth, **found}, data.classes)
            pictures.append((picture_data_uri(sheet), truth.name))
    return pictures


def _sections(
    table: TableData, verdict: str, runs: list[Run], pictures: list[tuple[str, str]], least: dict[str, float]
) -> list[Section]:
    scores = ", ".join(f"{NAMES[key]} {score:.2f}" for key, score in least.items())
    drawn = f"Drawn are detections from the score of each one's best F1 on val: {scores}."
    recipe = (runs[1].folder / "recipe.yaml").read_text(encoding="utf-8")
    return [
        Section("Result", [verdict], [table]),
        Section("What they see", ["The first test scenes that hold objects.", drawn], images=pictures),
        *curves_section(runs),
        *bindings_section(runs),
        Section("How it was made", details={"recipe": recipe, "metrics": figures_text(runs[1])}),
    ]
