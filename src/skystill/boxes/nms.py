"""From scores at every place to a short list of detections: threshold, top-k, non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from skystill.structures import Detections


@dataclass(frozen=True, slots=True)
class Selection:
    """How detections are chosen: minimum score, candidates kept before NMS, NMS IoU, detections kept after it.

    The defaults are those of GFL; `keep` is larger because aerial images hold hundreds of objects.
    """

    score: float = 0.05
    candidates: int = 2000
    iou: float = 0.6
    keep: int = 500


def select(scores: Tensor, boxes: Tensor, how: Selection) -> Detections:
    """Detections of one image from scores (N, K) in 0..1 and boxes (N, 4), best first.

    A place may give one detection for each class. NMS works within a class.
    """
    scores = scores.float()
    place, label = (scores >= how.score).nonzero(as_tuple=True)
    score = scores[place, label]
    if len(score) > how.candidates:
        score, order = score.topk(how.candidates)
        place, label = place[order], label[order]
    box = boxes[place].float()
    # batched_nms shifts classes apart by the largest coordinate, which is too little for boxes left of or above the
    # image.
    origin = box.amin() if len(box) else 0.0
    keep = batched_nms(box - origin, score, label, how.iou)[: how.keep]
    return Detections(box[keep], score[keep], label[keep])


def select_batch(scores: Tensor, boxes: Tensor, how: Selection) -> list[Detections]:
    """`select` for each image of scores (B, N, K), boxes (B, N, 4)."""
    return [select(s, b, how) for s, b in zip(scores.unbind(), boxes.unbind(), strict=True)]


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
