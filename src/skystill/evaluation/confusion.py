"""Confusion matrix of a detector: which class it takes for which, what it misses and what it invents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skystill.evaluation.pairs import check_pairs, overlaps
from skystill.structures import Detections, Targets


def confusion_matrix(
    detections: Sequence[Detections],
    targets: Sequence[Targets],
    classes: Sequence[str],
    iou: float = 0.5,
    score: float = 0.3,
) -> NDArray[np.int64]:
    """Counts (K+1, K+1): row the true class, column the detected one; row and column K are the background.

    Detections that score at least `score`, best first, each take the free object of any class that they overlap
    most, if by `iou` at least. Row K holds the false alarms, column K the missed objects. A detection without such an
    object that overlaps an ignored one is left out. Raises DataError as `check_pairs`.
    """
    check_pairs(detections, targets, len(classes))
    matrix = np.zeros((len(classes) + 1, len(classes) + 1), dtype=np.int64)
    for seen, truth in zip(detections, targets, strict=True):
        rows, columns = _match(seen.above(score), truth, iou, background=len(classes))
        np.add.at(matrix, (rows, columns), 1)
    return matrix


def _match(seen: Detections, truth: Targets, iou: float, background: int) -> tuple[list[int], list[int]]:
    """True and detected class of every detection and of every object that nothing took."""
    order = seen.scores.argsort(descending=True, stable=True)
    seen = Detections(seen.boxes[order], seen.scores[order], seen.labels[order])
    ignored = Targets(truth.boxes[truth.ignore], truth.labels[truth.ignore])
    truth = truth.counted()
    excused = _reaches(seen, ignored, iou)
    table = overlaps(seen.boxes, truth.boxes) if len(seen) and len(truth) else np.zeros((len(seen), 0))
    labels = truth.labels.tolist()
    free = np.ones(len(truth), dtype=np.bool_)
    rows, columns = [], []
    for label, overlap, excuse in zip(seen.labels.tolist(), table, excused, strict=True):
        overlap = np.where(free, overlap, -1.0)
        best = int(overlap.argmax()) if free.any() else -1
        if best >= 0 and overlap[best] >= iou:
            free[best] = False
            rows.append(labels[best])
            columns.append(label)
        elif not excuse:
            rows.append(background)
            columns.append(label)
    missed = [labels[i] for i in free.nonzero()[0]]
    return rows + missed, columns + [background] * len(missed)


def _reaches(seen: Detections, ignored: Targets, iou: float) -> NDArray[np.bool_]:
    """(D,): whether a detection overlaps an ignored object by `iou` at least."""
    if not len(seen) or not len(ignored):
        return np.zeros(len(seen), dtype=np.bool_)
    return np.asarray((overlaps(seen.boxes, ignored.boxes) >= iou).any(axis=1))
