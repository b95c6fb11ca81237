"""Lightning's Trainer as a recipe wants it, and an end by Ctrl-C that says how to go on."""

from __future__ import annotations

import csv
import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

from skystill.data.module import DataModule
from skystill.errors import ConfigError, SkystillError
from skystill.files import whole_file
from skystill.training.callbacks import EMA, EarlierRows, EpochBar, EpochLine, LastEpochValidates
from skystill.training.folder import LAST
from skystill.training.recipe import Recipe, TrainerConfig
from skystill.training.task import Task


def make_trainer(recipe: Recipe, folder: Path, callbacks: list[Callback]) -> pl.Trainer:
    """The Trainer, with its loggers and checkpoints in `folder`. Errors: ConfigError for what Lightning refuses."""
    config = recipe.trainer
    rows = _rows(folder / "metrics.csv")  # before a logger deletes them
    loggers: list[Logger] = [
        CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1),
        TensorBoardLogger(folder, name="", version="tensorboard"),
        *(_instance(spec) for spec in config.loggers),
    ]
    # Every epoch, whether it was validated, or better, or neither: what --resume goes on from.
    last = ModelCheckpoint(
        folder / LAST.parent, filename=LAST.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    shows_bar = config.progress and sys.stdout.isatty()
    with _refusals(config):
        trainer = pl.Trainer(
            **_machine(config),
            max_epochs=config.epochs,
            gradient_clip_val=config.clip or None,
            accumulate_grad_batches=config.accumulate,
            check_val_every_n_epoch=config.val_every,
            logger=loggers,
            callbacks=[
                EarlierRows(rows),
                *([EMA(recipe.optim.ema)] if recipe.optim.ema else []),
                LastEpochValidates(),
                EpochLine(),
                *([EpochBar(leave=False)] if shows_bar else []),
                *callbacks,
                last,
            ],
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=shows_bar,
            enable_model_summary=False,
            log_every_n_steps=10,
            default_root_dir=folder,
            plugins=[WholeCheckpoints()],
        )
    _check_precision(trainer, config)
    return trainer


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that appear whole or not at all: one that a full disk cut off could not be gone on from."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes beside `path`, then renames. Errors: SkystillError where it cannot be written."""
        held = io.BytesIO()
        torch.save(checkpoint, held)
        try:
            with whole_file(Path(path)) as part:
                part.write_bytes(held.getbuffer())
        except OSError as error:
            said = f"{path}: the checkpoint cannot be written ({error.strerror})"
            raise SkystillError(f"{said}. Make room, and give the same command with --resume.") from error


def check_machine(config: TrainerConfig) -> None:
    """Raises ConfigError where Lightning refuses this accelerator, these devices or this precision here."""
    with _refusals(config):
        trainer = pl.Trainer(**_machine(config), logger=False, enable_checkpointing=False, enable_model_summary=False)
    _check_precision(trainer, config)


def _machine(config: TrainerConfig) -> dict[str, Any]:
    """What of the Trainer's options the machine must bear."""
    several = config.devices not in (1, "1") and config.strategy == "auto"
    # A term of weight 0, or a batch without objects, leaves weights without gradient, which plain ddp refuses.
    strategy = "ddp_find_unused_parameters_true" if several else config.strategy
    return {
        "accelerator": config.accelerator,
        "devices": config.devices,
        "strategy": strategy,
        "precision": config.precision,
    }


@contextmanager
def _refusals(config: TrainerConfig) -> Iterator[None]:
    """Lightning's errors as ours."""
    try:
        yield
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        wants_gpu = config.accelerator in ("gpu", "cuda") and not torch.cuda.is_available()
        mend = " There is no GPU here: --trainer.accelerator cpu trains without." if wants_gpu else ""
        said = " ".join(str(error).split())
        raise ConfigError(f"the trainer cannot be made: {said}{mend}") from error


def _check_precision(trainer: pl.Trainer, config: TrainerConfig) -> None:
    if trainer.precision != config.precision:  # Lightning's silent choice where a processor lacks half precision
        raise ConfigError(f"{config.precision} needs a GPU. Give --trainer.precision {trainer.precision} or 32-true.")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training; the message says whether and how to go on. code: the exit code, 130 or 143."""

    code = 130


def run_loop(trainer: pl.Trainer, task: Task, data: DataModule, folder: Path, resume: bool) -> None:
    """Fits. Raises Interrupted when a signal ends it."""
    try:
        trainer.fit(task, data, ckpt_path=folder / LAST if resume else None, weights_only=True)
    except (SystemExit, RuntimeError) as stop:
        # SystemExit is Lightning's answer to Ctrl-C, which it ignores from then on, and to SIGTERM. One that goes to
        # all processes of the run, as schedulers send it, ends the loader's too, of which torch complains first.
        # To Lightning any error is an interruption.
        if not (trainer.received_sigterm or (trainer.interrupted and isinstance(stop, SystemExit))):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if hasattr(signal, "SIGCHLD"):  # else torch raises for each of the loader's processes, at any line
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        where = f"interrupted in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        if (folder / LAST).is_file():
            mend = f"{folder} holds all whole epochs. Give the same command with --resume to go on."
        else:
            mend = f"{folder} holds no whole epoch yet. Give the same command to start again."
        interrupted = Interrupted(f"{where}; {mend}")
        interrupted.code = 143 if trainer.received_sigterm else 130
        raise interrupted from stop


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def _instance(spec: dict[str, Any]) -> Logger:
    path = str(spec.get("class_path", ""))
    module, _, name = path.rpartition(".")
    try:
        logger = getattr(import_module(module), name)(**spec.get("init_args") or {})
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"trainer.loggers: {path!r} cannot be made ({error}).") from error
    if not isinstance(logger, Logger):
        raise ConfigError(f"trainer.loggers: {path!r} is no Lightning logger; those derive from {Logger.__module__}.")
    return logger
