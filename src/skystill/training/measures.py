"""What a look inside a distillation measures of one batch, each as plain numbers by name for the loggers.

B batch, L_s and L_t levels, N places, K classes, M objects that count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from skystill.boxes.atss import atss
from skystill.boxes.hbb import paired_iou
from skystill.boxes.obb import paired_rotated_iou
from skystill.detectors.base import Detector
from skystill.evaluation.inside import SIZES
from skystill.evaluation.pairs import areas
from skystill.structures import Dense, Knowledge, Targets

_AREAS = (32.0**2, 96.0**2)  # COCO's, in square pixels


def gradient_norms(terms: Mapping[str, Tensor], detector: Detector, scale: float = 1.0) -> dict[str, float]:
    """Length of each term's gradient on the neck and on the head; the graph is kept, and no .grad is touched.

    scale: by which a term is multiplied on the way, for gradients that are too small for float16.
    """
    parts = parts_of(detector)
    weights = [p for params in parts.values() for p in params]
    found: dict[str, float] = {}
    for term, value in terms.items():
        grads: Sequence[Tensor | None] = [None] * len(weights)
        if value.requires_grad and weights:
            given = torch.full_like(value, scale)
            grads = torch.autograd.grad(value, weights, given, retain_graph=True, allow_unused=True)
        start = 0
        for part, params in parts.items():
            mine = [g for g in grads[start : start + len(params)] if g is not None]
            found[f"grad_{part}/{term}"] = float(get_total_norm(mine)) / scale
            start += len(params)
    return found


def parts_of(detector: Detector) -> dict[str, list[nn.Parameter]]:
    """What learns of the neck and of the head, which is all outside backbone and neck; a part without any is left
    out."""
    backbone, neck = _part(detector, "backbone"), _part(detector, "neck")
    elsewhere = {id(p) for p in (*backbone, *neck)}
    parts = {"neck": neck, "head": [p for p in detector.parameters() if id(p) not in elsewhere]}
    learning = {name: [p for p in params if p.requires_grad] for name, params in parts.items()}
    return {name: params for name, params in learning.items() if params}


def _part(detector: Detector, name: str) -> list[nn.Parameter]:
    module = getattr(detector, name, None)
    return list(module.parameters()) if isinstance(module, nn.Module) else []


def bindings_by_size(bindings: Mapping[str, Tensor], targets: Sequence[Targets]) -> dict[str, float]:
    """Mean over the images of each size of every binding (B, L_s, L_t), entry by entry, and of its entropy.

    A size that no image has is left out.
    """
    sizes = [size_of(target) for target in targets]
    found: dict[str, float] = {}
    for name, binding in bindings.items():
        spread = entropy(binding)
        for size in dict.fromkeys(sizes):
            chosen = [image for image, its in enumerate(sizes) if its == size]
            found[f"{name}_entropy/{size}"] = float(spread[chosen].mean())
            rows = binding[chosen].mean(0).tolist()
            found |= {f"{name}_{size}/{i}_{j}": v for i, row in enumerate(rows) for j, v in enumerate(row)}
    return found


def size_of(target: Targets) -> str:
    """Size of an image's objects, by the median area of those that count; "none" where there are none."""
    boxes = target.counted().boxes
    if len(boxes) == 0:
        return "none"
    return SIZES[int(np.searchsorted(_AREAS, np.median(areas(boxes)), side="right"))]


def entropy(binding: Tensor) -> Tensor:
    """(B,) mean over rows of the entropy of (B, L_s, L_t) as a share of log L_t: 0 one level, 1 all alike.

    Rows are shares of their sum: those of alpha are already, those of beta are gates of any sum above 0.
    """
    shares = binding.float() / binding.float().sum(2, keepdim=True)
    most = math.log(binding.shape[2]) or 1.0
    spread: Tensor = torch.special.entr(shares)
    return spread.sum(2).mean(1) / most


def quality(who: str, knowledge: Knowledge, targets: Sequence[Targets]) -> dict[str, float]:
    """Means of what `known` finds over the batch's objects; nan without objects, nothing without a dense head."""
    if knowledge.dense is None:
        return {}
    ious, scores = zip(*known(knowledge.dense, targets), strict=True)
    return {f"{who}/iou": float(torch.cat(ious).nanmean()), f"{who}/score": float(torch.cat(scores).nanmean())}


@torch.no_grad()
def known(dense: Dense, targets: Sequence[Targets]) -> list[tuple[Tensor, Tensor]]:
    """What a head knows of each image's objects: (M,) the best IoU with an object of a box at its ATSS positives, and
    (M,) the best score of its class there; nan for an object without positives."""
    found = []
    for boxes, scores, target in zip(dense.boxes.float(), dense.scores(), targets, strict=True):
        truth = target.counted()
        owner = atss(dense.places, dense.levels, truth.boxes).object
        place = (owner >= 0).nonzero().flatten()
        owner = owner[place]
        overlap = paired_iou if truth.boxes.shape[1] == 4 else paired_rotated_iou
        iou = overlap(boxes[place], truth.boxes[owner])
        score = scores[place, truth.labels[owner]]
        found.append((_best(iou, owner, len(truth)), _best(score, owner, len(truth))))
    return found


def _best(value: Tensor, owner: Tensor, count: int) -> Tensor:
    """(M,) largest of the values (P,) that belong to each object, nan for none."""
    best = value.new_full((count,), -1.0).scatter_reduce(0, owner, value, "amax")
    return torch.where(best >= 0, best, torch.nan)
