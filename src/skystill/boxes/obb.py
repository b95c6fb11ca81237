"""Oriented boxes: the only place that converts between corners on disk and (cx, cy, w, h, theta) inside.

Corners are (..., 8): x1 y1 x2 y2 x3 y3 x4 y4 in drawing order. The inner form is (..., 5) in the le90 convention:
w >= h, theta in [-pi/2, pi/2) radians from the x axis to the side w, clockwise on the screen because y points down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PAIRS = ((0, 1, 2, 3, 0, 1), (1, 2, 3, 0, 2, 3))  # the sides first, then the diagonals
_CHUNK = 16384  # pairs of boxes clipped at once: about 64 MB of candidates


def le90(boxes: Tensor) -> Tensor:
    """Any (..., 5) of the same rectangles, written with w >= h and theta in [-pi/2, pi/2)."""
    cx, cy, w, h, theta = boxes.unbind(-1)
    turned = w < h
    theta = torch.where(turned, theta + math.pi / 2, theta)
    theta = torch.remainder(theta + math.pi / 2, math.pi) - math.pi / 2
    theta = torch.where(theta >= math.pi / 2, theta - math.pi, theta)  # remainder may round up to pi itself
    return torch.stack([cx, cy, torch.where(turned, h, w), torch.where(turned, w, h), theta], -1)


def corners_to_obb(corners: Tensor) -> Tensor:
    """(..., 8) -> (..., 5): the rectangle of least area around the four points, which for a rectangle is itself.

    One side of that rectangle runs along a side of the convex hull, and every side of the hull joins two of the points;
    so it is enough to try the six directions between points.
    """
    points = _points(corners)
    origin = points.mean(-2, keepdim=True)
    points = points - origin  # small numbers, so that the products below keep their digits
    along = points[..., _PAIRS[1], :] - points[..., _PAIRS[0], :]
    theta = torch.atan2(along[..., 1], along[..., 0])
    u = torch.stack([theta.cos(), theta.sin()], -1)
    v = torch.stack([-theta.sin(), theta.cos()], -1)
    on_u, on_v = u @ points.transpose(-1, -2), v @ points.transpose(-1, -2)  # (..., 6, 4)
    low = torch.stack([on_u.amin(-1), on_v.amin(-1)], -1)
    high = torch.stack([on_u.amax(-1), on_v.amax(-1)], -1)
    size, middle = high - low, (high + low) / 2
    center = middle[..., :1] * u + middle[..., 1:] * v + origin
    candidates = torch.cat([center, size, theta[..., None]], -1)
    best = size.prod(-1).argmin(-1)
    return le90(torch.take_along_dim(candidates, best[..., None, None], -2).squeeze(-2))


def obb_to_corners(boxes: Tensor) -> Tensor:
    """(..., 5) -> (..., 8): clockwise on the screen, starting at the unturned box's top left corner."""
    cx, cy, w, h, theta = boxes.unbind(-1)
    wx, wy = w / 2 * theta.cos(), w / 2 * theta.sin()
    hx, hy = -h / 2 * theta.sin(), h / 2 * theta.cos()
    xs = (cx - wx - hx, cx + wx - hx, cx + wx + hx, cx - wx + hx)
    ys = (cy - wy - hy, cy + wy - hy, cy + wy + hy, cy - wy + hy)
    return torch.stack([value for point in zip(xs, ys, strict=True) for value in point], -1)


def corners_to_hbb(corners: Tensor) -> Tensor:
    """(..., 8) -> (..., 4): the upright box around the four points."""
    points = _points(corners)
    return torch.cat([points.amin(-2), points.amax(-2)], -1)


def obb_to_hbb(boxes: Tensor) -> Tensor:
    """(..., 5) -> (..., 4): the upright box around each oriented one."""
    return corners_to_hbb(obb_to_corners(boxes))


def hbb_to_corners(boxes: Tensor) -> Tensor:
    """(..., 4) -> (..., 8): clockwise on the screen from the top left."""
    return boxes[..., (0, 1, 2, 1, 2, 3, 0, 3)]


def hbb_to_obb(boxes: Tensor) -> Tensor:
    """(..., 4) -> (..., 5): theta is 0 for wide boxes and -pi/2 for tall ones."""
    size = boxes[..., 2:] - boxes[..., :2]
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    return le90(torch.cat([center, size, torch.zeros_like(size[..., :1])], -1))


