"""Small callbacks of the training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from skystill.contention import waited
from skystill.detectors.base import Detector
from skystill.detectors.weights import save
from skystill.memory import peak_memory, restart_peak, status
from skystill.training.task import Task


class EMA(pl.Callback):
    """Running average of the detector's weights and statistics, with a decay that grows: min(decay, (1 + n) / (10 +
    n))."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: AveragedModel | None = None
        self._loaded: dict[str, Any] | None = None
        self._step = -1

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts from the detector's present weights, or from a checkpoint's average."""
        assert isinstance(pl_module, Task)
        self._average = AveragedModel(pl_module.detector, multi_avg_fn=self._blend, use_buffers=True)
        if self._loaded is not None:
            self._average.load_state_dict(self._loaded)
        self._average.requires_grad_(False)
        pl_module.set_averaged(cast(Detector, self._average.module))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The step that training goes on from; a checkpoint's count is back only now."""
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Blends once for each optimizer step."""
        if trainer.global_step != self._step and self._average is not None:
            assert isinstance(pl_module, Task)
            self._step = trainer.global_step
            self._average.update_parameters(pl_module.detector)

    def state_dict(self) -> dict[str, Any]:
        """The average, for the checkpoint."""
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until the fit starts."""
        self._loaded = state_dict or None

    @torch.no_grad()
    def _blend(self, averages: Sequence[Tensor], values: Sequence[Tensor], n: Tensor | int) -> None:
        decay = min(self.decay, (1 + int(n)) / (10 + int(n)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


class StepTimer(pl.Callback):
    """Median seconds of a training step, loading not counted, the seconds of the fit, and the peak memory of the run.

    Times live on in checkpoints, so a resumed run counts its first part too.
    filled: seconds of filling teacher caches before the fit, which are apart from it; None for a run without any.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._began: float | None = None
        self._earlier = 0.0
        self._waited = self._waited_before = 0.0
        self.filled: float | None = None
        self._mapped = self._peak = 0.0
        self._device = torch.device("cpu")
        self.steps: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Starts the clock of the fit."""
        self._device = trainer.strategy.root_device
        restart_peak(self._device)
        self._began, self._mapped = time.perf_counter(), _mapped()

    def on_train_batch_start(self, *_: Any) -> None:
        """Starts the clock of a step."""
        self._start, self._waited_before = time.perf_counter(), waited()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stops the clock of a step, when the GPU has done it: so there is nothing left to wait for at the next."""
        if self._device.type in ("cuda", "mps"):
            getattr(torch, self._device.type).synchronize()
        self.steps.append(time.perf_counter() - self._start)
        self._waited += waited() - self._waited_before

    def seconds(self) -> float:
        """Since the fit started, validation included, with what came before a resume."""
        return self._earlier + (0.0 if self._began is None else time.perf_counter() - self._began)

    def state_dict(self) -> dict[str, Any]:
        """Times and peak so far, for the checkpoint."""
        return {
            "steps": self.steps,
            "seconds": self.seconds(),
            "peak": self.peak(),
            "filled": self.filled,
            "waited": self._waited,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Times and peak so far, from the checkpoint; those of older versions hold no peak and nothing of caches and
        waiting."""
        self.steps, self._earlier = list(state_dict["steps"]), state_dict["seconds"]
        self._peak, self._waited = state_dict.get("peak", 0.0), state_dict.get("waited", math.nan)
        if self.filled is not None:
            self.filled += state_dict.get("filled") or 0.0

    def peak(self) -> float:
        """Bytes: of the GPU, else of the process without the pages of files that it read in the meantime, which the
        system drops when it needs room; since the fit started where the system can tell, and of what came before a
        resume."""
        files = 0.0 if self._device.type == "cuda" else max(0.0, _mapped() - self._mapped)
        return max(self._peak, peak_memory(self._device) - files)

    def summary(self) -> dict[str, float]:
        """step_s: median seconds a step, the first ten (warm-up) left out. peak_mb: see `peak`. cache_fill_s: `filled`,
        where there are caches. waited: share of all steps in which other programs had the cores, where it is known."""
        kept = sorted(self.steps[10:] or self.steps)
        step = round(kept[len(kept) // 2], 4) if kept else 0.0
        filled = {} if self.filled is None else {"cache_fill_s": round(self.filled, 1)}
        share = self._waited / sum(self.steps) if self.steps else math.nan
        told = {} if math.isnan(share) else {"waited": round(share, 3)}
        return {"step_s": step, "peak_mb": round(self.peak() / 2**20, 1), **told, **filled}


def _mapped() -> float:
    """Bytes of files that are mapped into this process and in memory, such as a teacher cache's; 0 where not told."""
    with suppress(OSError, KeyError):
        return status("RssFile")
    return 0.0


class EpochLine(pl.Callback):
    """One line an epoch, which stays in logs and on terminals."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._start, self._validated = time.perf_counter(), False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning keeps old scores among its metrics; only an epoch that was validated shows them."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the mean of every loss term, the scores of a validated epoch, and the seconds."""
        if not trainer.is_global_zero:
            return
        values = {k: float(v) for k, v in trainer.callback_metrics.items()}
        terms = " ".join(f"{k[6:]} {v:.3f}" for k, v in values.items() if k.startswith("train/") and k != "train/loss")
        score = f" | val AP {values['val/ap']:.1f} AP50 {values['val/ap50']:.1f}" if self._validated else ""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        seconds = time.perf_counter() - self._start
        print(f"epoch {epoch}/{epochs} {seconds:.0f} s | loss {values['train/loss']:.3f} = {terms}{score}", flush=True)


class EpochBar(RichProgressBar):
    """The epoch in progress, on a terminal; gone at its end."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """None: Lightning shows the loggers' version there, and `EpochLine` says the rest."""
        return {}

    def _get_train_description(self, current_epoch: int) -> str:
        """Counted from 1, as everywhere else; Lightning's own starts at 0."""
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"


class LastEpochValidates(pl.Callback):
    """Validates after the last epoch too, whatever trainer.val_every says."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning asks the Trainer anew after every epoch."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


class BestWeights(pl.Callback):
    """Writes the plain detector whenever a validation beats all before it in COCO's AP.

    path: the weights file. notes: kept in its header beside epoch and scores.
    """

    def __init__(self, path: Path, notes: dict[str, Any]) -> None:
        self.path, self.notes = path, notes
        self.ap, self.epoch = -1.0, 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves when this epoch is the best so far."""
        assert isinstance(pl_module, Task)
        assert pl_module.scores is not None
        ap = float(trainer.callback_metrics["val/ap"])
        if ap <= self.ap:
            return
        self.ap, self.epoch = ap, trainer.current_epoch + 1
        if trainer.is_global_zero:
            notes = {**self.notes, "epoch": self.epoch, "val": pl_module.scores.summary() | pl_module.point()}
            save(pl_module.best_weights, self.path, notes)

    def summary(self) -> dict[str, float]:
        """epoch: whose weights were kept, counted from 1. ap: its score on val."""
        return {"epoch": self.epoch, "ap": self.ap}

    def state_dict(self) -> dict[str, Any]:
        """The score to beat, for the checkpoint."""
        return {"ap": self.ap, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The score to beat, from the checkpoint."""
        self.ap, self.epoch = state_dict["ap"], state_dict["epoch"]


class EarlierRows(pl.Callback):
    """Puts the rows of an interrupted run's metrics.csv back, since Lightning's CSVLogger starts a new file."""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        self.rows = rows

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the rows of the epochs that the checkpoint holds."""
        self._put_back(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes them where the run was cut off between training and scoring, so that no training starts."""
        self._put_back(trainer)

    def _put_back(self, trainer: pl.Trainer) -> None:
        kept = [row for row in self.rows if int(row["epoch"]) < trainer.current_epoch]
        self.rows = []
        for logger in trainer.loggers if kept and trainer.is_global_zero else ():
            if isinstance(logger, CSVLogger):
                logger.experiment.metrics[:0] = kept
                logger.save()
