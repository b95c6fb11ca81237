"""Which places learn which object: ATSS, and the valuable localization region around its positives.

ATSS: Zhang et al., CVPR 2020, arXiv 1912.02424, algorithm 1. VLR: Zheng et al. (LD), CVPR 2022, arXiv 2102.12252,
algorithm 1. N places, M objects, upright (M, 4) or oriented (M, 5). Everything here is geometry: no model, no gradient.

Oriented objects are held against the places' upright anchors by exact overlap, and a centre is inside when it lies in
the turned box. The upright box around a long diagonal object would overlap coarse anchors best, which see mostly ground
there, and would take places beside the object for positives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skystill.boxes.hbb import paired_iou, pairwise_diou
from skystill.boxes.obb import (
    hbb_to_obb,
    inside_rotated,
    paired_rotated_iou,
    pairwise_rotated_diou,
    rotated_iou,
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """object: (N,) int64, the object each place learns, -1 for none. threshold: (M,) the adaptive IoU threshold t_g."""

    object: Tensor
    threshold: Tensor


@torch.no_grad()
def atss(places: Tensor, levels: tuple[int, ...], boxes: Tensor, topk: int = 9) -> Assignment:
    """Adaptive training sample selection.

    places: (N, 4) anchors x1 y1 x2 y2. levels: places per pyramid level. boxes: (M, 4|5).
    Each object's candidates are the `topk` nearest places of each level; those with IoU >= mean + std of the
    candidates' IoUs and with their centre inside the object are its positives; a place wanted by several takes the
    largest IoU.
    Differs from the paper: an object without any positive (smaller than a cell, say) gets the nearest of the places
    that overlap it best, if it serves no other object, because a 6 px object that no place learns can never be found.
    """
    n, m = len(places), len(boxes)
    if m == 0:
        return Assignment(places.new_full((n,), -1, dtype=torch.int64), boxes.new_zeros(0))
    centre = (places[:, :2] + places[:, 2:]) / 2
    oriented = boxes.shape[1] == 5
    distance = torch.cdist(centre, boxes[:, :2] if oriented else (boxes[:, :2] + boxes[:, 2:]) / 2)

    start, candidates = 0, []
    for count in levels:
        near = distance[start : start + count].topk(min(topk, count), dim=0, largest=False).indices
        candidates.append(near + start)
        start += count
    candidate = torch.cat(candidates)  # (topk * L, M)
    if oriented:
        candidate_iou = paired_rotated_iou(hbb_to_obb(places)[candidate], boxes)
    else:
        candidate_iou = paired_iou(places[candidate], boxes)
    spread = candidate_iou.std(0) if len(candidate) > 1 else candidate_iou.new_zeros(m)
    threshold = candidate_iou.mean(0) + spread

    inside = _inside(centre[candidate], boxes)
    positive = (candidate_iou >= threshold) & inside
    score = distance.new_full((n, m), -1.0)
    score.scatter_(0, candidate, torch.where(positive, candidate_iou, -1.0))
    best, owner = score.max(1)
    owner = torch.where(best >= 0, owner, -1)

    lost = (~positive.any(0)).nonzero().flatten()
    if len(lost):
        # Overlap picks the level: the nearest place of all may be a cell of 32 px, which cannot see a tiny object.
        if oriented:
            iou = rotated_iou(hbb_to_obb(places), boxes[lost])
        else:
            iou = paired_iou(places[:, None], boxes[lost])
        fitting = iou >= iou.amax(0) * 0.999
        nearest = torch.where(fitting, distance[:, lost], torch.inf).argmin(0)
        free = owner[nearest] < 0
        # amax, because a plain store is random on a GPU where two lost objects share a place.
        owner.scatter_reduce_(0, nearest[free], lost[free], "amax")
    return Assignment(owner, threshold)


@torch.no_grad()
def valuable_region(places: Tensor, boxes: Tensor, assignment: Assignment, low: float = 0.25) -> Tensor:
    """(N,) int64: the object in whose valuable localization region each place lies, -1 for none.

    A place belongs to the ring around object g when low * t_g <= DIoU(place, g) < t_g and it is not a positive. Where
    rings overlap the larger DIoU wins.
    """
    if len(boxes) == 0:
        return places.new_full((len(places),), -1, dtype=torch.int64)
    diou = pairwise_diou(places, boxes) if boxes.shape[1] == 4 else pairwise_rotated_diou(hbb_to_obb(places), boxes)
    t = assignment.threshold
    ring = (diou >= low * t) & (diou < t) & (assignment.object < 0)[:, None]
    best, owner = torch.where(ring, diou, -torch.inf).max(1)
    return torch.where(best > -torch.inf, owner, -1)


@torch.no_grad()
def inside_any(centre: Tensor, boxes: Tensor) -> Tensor:
    """(N,) bool: whether each centre (N, 2) lies in any of the boxes (M, 4|5)."""
    if len(boxes) == 0:
        return torch.zeros(len(centre), dtype=torch.bool, device=centre.device)
    return _inside(centre[:, None], boxes).any(1)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(P, M) bool for points (P, M or 1, 2): column m is held against box m of (M, 4|5)."""
    if boxes.shape[1] == 5:
        return inside_rotated(points, boxes)
    (x, y), (x1, y1, x2, y2) = points.unbind(-1), boxes.unbind(-1)
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)
