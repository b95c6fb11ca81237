"""Horizontal boxes: (..., 4) corners x1 y1 x2 y2 in pixels, y down, (0, 0) the top left corner of the first pixel.

Overlaps come from torchvision.ops (`box_iou`, `generalized_box_iou`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """(...,) square pixels; 0 for boxes turned inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def center(boxes: Tensor) -> Tensor:
    """(..., 2) as x y."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def scaled(boxes: Tensor, factor: float) -> Tensor:
    """(..., 4) boxes with the same centres and `factor` times the sides."""
    first, last = boxes[..., :2], boxes[..., 2:]
    centre, half = (first + last) / 2, (last - first) * (factor / 2)
    return torch.cat([centre - half, centre + half], -1)


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """The part of each box inside the image; a box wholly outside ends up without area."""
    # By columns, for an exporter writes the numbers of a new tensor down as they are and not as the image's sides.
    return torch.stack([boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)], -1).flatten(-2)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box of a with the box of b at the same place; shapes (..., 4) that broadcast. Returns (...)."""
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    return overlap / (area(a) + area(b) - overlap).clamp(min=1e-9)


def pairwise_diou(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) distance IoU: IoU minus the squared distance of the centres over the squared diagonal of the hull.

    a: (N, 4). b: (M, 4). Distance-IoU (Zheng et al., AAAI 2020, arXiv 1911.08287), eq. 7. The same figures as
    torchvision's distance_box_iou, coordinate by coordinate instead of in (N, M, 2) blocks: much faster on a CPU.
    """
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a[:, None].unbind(-1), b.unbind(-1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    overlap = width.mul_(height)
    union = area(a)[:, None] + area(b) - overlap
    hull_w = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_h = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    apart = (ax1 + ax2 - bx1 - bx2).square() + (ay1 + ay2 - by1 - by2).square()
    return overlap / union.clamp(min=1e-9) - apart / (4 * (hull_w.square() + hull_h.square())).clamp(min=1e-9)
