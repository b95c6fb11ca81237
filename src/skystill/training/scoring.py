"""Scores a detector on a split of a data module: in training's end and in `skystill evaluate`."""

from __future__ import annotations

import torch

from skystill.boxes.nms import clip_to_images, counted
from skystill.data.module import DataModule, Split, ready
from skystill.data.transforms import pad_to
from skystill.deployment.runtime import OnnxDetector, Predictor, device_of
from skystill.detectors.base import Detector
from skystill.errors import ConfigError
from skystill.evaluation.coco import CocoEvaluator
from skystill.evaluation.cost import Cost, measure_cost


def typical_cost(detector: Detector, data: DataModule, runs: int = 20) -> Cost:
    """What a detector costs on the first image to test on (or validate, or train), cut to the sides that it takes."""
    split = next(split for split in ("test", "val", "train") if split in data.datasets)
    image, _ = data.datasets[split][0]
    height, width = (max(side // detector.multiple, 1) * detector.multiple for side in image.shape[1:])
    pixels = pad_to(image[:, :height, :width], height, width).permute(1, 2, 0).contiguous()
    if pixels.is_floating_point():
        pixels = (pixels * 255).byte()
    return measure_cost(detector, pixels.numpy(), runs=runs)


@torch.no_grad()
def collect(detector: Predictor, data: DataModule, split: Split, max_dets: int = 500) -> CocoEvaluator:
    """Detections and truth of every image of the split; `.compute()` gives COCO's figures.

    Errors: ConfigError when the data has other classes or another kind of boxes than the detector.
    """
    if data.config.kind != detector.kind:
        raise ConfigError(
            f"the detector predicts {detector.kind} boxes, but data.kind is {data.config.kind}. "
            f"Give --data.kind {detector.kind}."
        )
    if data.classes != detector.classes:
        raise ConfigError(
            f"the detector knows the classes {', '.join(detector.classes)}, the data has {', '.join(data.classes)}. "
            "Give the data that it was trained for, or data.classes in its order."
        )
    data.pad_for(detector.multiple)
    evaluator = CocoEvaluator(detector.classes, max_dets)
    how, device = counted(max_dets), device_of(detector)
    least = (detector.size if isinstance(detector, OnnxDetector) else None) or (0, 0)
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    for raw in loader:
        batch = ready(raw, device)  # type: ignore[arg-type]
        height, width = (max(sides) for sides in zip(batch.images.shape[2:], least, strict=True))
        images = pad_to(batch.images, height, width)
        evaluator.update(clip_to_images(detector.predict(images, how), batch.sizes), batch.targets)
    return evaluator
