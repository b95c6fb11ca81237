"""Which places learn which object: ATSS, and the valuable localization region around its positives.

ATSS: Zhang et al., CVPR 2020, arXiv 1912.02424, algorithm 1. VLR: Zheng et al. (LD), CVPR 2022, arXiv 2102.12252,
algorithm 1. N places, M objects, upright (M, 4) or oriented (M, 5). Everything here is geometry: no model, no gradient.

Oriented objects are held against the places' upright anchors by exact overlap, and a centre is inside when it lies in
the turned box. The upright box around a long diagonal object would overlap coarse anchors best, which see mostly ground
there, and would take places beside the object for positives.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def atss(places: Tensor, levels: tuple[int, ...], boxes: Tensor, topk: int = 9) -> Assignment:
    """Adaptive training sample selection in one image.

    places: (N, 4) anchors x1 y1 x2 y2. levels: places per pyramid level. boxes: (M, 4|5).
    Each object's candidates are the `topk` nearest places of each level; those with IoU >= mean + std of the
    candidates' IoUs and with their centre inside the object are its positives; a place wanted by several takes the
    largest IoU.
    Differs from the paper: an object without any positive (smaller than a cell, say) gets the nearest of the places
    that overlap it best, if it serves no other object, because a 6 px object that no place learns can never be found.
    """
    return atss_batch(places, levels, [boxes], topk)[0]


@torch.no_grad()
def atss_batch(places: Tensor, levels: tuple[int, ...], boxes: Sequence[Tensor], topk: int = 9) -> list[Assignment]:
    """`atss` of several images with the same places, at less than the price of each alone. boxes: (M_b, 4|5) each."""
    counts = [len(one) for one in boxes]
    n, m = len(places), sum(counts)
    if m == 0:
        nothing = Assignment(places.new_full((n,), -1, dtype=torch.int64), places.new_zeros(0))
        return [nothing] * len(boxes)
    every = torch.cat([one for one in boxes if len(one)])  # an image without objects may have either kind of them
    centre = (places[:, :2] + places[:, 2:]) / 2
    oriented = every.shape[1] == 5
    distance = torch.cdist(centre, every[:, :2] if oriented else (every[:, :2] + every[:, 2:]) / 2)

    start, candidates = 0, []
    for count in levels:
        near = distance[start : start + count].topk(min(topk, count), dim=0, largest=False).indices
        candidates.append(near + start)
        start += count
    candidate = torch.cat(candidates)  # (topk * L, M)
    if oriented:
        candidate_iou = paired_rotated_iou(hbb_to_obb(places)[candidate], every)
    else:
        candidate_iou = paired_iou(places[candidate], every)
    spread = candidate_iou.std(0) if len(candidate) > 1 else candidate_iou.new_zeros(m)
    threshold = candidate_iou.mean(0) + spread

    inside = _inside(centre[candidate], every)
    positive = (candidate_iou >= threshold) & inside
    score = distance.new_full((n, m), -1.0)
    score.scatter_(0, candidate, torch.where(positive, candidate_iou, -1.0))
    owners = _largest(score, counts, -1.0)

    lost = (~positive.any(0)).nonzero().flatten()
    if len(lost):
        # Overlap picks the level: the nearest place of all may be a cell of 32 px, which cannot see a tiny object.
        if oriented:
            iou = rotated_iou(hbb_to_obb(places), every[lost])
        else:
            iou = paired_iou(places[:, None], every[lost])
        fitting = iou >= iou.amax(0) * 0.999
        nearest = torch.where(fitting, distance[:, lost], torch.inf).argmin(0)
        image = torch.arange(len(counts), device=lost.device).repeat_interleave(lost.new_tensor(counts))[lost]
        first = lost.new_tensor([0, *counts]).cumsum(0)[image]
        free = owners[image, nearest] < 0
        # amax, because a plain store is random on a GPU where two lost objects share a place.
        flat = owners.view(-1).scatter_reduce(0, (image * n + nearest)[free], (lost - first)[free], "amax")
        owners = flat.view_as(owners)
    return [Assignment(*one) for one in zip(owners, torch.split(threshold, counts), strict=True)]


def valuable_region(places: Tensor, boxes: Tensor, assignment: Assignment, low: float = 0.25) -> Tensor:
    """(N,) int64: the object in whose valuable localization region each place lies, -1 for none.

    A place belongs to the ring around object g when low * t_g <= DIoU(place, g) < t_g and it is not a positive. Where
    rings overlap the larger DIoU wins.
    """
    return valuable_regions(places, [boxes], [assignment], low)[0]


@torch.no_grad()
def valuable_regions(
    places: Tensor, boxes: Sequence[Tensor], assignments: Sequence[Assignment], low: float = 0.25
) -> Tensor:
    """(B, N) `valuable_region` of several images with the same places. boxes: (M_b, 4|5) each."""
    counts = [len(one) for one in boxes]
    if sum(counts) == 0:
        return places.new_full((len(boxes), len(places)), -1, dtype=torch.int64)
    every = torch.cat([one for one in boxes if len(one)])
    diou = pairwise_diou(places, every) if every.shape[1] == 4 else pairwise_rotated_diou(hbb_to_obb(places), every)
    t = torch.cat([one.threshold for one in assignments])
    ring = (diou >= low * t) & (diou < t)
    owners = _largest(torch.where(ring, diou, -torch.inf), counts, -torch.inf)
    return torch.where(torch.stack([one.object for one in assignments]) < 0, owners, -1)


def _largest(values: Tensor, counts: list[int], none: float) -> Tensor:
    """(B, N) int64: of values (N, M), which of an image's own columns is the largest at each place; -1 where all are
    `none`. counts: columns of each image."""
    owners = values.new_full((len(counts), len(values)), -1, dtype=torch.int64)
    for image, own in enumerate(torch.split(values, counts, 1)):
        if own.shape[1]:
            best, owner = own.max(1)
            owners[image] = torch.where(best > none, owner, -1)
    return owners


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
