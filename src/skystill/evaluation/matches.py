"""COCO's matching of detections to objects, kept so that AP can be computed again without matching again.

Rules of Lin et al., ECCV 2014, and its reference code: in each image and class the `max_dets` best detections, best
first, each take the free object that they overlap most, if by the IoU at least. A detection without an object that
lies in an ignored one by that much does not count. `evaluate_coco` gives the scores of a set; this serves those who
ask what the scores would be if something were otherwise (`errors`, `paired`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skystill.evaluation.coco import RECALLS
from skystill.evaluation.pairs import Floats, check_pairs, covered, overlaps
from skystill.structures import Detections, Targets

Ints = NDArray[np.int64]

IOUS: Floats = np.linspace(0.5, 0.95, 10)
FREE, EXCUSED = -1, -2  # of a detection that took no object; EXCUSED lies in an ignored one and does not count


@dataclass(frozen=True)
class ImageMatch:
    """The d detections of one image that count towards `max_dets`, best first, and its m objects that count.

    label, score: (d,). table: (d, m) IoU, whatever the classes. object_label: (m,). taken: (T, d) at each of T IoUs
    the object that a detection took, FREE or EXCUSED without one.
    """

    label: Ints
    score: Floats
    table: Floats
    object_label: Ints
    taken: Ints


@dataclass(frozen=True)
class Matches:
    """All D detections of I images that count, image by image and best first within each.

    image, label, score: (D,). taken: (T, D) as in ImageMatch. objects: (I, K) how many objects count.
    """

    image: Ints
    label: Ints
    score: Floats
    taken: Ints
    objects: Ints


def match_detections(
    detections: Sequence[Detections],
    targets: Sequence[Targets],
    classes: Sequence[str],
    max_dets: int = 500,
    ious: Floats = IOUS,
) -> Matches:
    """Match one Detections an image to one Targets an image, all HBB or all OBB, at every IoU of `ious` (T,).

    Raises DataError as `check_pairs`.
    """
    check_pairs(detections, targets, len(classes))
    found = [match_image(seen, truth, max_dets, ious) for seen, truth in zip(detections, targets, strict=True)]
    objects = [np.bincount(one.object_label, minlength=len(classes)) for one in found]
    return Matches(
        image=np.repeat(np.arange(len(found)), [len(one.label) for one in found]),
        label=np.concatenate([np.zeros(0, dtype=np.int64), *(one.label for one in found)]),
        score=np.concatenate([np.zeros(0), *(one.score for one in found)]),
        taken=np.concatenate([np.zeros((len(ious), 0), dtype=np.int64), *(one.taken for one in found)], axis=1),
        objects=np.array(objects, dtype=np.int64).reshape(len(found), len(classes)),
    )


def match_image(seen: Detections, truth: Targets, max_dets: int = 500, ious: Floats = IOUS) -> ImageMatch:
    """Match the detections of one image, which nothing checks here, at every IoU of `ious` (T,)."""
    index = _best(seen, max_dets)
    boxes, label, counted = seen.boxes[index], _integers(seen.labels)[index], truth.counted()
    object_label, crowd_label = _integers(counted.labels), _integers(truth.labels[truth.ignore])
    some = len(boxes) and len(counted)
    table = overlaps(boxes, counted.boxes) if some else np.zeros((len(boxes), len(counted)))
    taken = np.full((len(ious), len(label)), FREE)
    for k in np.intersect1d(label, object_label):
        mine, theirs = np.flatnonzero(label == k), np.flatnonzero(object_label == k)
        part = _take(table[np.ix_(mine, theirs)], ious)
        taken[:, mine] = np.where(part >= 0, theirs[part], part)
    if len(boxes) and len(crowd_label):
        inside = covered(boxes, truth.boxes[truth.ignore]) * (label[:, None] == crowd_label)
        taken[(taken < 0) & (inside.max(axis=1) >= ious[:, None])] = EXCUSED
    score = np.asarray(seen.scores.detach().double().cpu().numpy())[index]
    return ImageMatch(label, score, table, object_label, taken)


def ap_of_ranks(found: Ints, seen: Ints, objects: Ints) -> Floats:
    """COCO's AP at one IoU of R rankings of one class: (R,) in 0..1, nan where there is no object.

    found, seen: (R, P) how many objects and how many detections there are down to each of the P right detections, best
    first. objects: (R,). Only right detections are needed: COCO takes, at each of 101 recalls, the best precision at
    that recall or a higher one, and a false detection raises neither.
    """
    rounds, places = found.shape
    precision = found / np.maximum(seen, 1)
    envelope = np.zeros((rounds, places + 1))  # beyond the last right detection precision is 0
    envelope[:, :-1] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    rows = np.arange(rounds)[:, None]
    # One sorted list for all rankings: each is lifted above the one before.
    lift = rows * (int(objects.max(initial=0)) + 1)
    first = np.searchsorted((found + lift).ravel(), (_needed(objects) + lift).ravel()).reshape(rounds, -1)
    ap: Floats = envelope[rows, first - rows * places].mean(axis=1)
    return np.where(objects > 0, ap, np.nan)


def _needed(objects: Ints) -> Ints:
    """(R, 101): the fewest objects that make each recall, compared in floating point as COCO's code does."""
    total = np.maximum(objects, 1)[:, None]
    needed = np.ceil(RECALLS * total)
    needed -= (needed > 0) & ((needed - 1) / total >= RECALLS)
    needed += needed / total < RECALLS
    return needed.astype(np.int64)


def _best(seen: Detections, max_dets: int) -> Ints:
    """Rows of the detections that count, best first; equal scores keep their order."""
    order = _integers(seen.scores.argsort(descending=True, stable=True))
    label = _integers(seen.labels)[order]
    keep = np.zeros(len(order), dtype=np.bool_)
    for k in np.unique(label):
        keep[np.flatnonzero(label == k)[:max_dets]] = True
    return order[keep]


def _take(table: Floats, ious: Floats) -> Ints:
    """(T, d) column that each row of the IoU table (d, m) takes, best first; of equal ones the last, as COCO does."""
    taken = np.full((len(ious), len(table)), FREE)
    free = np.ones((len(ious), table.shape[1]), dtype=np.bool_)
    thresholds = np.arange(len(ious))
    for d in np.flatnonzero(table.max(axis=1) >= ious.min()):
        overlap = np.where(free, table[d], -1.0)
        best = table.shape[1] - 1 - overlap[:, ::-1].argmax(axis=1)
        right = overlap[thresholds, best] >= ious
        taken[right, d] = best[right]
        free[thresholds[right], best[right]] = False
    return taken


def _integers(values: Tensor) -> Ints:
    return np.asarray(values.detach().cpu().numpy(), dtype=np.int64)
