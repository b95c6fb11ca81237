"""A run from recipe to run folder: `train` a detector alone, or `distill` it from teachers.

The run folder holds recipe.yaml (resolved), teachers.json (whom it learns from), metrics.csv, metrics.json,
student.safetensors (the plain detector), best.safetensors (the best validated epoch), checkpoints/ (to resume from) and
TensorBoard's events.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from contextlib import suppress
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from skystill.data.module import DataModule, Split
from skystill.detectors.base import Detector
from skystill.detectors.gfl import GFLConfig
from skystill.detectors.weights import PRESETS, create, load, save
from skystill.distillation.distiller import inherit
from skystill.distillation.methods import make_method
from skystill.errors import ConfigError
from skystill.evaluation.detections import detections_file, save_detections
from skystill.evaluation.errors import evaluate_errors
from skystill.evaluation.operating import noted
from skystill.files import write_text
from skystill.training.callbacks import BestWeights, StepTimer
from skystill.training.folder import AT_ONCE, finished, run_folder
from skystill.training.inside import Inside
from skystill.training.lessons import fill_caches
from skystill.training.loop import make_trainer, run_loop
from skystill.training.precision import keep_depthwise_in_float32
from skystill.training.recipe import Recipe
from skystill.training.scoring import collect, typical_cost
from skystill.training.settled import settled
from skystill.training.task import Distill, Task, Train, backbone_of, freeze_stages
from skystill.training.taught import file_digest, note_teachers
from skystill.training.teachers import make_distiller, notes_of, open_teachers

PACKAGES = ("skystill", "torch", "torchvision", "timm", "pytorch-lightning", "faster-coco-eval")


def train(recipe: Recipe, resume: bool = False) -> Path:
    """Trains the recipe's detector alone. Returns the run folder. resume: continue the run that the folder holds.

    Unlabelled images are left out, so that the recipe of a distillation trains what it is held against.
    """
    if recipe.data.unlabelled is not None:
        rank_zero_only(print)(
            f"data.unlabelled ({recipe.data.unlabelled}) is left out: without a teacher it says nothing."
        )
        recipe = replace(recipe, data=replace(recipe.data, unlabelled=None))
    return _run(recipe, "alone", resume)


def distill(recipe: Recipe, resume: bool = False) -> Path:
    """Trains the recipe's detector under its teachers. Returns the run folder."""
    recipe.check_taught()
    return _run(replace(recipe, method=settled(recipe.method)), recipe.method.name, resume)


def _run(recipe: Recipe, method: str, resume: bool) -> Path:
    recipe.check()
    folder = run_folder(recipe, method, resume)
    if resume and finished(folder, recipe):
        rank_zero_only(print)(f"{folder}: all {recipe.trainer.epochs} epochs are done and scored. It stays as it is.")
        return folder
    pl.seed_everything(recipe.seed, verbose=False)
    data = DataModule(recipe.data, recipe.seed)
    data.setup()
    if "train" not in data.datasets:
        raise ConfigError("the recipe has no train data. Give data.train, or data.scenes_train for synthetic scenes.")
    detector = make_detector(recipe, data.classes)
    if recipe.detector.freeze:
        freeze_stages(backbone_of(detector), recipe.detector.freeze)
    task = _task(recipe, method, detector, data)
    # Now, since by the end another may lie there.
    teachers = [_teacher(path) for path in recipe.teacher.weights] if isinstance(task, Distill) else []
    if recipe.trainer.channels_last:
        task.to(memory_format=torch.channels_last)
    if recipe.trainer.compile:
        detector.compile()
    timer, best = StepTimer(), BestWeights(folder / "best.safetensors", {"method": method, "seed": recipe.seed})
    compares = recipe.trainer.epochs > recipe.trainer.val_every and "val" in data.datasets
    inside = [Inside(folder / "inside", recipe.trainer.inspect_every)] if recipe.trainer.inspect_every else []
    trainer = make_trainer(recipe, folder, [timer, *([best] if compares else []), *inside])
    if recipe.trainer.precision == "bf16-mixed" and trainer.strategy.root_device.type == "cpu":
        keep_depthwise_in_float32(detector)
    if isinstance(task, Distill) and recipe.teacher.cache is not None:
        device = trainer.strategy.root_device
        caches, timer.filled = fill_caches(task.distiller, recipe.teacher, data, device, recipe.seed)
        task.distiller.use_caches(caches)
    data.pad_for(task.distiller.multiple if isinstance(task, Distill) else detector.multiple, scored=detector.multiple)
    if trainer.is_global_zero:  # only now, when nothing can be refused any more
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write(folder / "recipe.yaml")
        if teachers:
            note_teachers(folder, teachers)
    run_loop(trainer, task, data, folder, resume)
    seconds = timer.seconds()
    if trainer.is_global_zero:
        data.trainer = None  # one process scores every image, not its share of them
        extra = {"best": best.summary()} if compares else {}
        figures = {"teachers": teachers, "train_s": round(seconds, 1), **timer.summary(), **extra}
        _finish(recipe, method, folder, task, data, figures)
    return folder


