"""Oriented boxes as five distributions of n + 1 bins: what the head's numbers mean, and what they should have been.

    offset x, offset y    from the place's centre to the box's, along the image's axes: bin i is i - n/2 strides
    half of w, half of h  of the longer and the shorter side: bin i is i strides
    angle                 of the longer side: bin i is theta_i = i pi / (n + 1) - pi / 2, and bin n + 1 is bin 0 again

Why not four edge distances in the box's own frame and an angle? At theta = +-90 degrees left becomes right, and where w
and h change roles all four move on: beside the box's centre the truth would jump although the box hardly turns. Here
nothing jumps. Offsets do not depend on theta. w is the larger side and h the smaller, and both are continuous through
the square. The angle is a distribution over a circle, so that it has no seam. That leaves the square, whose longer side
may be either: it is taught half theta and half theta + 90 degrees, and the share of the second fades to nothing at
w = 1.5 h (`second_share`), so that the target passes smoothly through the square. Read out:

    z_k = sum_i p_i exp(i k theta_i);  theta = arg(z_4) / 4, or 90 degrees on where that agrees better with z_2

z_4 does not see which of two sides 90 degrees apart is meant, and z_2 alone decides it. So a distribution of two equal
peaks, the square's, still gives its direction, and the choice does not matter as w = h there. The circular targets are
those of CSL (Yang and Yan, ECCV 2020); the two frequencies those of PSC (Yu and Da, CVPR 2023), here of a distribution.

P positives, n + 1 bins.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from skystill.boxes.obb import le90

FEWEST_BINS = 8  # z_4 needs more than four of them around the circle, and a few for what lies between two
_DAMP = 1e-2
_SQUARE_UP_TO = 1.5  # w / h


def decode_oriented(dist: Tensor, places: Tensor, strides: Tensor) -> Tensor:
    """Boxes (B, N, 5) in le90 from logits (B, N, 5, n+1), places (N, 4) and the strides of their cells (N,)."""
    # Sums and no matrix products, which autocast would run in half precision.
    p = dist.float().softmax(-1)
    bins = torch.arange(p.shape[-1], device=p.device, dtype=torch.float32)
    mean = (p[..., :4, :] * bins).sum(-1)
    centre = (places[:, :2] + places[:, 2:]) / 2 + (mean[..., :2] - (p.shape[-1] - 1) / 2) * strides[:, None]
    sides = 2 * mean[..., 2:] * strides[:, None]
    return le90(torch.cat([centre, sides, read_angle(p[..., 4, :])[..., None]], -1))


def read_angle(p: Tensor) -> Tensor:
    """theta (...) in radians, in any range, from probabilities (..., n+1) of the bins of a half turn."""
    theta = bin_angles(p.shape[-1], p.device)
    cos2, sin2 = (p * (2 * theta).cos()).sum(-1), (p * (2 * theta).sin()).sum(-1)
    cos4, sin4 = (p * (4 * theta).cos()).sum(-1), (p * (4 * theta).sin()).sum(-1)
    found = _argument(sin4, cos4) / 4
    agrees = ((2 * found).cos() * cos2 + (2 * found).sin() * sin2).detach() >= 0
    return torch.where(agrees, found, found + math.pi / 2)


def _argument(y: Tensor, x: Tensor) -> Tensor:
    """atan2(y, x), whose gradient stays small where (y, x) is near zero: where the network has no idea of an angle,
    the box's overlap shall not push it about. The factor is r^2 / (r^2 + 0.01)."""
    y0, x0 = y.detach(), x.detach()
    return torch.atan2(y0, x0) + (x0 * y - y0 * x) / (x0.square() + y0.square() + _DAMP)


def bin_angles(bins: int, device: torch.device) -> Tensor:
    """theta_i (n+1,)."""
    return torch.arange(bins, device=device, dtype=torch.float32) * (math.pi / bins) - math.pi / 2


def linear_targets(boxes: Tensor, centre: Tensor, strides: Tensor, n: int) -> Tensor:
    """(P, 4) where offsets and half sides lie among the bins, 0 <= target < n.

    boxes: (P, 5). centre: (P, 2) of their places. strides: (P,). What lies beyond the bins gets the last.
    """
    offset = (boxes[:, :2] - centre) / strides[:, None] + n / 2
    half = boxes[:, 2:4] / (2 * strides[:, None])
    return torch.cat([offset, half], 1).clamp(0, n - 0.01)


def second_share(boxes: Tensor) -> Tensor:
    """(P,) how much of the angle's target is theta + 90 degrees: 1/2 for a square, falling with w / h to 0 at 1.5."""
    ratio = boxes[:, 2] / boxes[:, 3].clamp(min=1e-6)
    return ((_SQUARE_UP_TO - ratio) / (2 * (_SQUARE_UP_TO - 1))).clamp(0, 0.5)


def angle_targets(boxes: Tensor, bins: int) -> Tensor:
    """(P, n+1) probabilities: each direction is spread over the two bins around it, nearer ones more (as in DFL)."""
    position = (boxes[:, 4] + math.pi / 2) / (math.pi / bins)
    share = second_share(boxes)
    target = boxes.new_zeros(len(boxes), bins)
    for where, weight in ((position, 1 - share), (position + bins / 2, share)):
        left = where.floor()
        near = where - left
        for index, part in ((left, 1 - near), (left + 1, near)):
            target.scatter_add_(1, torch.remainder(index, bins).long()[:, None], (part * weight)[:, None])
    return target


def angle_focal_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """(P,) cross entropy of the angle's distribution, logits (P, n+1), to the target of boxes (P, 5)."""
    return F.cross_entropy(logits, angle_targets(boxes, logits.shape[-1]), reduction="none")
