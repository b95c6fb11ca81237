"""The score from which on detections are worth keeping: AP ranks detections and needs none, whoever acts on them
does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from skystill.boxes.nms import Selection
from skystill.evaluation.coco import CocoEvaluator
from skystill.evaluation.matches import EXCUSED, match_detections
from skystill.structures import Detections, Targets


@dataclass(frozen=True)
class OperatingPoint:
    """Shares 0..1 of what is kept from `score` on, at IoU .5. precision: how much of it is right. recall: how many of
    the objects it finds. f1: their harmonic mean."""

    score: float
    precision: float
    recall: float
    f1: float

    def as_dict(self) -> dict[str, float]:
        """Four digits each."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def noted(seen: CocoEvaluator) -> dict[str, dict[str, float] | None]:
    """The operating point of what an evaluator holds, as files of weights and figures name it."""
    point = best_f1(seen.detections, seen.targets, seen.classes, seen.max_dets)
    return {"best_f1": None if point is None else point.as_dict()}


def best_f1(
    detections: Sequence[Detections], targets: Sequence[Targets], classes: Sequence[str], max_dets: int = 500
) -> OperatingPoint | None:
    """The score that gives the greatest F1 = 2 TP / (detections + objects) over all classes together, or None where no
    detection is right.

    The score lies halfway to the next detection below, or to the least score that is scored at all, so that rounding it
    seldom changes what is kept. Ignored objects and what lies in them do not count. Raises DataError as
    `match_detections`.
    """
    found = match_detections(detections, targets, classes, max_dets, np.array([0.5]))
    counts = found.taken[0] != EXCUSED
    order = np.argsort(-found.score[counts], kind="stable")
    score, right = found.score[counts][order], (found.taken[0][counts] >= 0)[order]
    objects, taken = int(found.objects.sum()), right.cumsum()
    f1 = 2 * taken / np.maximum(np.arange(1, len(right) + 1) + objects, 1)
    if not right.any():
        return None
    f1[:-1][score[:-1] == score[1:]] = 0  # no threshold tells equal scores apart
    best = int(f1.argmax())
    below = score[best + 1] if best + 1 < len(score) else min(score[best], Selection().score)  # what predictions had
    return OperatingPoint(
        score=float(score[best] + below) / 2,
        precision=float(taken[best] / (best + 1)),
        recall=float(taken[best] / objects),
        f1=float(f1[best]),
    )
