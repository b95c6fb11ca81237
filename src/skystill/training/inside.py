"""A look inside a distillation while it runs: how hard each term pulls, what binds to what, who knows what.

An inspected step logs one row to every logger, and changes nothing of the training:

| name | is |
| --- | --- |
| grad_neck/<term>, grad_head/<term> | length of this weighted term's gradient on the student's neck, its head |
| alpha_<size>/i_j | binding of student level i to teacher level j, mean over the images whose objects have this size |
| alpha_entropy/<size> | its entropy: 0 each row on one level, 1 even over all; mean over rows and images |
| teacher/iou, student/iou | best IoU of a box at an object's positives with the object, mean over objects |
| teacher/score, student/score | best score of the object's class at its positives, mean over objects |

beta, where a method has it, is logged as alpha is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from skystill.boxes.nms import Selection, clip_to_images, select_batch
from skystill.distillation.distiller import Distiller
from skystill.distillation.pairing import same_grid
from skystill.errors import ConfigError
from skystill.evaluation.pairs import overlaps
from skystill.evaluation.views import BLIND, SURE, Region, View, draw_views
from skystill.files import whole_file
from skystill.structures import Batch, Detections, Knowledge, Targets
from skystill.training.measures import bindings_by_size, gradient_norms, known, quality
from skystill.training.task import Distill

DRAWN, VIEWS = 5, 4  # epochs of a training that are drawn, and views of a batch
FITS = 0.5  # IoU of a box that fits an object


class Inside(pl.Callback):
    """Looks inside every `every` optimizer steps, the first and the last among them; the first process looks.

    The first views of the first look of an epoch are drawn to `folder`/epoch_001.png and so on, and for TensorBoard, in
    at most DRAWN epochs spread evenly over the training.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self._drawn = -1  # epoch

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Listens to this step when its turn has come."""
        if isinstance(pl_module, Distill) and trainer.is_global_zero and self._due(trainer, batch_idx):
            pl_module.distiller.observer = partial(self._look, trainer, pl_module.distiller, batch)

    def _due(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        if batch_idx % trainer.accumulate_grad_batches:  # one look a step, at its first batch
            return False
        return trainer.global_step % self.every == 0 or trainer.global_step + 1 == trainer.estimated_stepping_batches

    def _look(
        self,
        trainer: pl.Trainer,
        distiller: Distiller,
        batch: Batch,
        student: Knowledge,
        teacher: Knowledge,
        terms: dict[str, Tensor],
    ) -> None:
        distiller.observer = None
        scaler = getattr(trainer.precision_plugin, "scaler", None)  # of 16-mixed, where small gradients would vanish
        with torch.autocast(batch.images.device.type, enabled=False):
            row = gradient_norms(terms, distiller.student, 1.0 if scaler is None else scaler.get_scale())
            row |= bindings_by_size(distiller.bindings(), batch.targets)
            row |= quality("teacher", teacher, batch.targets) | quality("student", student, batch.targets)
            if trainer.current_epoch != self._drawn and trainer.current_epoch in drawn_epochs(trainer.max_epochs or 1):
                self._drawn = trainer.current_epoch
                self._draw(trainer, take_views(distiller, student, teacher, batch), distiller.student.classes)
        row = {name: value for name, value in row.items() if math.isfinite(value)}
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **row}, step=trainer.global_step)

    def _draw(self, trainer: pl.Trainer, views: Sequence[View], classes: Sequence[str]) -> None:
        if not views:
            return
        sheet = draw_views(views, classes)
        with whole_file(self.folder / f"epoch_{trainer.current_epoch + 1:03d}.png") as part:
            sheet.save(part, format="PNG")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("inside", np.array(sheet), trainer.global_step, dataformats="HWC")


def drawn_epochs(epochs: int) -> set[int]:
    """At most DRAWN of the epochs 0..epochs-1, the first and the last among them."""
    return {round(i * (epochs - 1) / (DRAWN - 1)) for i in range(DRAWN)}


@torch.no_grad()
def take_views(distiller: Distiller, student: Knowledge, teacher: Knowledge, batch: Batch) -> list[View]:
    """The first views of a batch with where the method taught, and where teacher and truth disagree.

    A teacher without a dense head has none.
    """
    count = min(VIEWS, sum(target.labelled for target in batch.targets))  # others come later, and have no truth to show
    student, teacher = _first(student, count), _first(teacher, count)
    targets, sizes = batch.targets[:count], batch.sizes[:count]
    if teacher.dense is None:
        return []
    sure = select_batch(teacher.dense.scores(), teacher.dense.boxes.float(), Selection(score=SURE))
    found = clip_to_images(sure, sizes)
    regions = _regions(distiller, student, teacher, targets)
    views = []
    for i, (target, (_, best)) in enumerate(zip(targets, known(teacher.dense, targets), strict=True)):
        height, width = sizes[i]
        pixels = batch.images[i, :, :height, :width].clamp(0, 1).mul(255).round().byte().cpu()
        alone = unmatched(found[i], target).to("cpu")
        views.append(View(pixels, target.to("cpu"), alone, (best < BLIND).cpu(), regions[i]))
    return views


def unmatched(seen: Detections, target: Targets) -> Detections:
    """Those that fit no object, ignored ones included, whatever its class."""
    if len(seen) == 0 or len(target) == 0:
        return seen
    keep = torch.from_numpy(overlaps(seen.boxes, target.boxes).max(1) < FITS).to(seen.boxes.device)
    return Detections(seen.boxes[keep], seen.scores[keep], seen.labels[keep])


def _regions(
    distiller: Distiller, student: Knowledge, teacher: Knowledge, targets: list[Targets]
) -> list[dict[str, Region]]:
    """Where each image is taught, by the name of the region; empty for a method without regions."""
    try:
        _, dense_t = same_grid(student, teacher)
    except ConfigError:  # heads without a common grid, which this method does not need
        return [{} for _ in targets]
    shared = (Counter(student.strides) & Counter(teacher.strides)).elements()
    side = torch.tensor(sorted(shared)).repeat_interleave(torch.tensor(dense_t.levels))
    centre = (dense_t.places[:, :2] + dense_t.places[:, 2:]).cpu() / 2
    masks = {name: mask.cpu() for name, mask in distiller.taught(dense_t, targets).items()}
    return [{name: Region(centre[mask[i]], side[mask[i]]) for name, mask in masks.items()} for i in range(len(targets))]


def _first(knowledge: Knowledge, count: int) -> Knowledge:
    """The same with the head's predictions for the first images of the batch alone."""
    dense = knowledge.dense
    if dense is None:
        return knowledge
    edges = None if dense.edges is None else dense.edges[:count]
    return replace(knowledge, dense=replace(dense, logits=dense.logits[:count], boxes=dense.boxes[:count], edges=edges))
