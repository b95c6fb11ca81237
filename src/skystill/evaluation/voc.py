"""PASCAL VOC average precision: 11 points (VOC2007) and all points (VOC2010 to 2012).

Protocol: Everingham et al., IJCV 2010, section 4.2, and its 2012 development kit. Each detection, best score
first, looks at the object of its class that it overlaps most: below the IoU it is false, on a difficult object it does
not count, on an object already found it is false. On oriented boxes this is the protocol of DOTA (Xia et al., CVPR
2018).
Differs from the kit: boxes are real intervals, so a side is x2 - x1 and not x2 - x1 + 1 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skystill.evaluation.pairs import Floats, check_pairs, overlaps
from skystill.structures import Detections, Targets


@dataclass(frozen=True)
class VocScores:
    """Mean AP in 0..100 over the classes that have objects, nan when none has.

    map07: 11 points. map12: all points. iou: the threshold. per_class: class -> ap07, ap12, objects.
    """

    map07: float
    map12: float
    iou: float
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """A dict that JSON can hold: nan becomes None."""
        rows = {name: {k: _none(v) for k, v in row.items()} for name, row in self.per_class.items()}
        return {"map07": _none(self.map07), "map12": _none(self.map12), "iou": self.iou, "per_class": rows}


def evaluate_voc(
    detections: Sequence[Detections], targets: Sequence[Targets], classes: Sequence[str], iou: float = 0.5
) -> VocScores:
    """VOC scores of one Detections an image against one Targets an image, all HBB or all OBB.

    Objects with the ignore flag are VOC's difficult ones. iou: a detection at or above it is right. Raises DataError
    where the lists differ in length, a label is outside the classes, a number is not finite, or HBB meets OBB.
    """
    check_pairs(detections, targets, len(classes))
    per_class = {name: _score_class(detections, targets, k, iou) for k, name in enumerate(classes)}
    found = [row for row in per_class.values() if row["objects"]]
    map07, map12 = (sum(row[key] for row in found) / len(found) if found else math.nan for key in ("ap07", "ap12"))
    return VocScores(map07, map12, iou, per_class)


def _score_class(
    detections: Sequence[Detections], targets: Sequence[Targets], label: int, iou: float
) -> dict[str, float]:
    objects = sum(int((truth.counted().labels == label).sum()) for truth in targets)
    if not objects:
        return {"ap07": math.nan, "ap12": math.nan, "objects": 0.0}
    hits = [match_image(seen, truth, label, iou) for seen, truth in zip(detections, targets, strict=True)]
    scores = np.concatenate([score for score, _ in hits])
    right = np.concatenate([flag for _, flag in hits])[np.argsort(-scores, kind="stable")]
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    return {
        "ap07": 100 * eleven_points(found, precision, objects),
        "ap12": 100 * all_points(found, precision, objects),
        "objects": float(objects),
    }


def match_image(seen: Detections, truth: Targets, label: int, iou: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores (d,) and whether each is right (d,) of one image and class, best first.

    Detections on difficult objects are left out.
    """
    mine, theirs = seen.labels == label, truth.labels == label
    order = seen.scores[mine].argsort(descending=True, stable=True)
    scores = np.asarray(seen.scores[mine][order].double().cpu().numpy())
    if not bool(theirs.any()):
        return scores, np.zeros(len(scores), dtype=np.bool_)
    table = overlaps(seen.boxes[mine][order], truth.boxes[theirs])
    difficult = truth.ignore[theirs].tolist()
    right = np.zeros(len(scores), dtype=np.bool_)
    counts = np.ones(len(scores), dtype=np.bool_)
    taken: set[int] = set()
    for d, row in enumerate(table):
        best = int(row.argmax())
        if row[best] < iou:
            continue
        if difficult[best]:
            counts[d] = False
        elif best not in taken:
            taken.add(best)
            right[d] = True
    return scores[counts], right[counts]


def eleven_points(found: NDArray[np.int64], precision: Floats, objects: int) -> float:
    """VOC2007: mean over the recalls 0, .1, ... 1 of the best precision at that recall or a higher one.

    found: (d,) objects found among the first detections, so that recall = found / objects is compared without rounding.
    """
    return sum(float(precision[10 * found >= tenth * objects].max(initial=0.0)) for tenth in range(11)) / 11


def all_points(found: NDArray[np.int64], precision: Floats, objects: int) -> float:
    """VOC2010 and later: area under the precision made falling, one step an object found. found: as `eleven_points`."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(found, prepend=0)
    return float((steps * envelope).sum()) / objects


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
