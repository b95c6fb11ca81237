"""Is an exported detector the same detector? Its detections must equal PyTorch's as sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skystill.boxes.nms import Selection
from skystill.deployment.runtime import Predictor
from skystill.errors import ConfigError
from skystill.evaluation.pairs import overlaps
from skystill.structures import Detections

# So low that an untrained detector, whose scores start near 0.01, has detections to compare.
LOW = Selection(score=0.005)
MARGIN = 1e-3  # of scores
LEAST_IOU = 0.99
SAME_PX = 0.01


@dataclass(frozen=True)
class Parity:
    """What was compared. detections: pairs found equal. ties: see `check_parity`. score_gap, iou: of the worst pair."""

    images: int
    detections: int
    ties: int
    score_gap: float
    iou: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def check_parity(reference: Predictor, exported: Predictor, batches: Iterable[Tensor], how: Selection = LOW) -> Parity:
    """Compares two detectors on batches (B, C, H, W) in 0..1; raises ConfigError unless they detect the same.

    The same means: every detection of either has a partner of its own in the other, of the same class, with IoU >= 0.99
    (or edges at most 0.01 px apart, for boxes without area have no IoU) and scores at most 1e-3 apart. Detections whose
    score is within 1e-3 of the threshold may miss on one side. So may a detection that the other detector holds as
    well, with that class, box and score, but drops in top-k or NMS: rounding decides between equal scores there
    ("ties"). Without any pair there is no proof: an error too.
    """
    total = Parity(0, 0, 0, 0.0, 1.0)
    for images in batches:
        with torch.no_grad():
            raw_r, raw_e = reference.raw(images), exported.raw(images)
        seen_r, seen_e = reference.select(*raw_r, how), exported.select(*raw_e, how)
        for b, (one, other) in enumerate(zip(seen_r, seen_e, strict=True)):
            pairs = pair_up(one, other)
            number = total.images
            ties = _excused(_without(one, [i for i, _ in pairs]), raw_e[0][b], raw_e[1][b], how, number, "exported")
            ties += _excused(_without(other, [j for _, j in pairs]), raw_r[0][b], raw_r[1][b], how, number, "PyTorch")
            total = _add(total, one, other, pairs, ties)
    if total.detections == 0:
        raise ConfigError(
            "export: no detection at all to compare. Give images that show objects by --images, or train the detector."
        )
    return total


def pair_up(one: Detections, other: Detections) -> list[tuple[int, int]]:
    """Pairs (i, j) of detections that are the same; each occurs once, the pairs that overlap most come first."""
    if not len(one) or not len(other):
        return []
    iou = likeness(one.boxes, other.boxes)
    same = iou >= LEAST_IOU
    same &= (one.labels[:, None] == other.labels[None, :]).numpy(force=True)
    same &= ((one.scores[:, None] - other.scores[None, :]).abs() <= MARGIN).numpy(force=True)
    candidates = np.argwhere(same)
    order = np.argsort(-iou[same], kind="stable")
    pairs: list[tuple[int, int]] = []
    used_i: set[int] = set()
    used_j: set[int] = set()
    for i, j in candidates[order].tolist():
        if i not in used_i and j not in used_j:
            pairs.append((i, j))
            used_i.add(i)
            used_j.add(j)
    return pairs


def likeness(one: Tensor, other: Tensor) -> NDArray[np.float64]:
    """(D, D') IoU of boxes (D, 4|5), and 1 for two whose numbers are at most 0.01 px apart."""
    gap = (one[:, None].float() - other[None].float().to(one.device)).abs().amax(2)
    found: NDArray[np.float64] = np.where((gap <= SAME_PX).numpy(force=True), 1.0, overlaps(one, other))
    return found


def _without(seen: Detections, taken: list[int]) -> Detections:
    left = torch.ones(len(seen), dtype=torch.bool, device=seen.boxes.device)
    left[taken] = False
    return Detections(seen.boxes[left], seen.scores[left], seen.labels[left])


def _excused(lone: Detections, scores: Tensor, boxes: Tensor, how: Selection, number: int, side: str) -> int:
    """How many of the detections without a partner are ties: also in the other's scores (N, K) and boxes (N, 4|5)."""
    ties = 0
    for box, score, label in zip(lone.boxes.cpu(), lone.scores.tolist(), lone.labels.tolist(), strict=True):
        if score < how.score + MARGIN:
            continue
        near = (scores[:, label].float().cpu() - score).abs() <= MARGIN
        iou = likeness(box[None], boxes.cpu()[near]) if bool(near.any()) else np.zeros((1, 1))
        if iou.max() < LEAST_IOU:
            where = ", ".join(f"{v:.1f}" for v in box.tolist())
            raise ConfigError(
                f"export refused: on image number {number} the {side} detector lacks the other's detection of class "
                f"{label} with score {score:.4f} at ({where}). Report it with the weights file; nothing was written."
            )
        ties += 1
    return ties


def _add(total: Parity, one: Detections, other: Detections, pairs: list[tuple[int, int]], ties: int) -> Parity:
    total = replace(total, images=total.images + 1, ties=total.ties + ties)
    if not pairs:
        return total
    i, j = (torch.tensor(side) for side in zip(*pairs, strict=True))
    i, j = i.to(one.boxes.device), j.to(other.boxes.device)
    gap = float((one.scores[i].cpu() - other.scores[j].cpu()).abs().max())
    iou = float(likeness(one.boxes[i], other.boxes[j]).diagonal().min())
    return replace(
        total,
        detections=total.detections + len(pairs),
        score_gap=max(total.score_gap, gap),
        iou=min(total.iou, iou),
    )