def make_detector(recipe: Recipe, classes: tuple[str, ...]) -> Detector:
    """The recipe's detector, fresh or from its weights. Errors: ConfigError when the weights know other classes, or it
    predicts another kind of boxes than the data has."""
    wanted, kind = recipe.detector, recipe.data.kind
    name = wanted.weights or wanted.preset
    if wanted.weights is not None:
        detector = load(wanted.weights)
        if detector.classes != classes:
            raise ConfigError(
                f"{wanted.weights}: knows the classes {', '.join(detector.classes)}, the data has "
                f"{', '.join(classes)}. Give weights of these classes, or a preset to start anew."
            )
    else:
        preset = PRESETS.get(wanted.preset)
        parts = () if preset is None else {field.name for field in fields(preset)}
        settings: dict[str, Any] = {"in_chans": recipe.data.bands} if "in_chans" in parts else {}
        if isinstance(preset, GFLConfig):
            settings["kind"] = kind
        detector = create(wanted.preset, classes, wanted.backbone_weights, **settings | wanted.settings)
    if detector.kind != kind:
        raise ConfigError(
            f"{name} predicts {detector.kind} boxes, and data.kind is {kind}. Set --data.kind {detector.kind}, or "
            f"choose a detector of {kind} boxes, such as GFL's presets."
        )
    return detector.train()


def _task(recipe: Recipe, method: str, detector: Detector, data: DataModule) -> Task:
    if method == "alone":
        return Train(recipe, detector)
    teachers = open_teachers(recipe.teacher, data)
    if recipe.teacher.inherit:
        inherit(detector, teachers[0])
    chosen = make_method(recipe.method.name, recipe.method.settings, recipe.method.weights)
    return Distill(recipe, make_distiller(recipe.teacher, detector, teachers, chosen))


def _finish(recipe: Recipe, method: str, folder: Path, task: Task, data: DataModule, figures: dict[str, Any]) -> None:
    """Scores val and test with the final weights, saves the plain detector, writes metrics.json."""
    detector = task.best_weights.eval()
    splits: list[Split] = ["val", "test"] if recipe.trainer.test else ["val"]
    seen = {s: collect(detector, data, s, recipe.trainer.max_dets) for s in splits if s in data.datasets}
    scores = {split: found.compute() for split, found in seen.items()}
    for split, found in seen.items():
        save_detections(detections_file(folder, split), found.detections, [t.name for t in found.targets])
    errors = {s: evaluate_errors(v.detections, v.targets, v.classes, v.max_dets).as_dict() for s, v in seen.items()}
    more = {split: noted(found) for split, found in seen.items()}
    notes: dict[str, Any] = {
        split: {**found.summary(), "per_class": found.by_class(), **more[split]} for split, found in scores.items()
    }
    save(detector, folder / "student.safetensors", {"method": method, "seed": recipe.seed, **notes})
    metrics: dict[str, Any] = {
        "name": recipe.name or folder.name,
        "method": method,
        "seed": recipe.seed,
        **{split: {**found.as_dict(), **more[split], "errors": errors[split]} for split, found in scores.items()},
        "images": {split: data.datasets[split].identity() for split in seen},
        "epochs": recipe.trainer.epochs,
        "cost": typical_cost(detector, data).as_dict(),
        **figures,
        "command": shlex.join(["skystill", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))


def _teacher(path: str) -> dict[str, Any]:
    """A teacher's file, its digest, and the scores it carries."""
    notes = notes_of(path)
    scores: dict[str, Any] = {split: notes[split] for split in ("val", "test") if split in notes}
    return {"weights": path, "digest": file_digest(path), **scores}


def machine() -> str:
    """Processor, threads and accelerator, in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = torch.get_num_threads()
    cores = f"{os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}"
    others = int(os.environ.get(AT_ONCE, "1"))
    shared = f"{others} runs at once" if others > 1 else ""
    return ", ".join(filter(None, [f"{platform.machine()} {platform.system()}", _processor(), cores, gpu, shared]))


def _processor() -> str:
    """The processor's name where Linux tells it."""
    with suppress(OSError):
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        return found[1].strip() if found else ""
    return ""
