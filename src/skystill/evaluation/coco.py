"""COCO average precision through faster-coco-eval, kept in memory.

The protocol is COCO's (Lin et al., ECCV 2014): ten IoU thresholds .50:.05:.95, 101 recalls, object sizes by area below
32^2, below 96^2 and above. It differs in one figure: aerial images hold hundreds of objects, so `max_dets` is 500 an
image and class instead of 100. Oriented boxes are scored by the exact IoU of their polygons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from skystill.evaluation.pairs import Floats, check_lengths, check_pairs, covered, overlaps
from skystill.structures import Detections, Targets

RECALLS: Floats = np.linspace(0.0, 1.0, 101)
_SIZES = {"small": [0.0, 32.0**2], "medium": [32.0**2, 96.0**2], "large": [96.0**2, 1e10]}


@dataclass(frozen=True)
class CocoScores:
    """COCO's figures in 0..100; nan where the truth has no such object.

    ap: mean over IoU .50:.95. ap50, ap75: at one IoU. ap_s, ap_m, ap_l: by object area. ar: recall at `max_dets`, mean
    over IoU. per_class: class -> ap, ap50, ap75, ar, objects (how many count). curves: class -> precision (0..1) at the
    recalls 0, .01, ... 1 and IoU .5.
    """

    ap: float
    ap50: float
    ap75: float
    ap_s: float
    ap_m: float
    ap_l: float
    ar: float
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """The seven figures of the whole set, without classes and curves: what a training loop logs."""
        return {name: getattr(self, name) for name in ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar")}

    def by_class(self) -> dict[str, float | None]:
        """AP of each class; None where no object counts."""
        return {name: _none(row["ap"]) for name, row in self.per_class.items()}

    def as_dict(self) -> dict[str, Any]:
        """A dict that JSON can hold: nan becomes None, curves are rounded to four digits."""
        return {
            **{name: _none(value) for name, value in self.summary().items()},
            "per_class": {name: {k: _none(v) for k, v in row.items()} for name, row in self.per_class.items()},
            "curves": {name: [_none(round(p, 4)) for p in curve] for name, curve in self.curves.items()},
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> CocoScores:
        """The scores that `as_dict` wrote; None becomes nan again and missing figures are nan."""
        figures = {name: _nan(values.get(name)) for name in ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar")}
        per_class = {name: {k: _nan(v) for k, v in row.items()} for name, row in values.get("per_class", {}).items()}
        curves = {name: [_nan(p) for p in curve] for name, curve in values.get("curves", {}).items()}
        return CocoScores(**figures, per_class=per_class, curves=curves)


class CocoEvaluator:
    """Collects a validation epoch batch by batch, then scores it once.

    Detections and targets are kept on the CPU without gradient. `detections` and `targets` are plain lists, so that
    processes of a distributed run can gather them before `compute`.
    """

    def __init__(self, classes: Sequence[str], max_dets: int = 500) -> None:
        self.classes = tuple(classes)
        self.max_dets = max_dets
        self.detections: list[Detections] = []
        self.targets: list[Targets] = []

    def update(self, detections: Sequence[Detections], targets: Sequence[Targets]) -> None:
        """Add some images: one Detections and one Targets each, in the same order."""
        check_lengths(detections, targets)
        for seen in detections:
            cpu = seen.to("cpu")
            self.detections.append(Detections(cpu.boxes.detach(), cpu.scores.detach(), cpu.labels))
        self.targets.extend(truth.to("cpu") for truth in targets)

    def compute(self) -> CocoScores:
        """The scores of all images so far."""
        return evaluate_coco(self.detections, self.targets, self.classes, self.max_dets)


def evaluate_coco(
    detections: Sequence[Detections], targets: Sequence[Targets], classes: Sequence[str], max_dets: int = 500
) -> CocoScores:
    """COCO scores of one Detections an image against one Targets an image, all HBB or all OBB.

    Objects with the ignore flag are COCO crowds: nobody loses for missing them, and detections inside them do not
    count. max_dets: how many detections an image and class count, best scores first. Raises DataError where the two
    lists differ in length, a label is outside the classes, a number is not finite, or HBB meets OBB.
    """
    from faster_coco_eval.core.coco import COCO

    check_pairs(detections, targets, len(classes))
    head = {
        "images": [{"id": i} for i in range(1, len(targets) + 1)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(classes)],
    }
    truth = COCO({**head, "annotations": _truth_rows(targets)}, print_function=_silent)
    seen = COCO({**head, "annotations": _detection_rows(detections)}, print_function=_silent)
    if not targets or not classes:  # the library needs at least one of each
        return _scores(np.full((10, 101, len(classes), 4), -1.0), np.full((10, len(classes), 4), -1.0), classes)
    oriented = any(t.boxes.shape[1] == 5 for t in targets)
    result = _evaluate(truth, seen, max_dets, oriented)
    scores = _scores(result["precision"][..., 0], result["recall"][..., 0], classes)
    for k, row in enumerate(scores.per_class.values()):
        row["objects"] = float(sum(int((truth.counted().labels == k).sum()) for truth in targets))
    return scores


def _evaluate(truth: Any, seen: Any, max_dets: int, oriented: bool) -> dict[str, Any]:
    """Arrays precision (T, R, K, A, 1) and recall (T, K, A, 1), with -1 where there is no object."""
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    evaluator = _oriented_evaluator() if oriented else COCOeval_faster
    run = evaluator(truth, seen, "bbox", ranges=_SIZES, print_function=_silent)
    run.params.maxDets = [max_dets]
    run.evaluate()
    run.accumulate()
    return {name: np.asarray(run.eval[name], dtype=np.float64) for name in ("precision", "recall")}


def _oriented_evaluator() -> Any:
    """The library's evaluator, which asks for the IoU of one image and class, given polygon IoU."""
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    class OrientedEvaluator(COCOeval_faster):  # type: ignore[misc]
        def computeIoU(self, imgId: int, catId: int) -> Any:
            truth, seen = (
                data.get_instances([imgId], [catId], True)[0][0] for data in (self.gt_dataset, self.dt_dataset)
            )
            if not truth or not seen:
                return []
            seen = sorted(seen, key=lambda row: -row["score"])[: self.params.maxDets[-1]]
            first, second = (torch.tensor([row["bbox"] for row in rows], dtype=torch.float64) for rows in (seen, truth))
            crowd = np.array([row["iscrowd"] for row in truth], dtype=np.bool_)
            return np.where(crowd, covered(first, second), overlaps(first, second))

    return OrientedEvaluator


