"""What a detector loses AP50 by, in the manner of TIDE (Bolya et al., ECCV 2020, arXiv 2008.08115, section 2).

Every false detection, and every object that none found, has one error. An oracle mends all errors of one kind and
leaves the others; what AP50 gains is what the kind costs. The gain tells more than the count: hundreds of faint false
alarms may cost nothing. Gains do not add up to 100 - AP50.

| kind | a false detection whose largest IoU is | its oracle |
| --- | --- | --- |
| localization | T_B to T_F with an object of its class | gives it that object's box |
| classification | T_F or more with an object of another class | gives it that object's class |
| duplicate | T_F or more with an object of its class, which a better one took | leaves it out |
| background | T_B or less with every object | leaves it out |
| both | what is left: T_B to T_F with an object of another class | leaves it out |
| missed | (an object that nothing took and that neither of the first two kinds aims at) | takes it from the truth |

Where two kinds fit, the upper row wins, as in the authors' code. A mended detection whose object is taken already is
left out, and of several that aim at one object the best stays.
Differs from the authors' code: AP is COCO's, as everywhere here; `max_dets` is per image and class; "the best that
aims at one object" is among errors of one kind; a class of which every object is missed scores 100 once they are taken
from the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skystill.evaluation.matches import FREE, Ints, ap_of_ranks, match_image
from skystill.evaluation.pairs import Floats, areas, check_pairs
from skystill.structures import Detections, Targets

T_F, T_B = 0.5, 0.1  # IoU that makes a detection right; IoU up to which it looks at background
KINDS = ("classification", "localization", "both", "duplicate", "background", "missed")
SIZES = ("small", "medium", "large")
_NO_ERROR = -1
_CLASSIFICATION, _LOCALIZATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(6)
_AREAS = (32.0**2, 96.0**2)  # COCO's, in square pixels


@dataclass(frozen=True)
class ErrorBreakdown:
    """ap50: 0..100, nan without objects. dap50: kind -> points of AP50 gained when it alone is mended, never below 0.

    counts: kind -> how many false detections (of any score) or, for missed, objects. missed, objects: size (small,
    medium, large, parted at 32 x 32 and 96 x 96 px) -> how many objects are missed, and how many there are.
    """

    ap50: float
    dap50: dict[str, float]
    counts: dict[str, int]
    missed: dict[str, int]
    objects: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """A dict that JSON can hold: nan becomes None."""
        gains = {kind: None if math.isnan(gain) else gain for kind, gain in self.dap50.items()}
        ap50 = None if math.isnan(self.ap50) else self.ap50
        return {
            "ap50": ap50,
            "dap50": gains,
            "counts": dict(self.counts),
            "missed": dict(self.missed),
            "objects": dict(self.objects),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ErrorBreakdown:
        """The breakdown that `as_dict` wrote; None and missing figures become nan, missing counts 0."""
        gains, counts = values.get("dap50", {}), values.get("counts", {})
        missed, objects = values.get("missed", {}), values.get("objects", {})
        return ErrorBreakdown(
            ap50=_nan(values.get("ap50")),
            dap50={kind: _nan(gains.get(kind)) for kind in KINDS},
            counts={kind: int(counts.get(kind, 0)) for kind in KINDS},
            missed={size: int(missed.get(size, 0)) for size in SIZES},
            objects={size: int(objects.get(size, 0)) for size in SIZES},
        )


@dataclass(frozen=True)
class _Found:
    """All D detections that count towards `max_dets`: (D,) each.

    kind: index in KINDS, _NO_ERROR for right or excused ones. aim: the object that would mend it, -1 for none.
    """

    label: Ints
    score: Floats
    right: NDArray[np.bool_]
    kind: Ints
    aim: Ints


@dataclass(frozen=True)
class _Objects:
    """All M objects that count, image by image. label, area (square pixels), taken (by a detection): (M,)."""

    label: Ints
    area: Floats
    taken: NDArray[np.bool_]

    def by_size(self, chosen: NDArray[np.bool_]) -> dict[str, int]:
        """How many of the chosen (M,) are small, medium, large."""
        counts = np.bincount(np.searchsorted(_AREAS, self.area[chosen], side="right"), minlength=len(SIZES))
        return dict(zip(SIZES, counts.tolist(), strict=True))


def evaluate_errors(
    detections: Sequence[Detections], targets: Sequence[Targets], classes: Sequence[str], max_dets: int = 500
) -> ErrorBreakdown:
    """The breakdown of one Detections an image against one Targets an image, all HBB or all OBB.

    Objects with the ignore flag are never missed, and a detection inside one of its class has no error. max_dets: how
    many detections an image and class count, best scores first. Raises DataError as `check_pairs`.
    """
    check_pairs(detections, targets, len(classes))
    found, objects = _assign(detections, targets, max_dets)
    missed = ~objects.taken
    missed[found.aim[found.aim >= 0]] = False
    ap50, gains = _gains(found, objects, missed, len(classes))
    counts = {name: int((found.kind == i).sum()) for i, name in enumerate(KINDS)}
    return ErrorBreakdown(
        ap50=ap50,
        dap50=gains,
        counts=counts | {"missed": int(missed.sum())},
        missed=objects.by_size(missed),
        objects=objects.by_size(np.ones_like(missed)),
    )


def _gains(found: _Found, objects: _Objects, missed: NDArray[np.bool_], classes: int) -> tuple[float, dict[str, float]]:
    """AP50, and what it gains by each oracle."""
    total = np.bincount(objects.label, minlength=classes)
    lost = np.bincount(objects.label[missed], minlength=classes)
    counts = found.right | (found.kind != _NO_ERROR)
    ap50 = _ap50(found.label, found.score, found.right, counts, total, total)
    mended = {}
    for i, name in enumerate(KINDS[:_MISSED]):
        wrong = found.kind == i
        best = _best_of_each(wrong & (found.aim >= 0), found.score, found.aim, objects.taken)
        label = found.label.copy()
        label[best] = objects.label[found.aim[best]]
        mended[name] = _ap50(label, found.score, found.right | best, counts & (~wrong | best), total, total)
    mended["missed"] = _ap50(found.label, found.score, found.right, counts, total, total - lost)
    return ap50, {name: mended[name] - ap50 for name in KINDS}


def _assign(detections: Sequence[Detections], targets: Sequence[Targets], max_dets: int) -> tuple[_Found, _Objects]:
    """Every detection with its kind of error and the object that it aims at, and every object."""
    ints, floats, bools = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.bool_)
    found: list[tuple[NDArray[Any], ...]] = [(ints, floats, bools, ints, ints)]
    objects: list[tuple[NDArray[Any], ...]] = [(ints, floats, bools)]
    before = 0
    for seen, truth in zip(detections, targets, strict=True):
        match = match_image(seen, truth, max_dets, np.array([T_F]))
        taken, count = match.taken[0], len(match.object_label)
        kind, aim = _kinds(match.table, match.label[:, None] == match.object_label)
        false = taken == FREE
        aim = np.where(false & (aim >= 0), aim + before, -1)
        found.append((match.label, match.score, taken >= 0, np.where(false, kind, _NO_ERROR), aim))
        objects.append((match.object_label, areas(truth.counted().boxes), np.isin(np.arange(count), taken)))
        before += count
    return _Found(*map(np.concatenate, zip(*found, strict=True))), _Objects(
        *map(np.concatenate, zip(*objects, strict=True))
    )


def _kinds(table: Floats, same: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """What kind each detection of one image is if it is false, and which object it aims at, -1 for none: (d,) each.

    table: (d, m) IoU with every object. same: (d, m) whether the classes agree.
    """
    if not table.size:
        return np.full(len(table), _BACKGROUND), np.full(len(table), -1)
    own, other = np.where(same, table, 0.0), np.where(same, 0.0, table)
    best_own, best_other = own.max(axis=1), other.max(axis=1)
    shifted = (best_own >= T_B) & (best_own < T_F)
    confused = ~shifted & (best_other >= T_F)
    rest = np.where(best_own >= T_F, _DUPLICATE, np.where(best_other <= T_B, _BACKGROUND, _BOTH))
    kind = np.where(shifted, _LOCALIZATION, np.where(confused, _CLASSIFICATION, rest))
    aim = np.where(shifted, own.argmax(axis=1), np.where(confused, other.argmax(axis=1), -1))
    return kind, aim


def _best_of_each(wrong: NDArray[np.bool_], score: Floats, aim: Ints, taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(D,): which of the wrong detections is the best that aims at its object, where nothing took that object."""
    rows = np.flatnonzero(wrong)
    rows = rows[~taken[aim[rows]]]
    rows = rows[np.argsort(-score[rows], kind="stable")]
    _, first = np.unique(aim[rows], return_index=True)
    best = np.zeros(len(wrong), dtype=np.bool_)
    best[rows[first]] = True
    return best


def _ap50(
    label: Ints, score: Floats, right: NDArray[np.bool_], counts: NDArray[np.bool_], objects: Ints, left: Ints
) -> float:
    """AP50 in 0..100: mean over the classes that have `objects` (K,), of which only `left` (K,) count as findable."""
    found = []
    for k in np.flatnonzero(objects):
        mine = np.flatnonzero(counts & (label == k))
        good = right[mine[np.argsort(-score[mine], kind="stable")]]
        places = np.flatnonzero(good)
        hits = np.arange(1, len(places) + 1)
        found.append(float(ap_of_ranks(hits[None], places[None] + 1, left[k : k + 1])[0]) if left[k] else 1.0)
    return 100 * float(np.mean(found)) if found else math.nan


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
