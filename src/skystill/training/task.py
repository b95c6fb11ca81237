"""The two LightningModules: Train (a detector alone) and Distill (a detector under teachers)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from skystill.boxes.nms import clip_to_images, counted
from skystill.detectors.base import Detector
from skystill.distillation.distiller import Distiller
from skystill.errors import ConfigError, DivergedError
from skystill.evaluation.coco import CocoEvaluator, CocoScores
from skystill.evaluation.operating import noted
from skystill.structures import Batch, Detections, Targets
from skystill.training.recipe import OptimConfig, Recipe


class Task(pl.LightningModule, ABC):
    """What both tasks share: the optimizer, the schedule, validation by COCO's protocol.

    averaged: the running average of the detector's weights, set by the EMA callback; what is validated and saved.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.scores: CocoScores | None = None
        self._averaged: tuple[Detector, ...] = ()  # in a tuple it is no submodule, so checkpoints hold it once

    @property
    @abstractmethod
    def detector(self) -> Detector:
        """The detector in training."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is minimised."""

    @property
    def best_weights(self) -> Detector:
        """The averaged detector where there is one, else the detector itself."""
        return self._averaged[0] if self._averaged else self.detector

    def done(self) -> float:
        """The share of the steps that are done."""
        return self.global_step / max(1, int(self.trainer.estimated_stepping_batches))

    def set_averaged(self, detector: Detector) -> None:
        """Makes `detector` the one that is validated and saved."""
        self._averaged = (detector,)

    def on_train_epoch_start(self) -> None:
        """Chance inside the step depends on seed, epoch and worker alone, so a resumed run continues bit by bit."""
        torch.manual_seed(self.recipe.seed * 100_003 + self.current_epoch + self.global_rank * 10_000_019)
        self.detector.train()
        if self.recipe.detector.freeze_norms:
            keep_norms(backbone_of(self.detector))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; every term is logged by name."""
        if self.recipe.trainer.channels_last:
            batch.images.data = batch.images.contiguous(memory_format=torch.channels_last)
        terms = self.losses(batch)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            self._stop(terms, batch)
        values = {f"train/{name}": value.detach() for name, value in terms.items()}
        self.log_dict(
            values | {"train/loss": total.detach()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch.targets),
            sync_dist=True,
        )
        return total

    def _stop(self, terms: dict[str, Tensor], batch: Batch) -> None:
        bad = [f"{name} is {value.item()}" for name, value in terms.items() if not torch.isfinite(value)]
        names = ", ".join(t.name for t in batch.targets)
        raise DivergedError(
            f"epoch {self.current_epoch}, step {self.global_step}: loss term {', '.join(bad) or 'sum overflows'}; "
            f"images: {names}. Lower optim.lr or raise optim.warmup, and look at these images with "
            "`skystill data inspect`."
        )

    def on_validation_epoch_start(self) -> None:
        """A fresh evaluator."""
        self._evaluator = CocoEvaluator(self.detector.classes, self.recipe.trainer.max_dets)
        self.best_weights.eval()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Detections of the averaged weights, collected."""
        found = self.best_weights.predict(batch.images, counted(self.recipe.trainer.max_dets))
        found = clip_to_images(found, batch.sizes)
        self._evaluator.update(found, batch.targets)

    def on_validation_epoch_end(self) -> None:
        """COCO's figures over all workers, logged as val/ap, val/ap50 and so on."""
        gather_evaluator(self._evaluator, self.trainer.world_size)
        if self.trainer.sanity_checking:
            return
        self.scores = self._evaluator.compute()
        figures = {f"val/{k}": v for k, v in self.scores.summary().items() if not math.isnan(v)}  # a size may be absent
        figures = dict.fromkeys(("val/ap", "val/ap50"), 0.0) | figures  # asked for every epoch, objects or not
        self.log_dict(figures, rank_zero_only=self.trainer.world_size == 1, sync_dist=False)

    def point(self) -> dict[str, Any]:
        """Where the last validation had its best F1, as a weights file notes it."""
        return noted(self._evaluator)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW or SGD, warm-up, then cosine or steps."""
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = max(1, steps // self.recipe.trainer.epochs)
        optimizer = make_optimizer(self, self.recipe.optim)
        scheduler = LambdaLR(optimizer, lambda step: lr_factor(self.recipe.optim, step, steps, per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Train(Task):
    """A detector by its own losses."""

    def __init__(self, recipe: Recipe, detector: Detector) -> None:
        super().__init__(recipe)
        self.model = detector

    @property
    def detector(self) -> Detector:
        """The detector in training."""
        return self.model

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The detector's own."""
        self.model.set_progress(self.done())
        return dict(self.model(batch.images, batch.targets).losses)