def _scores(precision: Floats, recall: Floats, classes: Sequence[str]) -> CocoScores:
    """precision (T, R, K, A), recall (T, K, A); axis A is all, small, medium, large."""
    per_class = {
        name: {
            "ap": _mean(precision[:, :, k, 0]),
            "ap50": _mean(precision[0, :, k, 0]),
            "ap75": _mean(precision[5, :, k, 0]),
            "ar": _mean(recall[:, k, 0]),
            "objects": 0.0,
        }
        for k, name in enumerate(classes)
    }
    at_half = np.where(precision[0, :, :, 0] < 0, np.nan, precision[0, :, :, 0])
    curves = {name: at_half[:, k].tolist() for k, name in enumerate(classes)}
    return CocoScores(
        ap=_mean(precision[..., 0]),
        ap50=_mean(precision[0, ..., 0]),
        ap75=_mean(precision[5, ..., 0]),
        ap_s=_mean(precision[..., 1]),
        ap_m=_mean(precision[..., 2]),
        ap_l=_mean(precision[..., 3]),
        ar=_mean(recall[..., 0]),
        per_class=per_class,
        curves=curves,
    )


def _truth_rows(targets: Sequence[Targets]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for image_id, truth in enumerate(targets, start=1):
        for row, crowd in zip(_rows(image_id, truth.boxes, truth.labels), truth.ignore.tolist(), strict=True):
            rows.append({**row, "id": len(rows) + 1, "iscrowd": int(crowd)})
    return rows


def _detection_rows(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for image_id, seen in enumerate(detections, start=1):
        for row, score in zip(_rows(image_id, seen.boxes, seen.labels), seen.scores.tolist(), strict=True):
            rows.append({**row, "id": len(rows) + 1, "iscrowd": 0, "score": score})
    return rows


def _rows(image_id: int, boxes: torch.Tensor, labels: torch.Tensor) -> list[dict[str, Any]]:
    """HBB as COCO's (x, y, w, h); OBB as it is. The area is the box's own."""
    values = boxes.detach().double().cpu()
    if values.shape[1] == 4:
        values = torch.cat([values[:, :2], values[:, 2:] - values[:, :2]], dim=1)
    areas = (values[:, 2] * values[:, 3]).tolist()
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": box, "area": area}
        for box, label, area in zip(values.tolist(), labels.tolist(), areas, strict=True)
    ]


def _mean(values: Floats) -> float:
    """Mean in 0..100 over what has objects (COCO marks the rest with -1); nan when nothing has."""
    valid = values[values > -1]
    return 100.0 * float(valid.mean()) if valid.size else math.nan


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _silent(*_: object) -> None:
    """The library prints its progress; a training loop has its own."""
