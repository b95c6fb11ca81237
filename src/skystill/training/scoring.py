"""Scores a detector on a split of a data module: in training's end and in `skystill evaluate`."""

from __future__ import annotations

import torch

from skystill.boxes.nms import clip_to_images
from skystill.data.module import DataModule, Split, ready
from skystill.deployment.runtime import Predictor
from skystill.errors import ConfigError
from skystill.evaluation.coco import CocoEvaluator


@torch.no_grad()
def collect(
    detector: Predictor, data: DataModule, split: Split, max_dets: int = 500, device: str | torch.device = "cpu"
) -> CocoEvaluator:
    """Detections and truth of every image of the split; `.compute()` gives COCO's figures.

    Errors: ConfigError when the data has other classes than the detector.
    """
    if data.classes != detector.classes:
        raise ConfigError(
            f"the detector knows the classes {', '.join(detector.classes)}, the data has {', '.join(data.classes)}. "
            "Give the data that it was trained for, or data.classes in its order."
        )
    evaluator = CocoEvaluator(detector.classes, max_dets)
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    for raw in loader:
        batch = ready(raw, device)  # type: ignore[arg-type]
        evaluator.update(clip_to_images(detector.predict(batch.images), batch.sizes), batch.targets)
    return evaluator
