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


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """The part of each box inside the image; a box wholly outside ends up without area."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)