class Distill(Task):
    """A detector by its own losses and a method's."""

    def __init__(self, recipe: Recipe, distiller: Distiller) -> None:
        super().__init__(recipe)
        self.distiller = distiller
        self._bindings: dict[str, list[Tensor]] = {}

    @property
    def detector(self) -> Detector:
        """The student."""
        return self.distiller.student

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Student's and method's."""
        self.distiller.set_progress(self.done())
        terms = dict(self.distiller(batch.images, batch.targets))
        for name, matrix in self.distiller.matrices().items():
            self._bindings.setdefault(name, []).append(matrix)
        return terms

    def on_train_epoch_end(self) -> None:
        """Logs each binding matrix's mean over the epoch, a number an entry: alpha/0_1 is row 0, column 1."""
        for name, matrices in self._bindings.items():
            mean = torch.stack(matrices).mean(0)
            rows, columns = mean.shape
            entries = {f"{name}/{i}_{j}": mean[i, j] for i in range(rows) for j in range(columns)}
            self.log_dict(entries, sync_dist=True)
        self._bindings = {}


def backbone_of(detector: Detector) -> torch.nn.Module:
    """Its `backbone`. Errors: ConfigError for a detector without a part of that name."""
    found = getattr(detector, "backbone", None)
    if not isinstance(found, torch.nn.Module):
        raise ConfigError(
            f"detector.freeze and detector.freeze_norms need a part called backbone, which {type(detector).__name__} "
            "has not. Leave both away."
        )
    return found


def freeze_stages(backbone: torch.nn.Module, stages: int) -> None:
    """The first `stages` parts of a backbone (its stem, then its blocks or layers) stop learning.

    Errors: ConfigError when the backbone has fewer parts.
    """
    parts: list[torch.nn.Module] = []
    stem = torch.nn.ModuleList()
    for name, child in backbone.named_children():
        if name == "blocks":
            parts += child.children()
        elif name.startswith(("layer", "stages")) or name.isdigit():  # a Sequential's parts have numbers
            parts.append(child)
        elif isinstance(stages_within := getattr(child, "stages", None), torch.nn.ModuleList):  # transformers' encoder
            parts += stages_within
        else:
            stem.append(child)
    if len(stem):
        parts.insert(0, stem)
    if stages > len(parts):
        raise ConfigError(f"detector.freeze is {stages}, but the backbone has {len(parts)} stages.")
    for part in parts[:stages]:
        part.requires_grad_(False)


_NORMS = (torch.nn.modules.batchnorm._NormBase, torch.nn.GroupNorm, torch.nn.LayerNorm)


def keep_norms(backbone: torch.nn.Module) -> None:
    """Batch norms use their stored statistics and do not update them."""
    for module in backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def make_optimizer(module: torch.nn.Module, optim: OptimConfig) -> Optimizer:
    """Norms, of whatever shape, and biases (tensors of one dimension) do not decay."""
    norms = {id(p) for m in module.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
    params = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim > 1 and id(p) not in norms], "weight_decay": optim.weight_decay},
        {"params": [p for p in params if p.ndim <= 1 or id(p) in norms], "weight_decay": 0.0},
    ]
    if optim.optimizer == "sgd":
        return SGD(groups, lr=optim.lr, momentum=optim.momentum)
    return AdamW(groups, lr=optim.lr)


def lr_factor(optim: OptimConfig, step: int, steps: int, per_epoch: int) -> float:
    """Share of lr at a step of `steps`."""
    if step < optim.warmup:
        return (step + 1) / (optim.warmup + 1)
    if optim.schedule == "step":
        return float(0.1 ** sum(step >= drop * per_epoch for drop in optim.drops))
    t = min(1.0, (step - optim.warmup) / max(1, steps - optim.warmup))
    return 0.01 + 0.99 * (1 + math.cos(math.pi * t)) / 2


def gather_evaluator(evaluator: CocoEvaluator, world: int) -> None:
    """Every worker gets all workers' detections and targets."""
    if world == 1:
        return
    mine = (evaluator.detections, evaluator.targets)
    everyone: list[Any] = [None] * world
    torch.distributed.all_gather_object(everyone, mine)
    detections: list[Detections] = [d for found, _ in everyone for d in found]
    targets: list[Targets] = [t for _, true in everyone for t in true]
    evaluator.detections, evaluator.targets = detections, targets
