"""A run from recipe to run folder: `train` a detector alone, or `distill` it from teachers.

The run folder holds recipe.yaml (resolved), metrics.csv, metrics.json, student.safetensors (the plain detector),
best.safetensors (the best validated epoch), checkpoints/ (to resume from) and TensorBoard's events.
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from skystill.data.module import DataModule, Split
from skystill.detectors.base import Detector
from skystill.detectors.weights import create, load, save
from skystill.distillation.distiller import Distiller
from skystill.distillation.methods import make_method
from skystill.errors import ConfigError
from skystill.training.callbacks import EMA, EpochLine, StepTimer
from skystill.training.recipe import Recipe
from skystill.training.scoring import collect
from skystill.training.task import Distill, Task, Train, freeze_stages

PACKAGES = ("skystill", "torch", "torchvision", "timm", "pytorch-lightning", "faster-coco-eval")


def train(recipe: Recipe, resume: bool = False) -> Path:
    """Trains the recipe's detector alone. Returns the run folder. resume: continue the run that the folder holds."""
    return _run(recipe, "alone", resume)


def distill(recipe: Recipe, resume: bool = False) -> Path:
    """Trains the recipe's detector under its teachers. Returns the run folder."""
    if not recipe.teacher.weights:
        raise ConfigError("the recipe names no teacher. Give --teacher.weights '[teacher.safetensors]'.")
    return _run(recipe, recipe.method.name, resume)


def _run(recipe: Recipe, method: str, resume: bool) -> Path:
    recipe.check()
    folder = run_folder(recipe, method, resume)
    pl.seed_everything(recipe.seed, verbose=False)
    data = DataModule(recipe.data, recipe.seed)
    data.setup()
    detector = make_detector(recipe, data.classes)
    if recipe.detector.freeze:
        freeze_stages(detector.get_submodule("backbone"), recipe.detector.freeze)
    task = _task(recipe, method, detector)
    if recipe.trainer.channels_last:
        task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe.trainer.compile:
        detector.compile()
    recipe.write(folder / "recipe.yaml")
    timer = StepTimer()
    trainer = _trainer(recipe, folder, timer)
    started = time.perf_counter()
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(task, data, ckpt_path=last if resume else None, weights_only=True)
    seconds = time.perf_counter() - started
    if trainer.is_global_zero:
        _finish(recipe, method, folder, task, data, timer, seconds)
    return folder


def run_folder(recipe: Recipe, method: str, resume: bool) -> Path:
    """The run's folder, made if need be. Errors: ConfigError when it holds another run or cannot be written."""
    folder = Path(recipe.out or f"runs/{recipe.name or 'run'}-{method}-seed{recipe.seed}")
    held = (folder / "checkpoints" / "last.ckpt").is_file()
    if resume and not held:
        raise ConfigError(f"{folder}: no checkpoint to resume from. Leave --resume away to start.")
    if not resume and (held or (folder / "metrics.json").exists()):
        raise ConfigError(f"{folder}: holds a run already. Add --resume to go on with it, or give another --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}). Give another --out.") from error
    return folder


def make_detector(recipe: Recipe, classes: tuple[str, ...]) -> Detector:
    """The recipe's detector, fresh or from its weights. Errors: ConfigError when the weights know other classes."""
    wanted = recipe.detector
    if wanted.weights is not None:
        detector = load(wanted.weights)
        if detector.classes != classes:
            raise ConfigError(
                f"{wanted.weights}: knows the classes {', '.join(detector.classes)}, the data has {', '.join(classes)}."
            )
        return detector.train()
    settings = {"in_chans": recipe.data.bands} | wanted.settings
    return create(wanted.preset, classes, wanted.backbone_weights, **settings).train()


def _task(recipe: Recipe, method: str, detector: Detector) -> Task:
    if method == "alone":
        return Train(recipe, detector)
    wanted = recipe.teacher
    teachers = [load(path) for path in wanted.weights]
    settled = make_method(recipe.method.name, recipe.method.settings)
    return Distill(recipe, Distiller(detector, teachers, settled, wanted.scale, wanted.bf16))


def _trainer(recipe: Recipe, folder: Path, timer: StepTimer) -> pl.Trainer:
    config = recipe.trainer
    loggers: list[Logger] = [
        CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1),
        TensorBoardLogger(folder, name="", version="tensorboard"),
        *(_instance(spec) for spec in config.loggers),
    ]
    keep = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor="val/ap" if _validates(recipe) else None,
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [keep, timer]
    shows_bar = config.progress and sys.stdout.isatty()
    if recipe.optim.ema:
        callbacks.append(EMA(recipe.optim.ema))
    callbacks.append(RichProgressBar(leave=False) if shows_bar else EpochLine())
    several = config.devices not in (1, "1") and config.strategy == "auto"
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        # Bindings that fade out leave adapters without gradient, which plain ddp refuses.
        strategy="ddp_find_unused_parameters_true" if several else config.strategy,
        precision=config.precision,
        max_epochs=config.epochs,
        gradient_clip_val=config.clip or None,
        accumulate_grad_batches=config.accumulate,
        check_val_every_n_epoch=config.val_every if config.epochs >= config.val_every else config.epochs,
        logger=loggers,
        callbacks=callbacks,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=shows_bar,
        enable_model_summary=False,
        log_every_n_steps=10,
        default_root_dir=folder,
    )


def _validates(recipe: Recipe) -> bool:
    if recipe.data.format == "synthetic":
        return recipe.data.scenes_val > 0
    return recipe.data.val is not None


def _instance(spec: dict[str, Any]) -> Logger:
    module, _, name = spec.get("class_path", "").rpartition(".")
    try:
        logger: Logger = getattr(import_module(module), name)(**spec.get("init_args", {}))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"trainer.loggers: {spec.get('class_path')!r} cannot be made ({error}).") from error
    return logger


def _finish(
    recipe: Recipe, method: str, folder: Path, task: Task, data: DataModule, timer: StepTimer, seconds: float
) -> None:
    """Scores val and test with the final weights, saves the plain detector, writes metrics.json."""
    detector = task.best_weights.eval()
    splits: list[Split] = ["val", "test"] if recipe.trainer.test else ["val"]
    device = next(detector.parameters()).device
    scores = {
        s: collect(detector, data, s, recipe.trainer.max_dets, device).compute() for s in splits if s in data.datasets
    }
    notes = {split: found.summary() for split, found in scores.items()}
    save(detector, folder / "student.safetensors", {"method": method, "seed": recipe.seed, **notes})
    metrics = {
        "name": recipe.name or folder.name,
        "method": method,
        "seed": recipe.seed,
        **{split: found.as_dict() for split, found in scores.items()},
        "epochs": recipe.trainer.epochs,
        "train_s": round(seconds, 1),
        **timer.summary(),
        "command": shlex.join(["skystill", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")


def machine() -> str:
    """Processor, threads and accelerator, in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.machine()} {platform.system()}, {torch.get_num_threads()} threads, {gpu}"