def rotated_iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap over union of every a (M, 5) with every b (N, 5): (M, N) in 0..1, exact but for rounding."""
    inter = rotated_intersection(a, b)
    union = (a[:, 2] * a[:, 3])[:, None] + (b[:, 2] * b[:, 3])[None] - inter
    return torch.where(union > 0, inter / union, 0).clamp(0, 1)


def rotated_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Shared area of every a (M, 5) with every b (N, 5): (M, N) square pixels.

    Only pairs whose upright boxes meet are clipped, in double precision and in chunks, so that large images with many
    small objects cost little time and memory.
    """
    hull_a, hull_b = obb_to_hbb(a.double())[:, None], obb_to_hbb(b.double())[None]
    meet = torch.minimum(hull_a[..., 2:], hull_b[..., 2:]) > torch.maximum(hull_a[..., :2], hull_b[..., :2])
    rows, columns = meet.all(-1).nonzero(as_tuple=True)
    result = a.new_zeros(len(a), len(b))
    for r, c in zip(torch.split(rows, _CHUNK), torch.split(columns, _CHUNK), strict=True):
        result[r, c] = _shared_area(a[r].double(), b[c].double()).to(result.dtype)
    return result


def _shared_area(a: Tensor, b: Tensor) -> Tensor:
    """(P,) shared area of pairs of rectangles (P, 5).

    The shared polygon's corners are the corners of one inside the other and the points where sides cross: 24 in all.
    Sorted by direction from their mean they are the polygon. A candidate too many or too few by rounding lies on its
    rim, so it moves the area by no more than the rounding.
    """
    shift = torch.cat([a[:, :2], a.new_zeros(len(a), 3)], -1)
    p = _points(obb_to_corners(a - shift))
    q = _points(obb_to_corners(b - shift))
    crossings, crossed = _crossings(p, q)
    points = torch.cat([p, q, crossings], 1)
    valid = torch.cat([_inside(p, b - shift), _inside(q, a - shift), crossed], 1)
    count = valid.sum(1, keepdim=True)
    middle = (points * valid[..., None]).sum(1, keepdim=True) / count.clamp(min=1)[..., None]
    spokes = points - middle
    order = torch.atan2(spokes[..., 1], spokes[..., 0]).masked_fill(~valid, math.inf).argsort(1)
    rim = spokes.gather(1, order[..., None].expand_as(spokes))
    spare = torch.arange(points.shape[1], device=a.device) >= count  # (P, 24): past the last valid one
    rim = torch.where(spare[..., None], rim[:, :1], rim)
    after = rim.roll(-1, 1)
    double = (rim[..., 0] * after[..., 1] - rim[..., 1] * after[..., 0]).sum(1)
    return torch.where(count[:, 0] > 2, double.abs() / 2, 0)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(P, 4) bool: which points (P, 4, 2) lie in the rectangle (P, 5), its rim included."""
    offset = points - boxes[:, None, :2]
    cos, sin = boxes[:, 4:].cos(), boxes[:, 4:].sin()
    along = (offset[..., 0] * cos + offset[..., 1] * sin).abs()
    across = (offset[..., 1] * cos - offset[..., 0] * sin).abs()
    slack = 1e-9 * boxes[:, 2:4].amax(1, keepdim=True)
    return (along <= boxes[:, 2:3] / 2 + slack) & (across <= boxes[:, 3:4] / 2 + slack)


def _crossings(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Where the sides of p (P, 4, 2) cross those of q: points (P, 16, 2) and whether they do (P, 16)."""
    side_p, side_q = (p.roll(-1, 1) - p)[:, :, None], (q.roll(-1, 1) - q)[:, None]
    apart = q[:, None] - p[:, :, None]
    det = _cross(side_p, side_q)
    parallel = det.abs() <= 1e-12 * side_p.norm(dim=-1) * side_q.norm(dim=-1)
    det = torch.where(parallel, 1.0, det)
    t, u = _cross(apart, side_q) / det, _cross(apart, side_p) / det
    hit = ~parallel & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    return (p[:, :, None] + t[..., None] * side_p).flatten(1, 2), hit.flatten(1)


def _points(corners: Tensor) -> Tensor:
    return corners.reshape(*corners.shape[:-1], 4, 2)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
