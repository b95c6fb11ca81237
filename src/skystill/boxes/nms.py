"""From scores at every place to a short list of detections: threshold, top-k, non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from skystill.boxes.obb import intersection_of_pairs, obb_to_hbb
from skystill.structures import Detections

_BLOCK = 256  # oriented boxes judged at once: more of them meet in vain, fewer keep the processor waiting


@dataclass(frozen=True, slots=True)
class Selection:
    """How detections are chosen: minimum score, candidates kept before NMS, NMS IoU, detections kept after it.

    The defaults are those of GFL; `keep` is larger because aerial images hold hundreds of objects. Oriented boxes have
    an IoU of their own: they hug their objects, which seldom overlap, and of two that tell the same long thin object a
    few degrees apart the IoU is small.
    """

    score: float = 0.05
    candidates: int = 2000
    iou: float = 0.6
    keep: int = 500
    iou_oriented: float = 0.1


def counted(max_dets: int) -> Selection:
    """What scoring at `max_dets` an image and class looks at: never fewer than the defaults keep."""
    return Selection(keep=max(Selection().keep, max_dets))


def select(scores: Tensor, boxes: Tensor, how: Selection) -> Detections:
    """Detections of one image from scores (N, K) in 0..1 and boxes (N, 4|5), best first.

    A place may give one detection for each class. NMS works within a class, by exact overlap for oriented boxes too.
    """
    scores = scores.float()
    place, label = (scores >= how.score).nonzero(as_tuple=True)
    score = scores[place, label]
    if len(score) > how.candidates:
        score, order = score.topk(how.candidates)
        place, label = place[order], label[order]
    box = boxes[place].float()
    if box.shape[1] == 5:
        keep = oriented_nms(box, score, label, how.iou_oriented, how.keep)
        return Detections(box[keep], score[keep], label[keep])
    # batched_nms shifts classes apart by the largest coordinate, which is too little for boxes left of or above the
    # image.
    origin = box.amin() if len(box) else 0.0
    keep = batched_nms(box - origin, score, label, how.iou)[: how.keep]
    return Detections(box[keep], score[keep], label[keep])


def select_batch(scores: Tensor, boxes: Tensor, how: Selection, nms: bool = True) -> list[Detections]:
    """`select` for each image of scores (B, N, K), boxes (B, N, 4|5). nms: of a head that tells an object once, False
    leaves all that score enough."""
    how = how if nms else replace(how, iou=1.0, iou_oriented=1.0)
    return [select(s, b, how) for s, b in zip(scores.unbind(), boxes.unbind(), strict=True)]


def oriented_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, keep: int) -> Tensor:
    """Greedy suppression within each class: indices of the kept of boxes (D, 5), best first, at most `keep`.

    Block by block of falling score, so that boxes which are suppressed early are compared with nothing else, and memory
    stays at a block times D. Only pairs that could overlap by more than `iou` are clipped.
    """
    left = scores.argsort(descending=True, stable=True)
    kept, count = [left[:0]], 0
    while len(left) and count < keep:
        block, left = left[:_BLOCK], left[_BLOCK:]
        chosen = block[_greedy(_beyond(boxes, labels, block, block, iou))]
        kept.append(chosen)
        count += len(chosen)
        if len(left):
            left = left[~_beyond(boxes, labels, chosen, left, iou).any(0)]
    return torch.cat(kept)[:keep]


def _greedy(beyond: Tensor) -> Tensor:
    """(D,) bool of those that none before them which is kept suppresses; beyond: (D, D), best first."""
    suppresses = beyond.numpy(force=True)
    alive = np.ones(len(suppresses), dtype=np.bool_)
    for i, row in enumerate(suppresses):
        if alive[i]:
            alive[i + 1 :] &= ~row[i + 1 :]
    return torch.from_numpy(alive).to(beyond.device)


def _beyond(boxes: Tensor, labels: Tensor, rows: Tensor, columns: Tensor, iou: float) -> Tensor:
    """(R, C) bool: which of boxes[rows] overlap which of boxes[columns] by more than `iou`, within a class."""
    area, hull = boxes[:, 2] * boxes[:, 3], obb_to_hbb(boxes)
    one, other = hull[rows][:, None], hull[columns]
    width = torch.minimum(one[..., 2], other[:, 2]) - torch.maximum(one[..., 0], other[:, 0])
    height = torch.minimum(one[..., 3], other[:, 3]) - torch.maximum(one[..., 1], other[:, 1])
    # IoU > t asks for a shared area above t / (1 + t) of the sum, and no pair shares more than the smaller of the two
    # or than their hulls do. 0.1% of slack for rounding.
    least = (area[rows][:, None] + area[columns]) * (iou / (1 + iou) * 0.999)
    near = (width.clamp(min=0) * height.clamp(min=0) >= least) & (labels[rows][:, None] == labels[columns])
    near &= torch.minimum(area[rows][:, None], area[columns]) >= least
    r, c = near.nonzero(as_tuple=True)
    shared = intersection_of_pairs(boxes, boxes, rows[r], columns[c])
    near[r, c] = shared > iou * (area[rows[r]] + area[columns[c]] - shared)
    return near


def clip_to_images(detections: list[Detections], sizes: list[tuple[int, int]]) -> list[Detections]:
    """Cuts horizontal boxes at their image's (height, width), as it was before padding; oriented boxes stay."""
    clipped = []
    for found, (height, width) in zip(detections, sizes, strict=True):
        boxes = found.boxes
        if boxes.shape[1] == 4:
            limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
            boxes = boxes.clamp(min=0).minimum(limit)
        clipped.append(Detections(boxes, found.scores, found.labels))
    return clipped
