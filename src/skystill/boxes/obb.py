"""Oriented boxes: the only place that converts between corners on disk and (cx, cy, w, h, theta) inside.

Corners are (..., 8): x1 y1 x2 y2 x3 y3 x4 y4 in drawing order. The inner form is (..., 5) in the le90 convention:
w >= h, theta in [-pi/2, pi/2) radians from the x axis to the side w, clockwise on the screen because y points down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PAIRS = ((0, 1, 2, 3, 0, 1), (1, 2, 3, 0, 2, 3))  # the sides first, then the diagonals
_CHUNK = 65536  # pairs of boxes clipped at once: about 50 MB in passing


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
    return _over_union(rotated_intersection(a, b), a[:, None], b)


def rotated_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Shared area of every a (M, 5) with every b (N, 5): (M, N) square pixels.

    Only pairs whose upright boxes meet are clipped, in double precision and in chunks, so that large images with many
    small objects cost little time and memory.
    """
    hull_a, hull_b = obb_to_hbb(a.double())[:, None], obb_to_hbb(b.double())
    meet = (hull_a[..., 0] < hull_b[:, 2]) & (hull_b[:, 0] < hull_a[..., 2])
    meet &= (hull_a[..., 1] < hull_b[:, 3]) & (hull_b[:, 1] < hull_a[..., 3])
    rows, columns = meet.nonzero(as_tuple=True)
    result = a.new_zeros(len(a), len(b))
    result[rows, columns] = intersection_of_pairs(a, b, rows, columns)
    return result


def paired_rotated_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box of a with the box of b at the same place; shapes (..., 5) that broadcast. Returns (...)."""
    shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
    flat_a, flat_b = a.expand(shape).reshape(-1, 5), b.expand(shape).reshape(-1, 5)
    every = torch.arange(len(flat_a), device=a.device)
    return _over_union(intersection_of_pairs(flat_a, flat_b, every, every).view(shape[:-1]), a, b)


def intersection_of_pairs(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(P,) square pixels that a[rows] and b[columns] share, for indices (P,) into a (M, 5) and b (N, 5)."""
    parts = [
        _shared_area(a[r].double(), b[c].double()).to(a.dtype)
        for r, c in zip(torch.split(rows, _CHUNK), torch.split(columns, _CHUNK), strict=True)
    ]
    return torch.cat(parts) if parts else a.new_zeros(0)


def pairwise_rotated_diou(a: Tensor, b: Tensor) -> Tensor:
    """(M, N) distance IoU of every a (M, 5) with every b (N, 5): exact IoU minus the squared distance of the centres
    over the squared diagonal of the upright hull of both. Distance-IoU (Zheng et al., AAAI 2020, arXiv 1911.08287),
    eq. 7, with the upright hull as the enclosing box."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = obb_to_hbb(a)[:, None].unbind(-1), obb_to_hbb(b).unbind(-1)
    hull_w = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_h = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    apart = (a[:, None, 0] - b[:, 0]).square() + (a[:, None, 1] - b[:, 1]).square()
    return rotated_iou(a, b) - apart / (hull_w.square() + hull_h.square()).clamp(min=1e-9)


def inside_rotated(points: Tensor, boxes: Tensor) -> Tensor:
    """(...) bool: which points (..., 2) lie inside the box (..., 5) at the same place, the rim left out; shapes that
    broadcast."""
    (x, y), (cx, cy, w, h, theta) = points.unbind(-1), boxes.unbind(-1)
    dx, dy, cos, sin = x - cx, y - cy, theta.cos(), theta.sin()
    return ((dx * cos + dy * sin).abs() < w / 2) & ((dy * cos - dx * sin).abs() < h / 2)


def _over_union(inter: Tensor, a: Tensor, b: Tensor) -> Tensor:
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - inter
    return torch.where(union > 0, inter / union, 0).clamp(0, 1)


def _shared_area(a: Tensor, b: Tensor) -> Tensor:
    """(P,) shared area of pairs of rectangles (P, 5).

    In the frame where b lies upright around the origin, the shared part is a cut to b's width, then to its height. By
    Green's theorem its area is the integral of y dx around a, with x cut to b's width and y to its height: four sides,
    each a closed formula. There is nothing to sort, and no case where corners or sides fall together.
    """
    dx, dy, cos, sin = a[:, 0] - b[:, 0], a[:, 1] - b[:, 1], b[:, 4].cos(), b[:, 4].sin()
    centre = torch.stack([dx * cos + dy * sin, dy * cos - dx * sin], 1)
    turned = _points(obb_to_corners(torch.cat([centre, a[:, 2:4], a[:, 4:] - b[:, 4:]], 1)))
    x, y = turned.unbind(-1)  # (P, 4), clockwise on the screen
    side_x, side_y = x.roll(-1, 1) - x, y.roll(-1, 1) - y
    half_w, half_h = b[:, 2:3] / 2, b[:, 3:4] / 2
    first, last = x.clamp(-half_w, half_w), x.roll(-1, 1).clamp(-half_w, half_w)
    # An upright side spans no x, so whatever part of it is taken weighs nothing.
    run = torch.where(side_x == 0, 1.0, side_x)
    y_first = y + ((first - x) / run).clamp(0, 1) * side_y
    y_last = y + ((last - x) / run).clamp(0, 1) * side_y
    low, high = torch.minimum(y_first, y_last), torch.maximum(y_first, y_last)
    rise = (high - low).clamp(min=1e-100)
    below, under = ((-half_h - low) / rise).clamp(0, 1), ((half_h - low) / rise).clamp(0, 1)
    # The mean of the cut y along the side: the parts below, between and above.
    between = (under - below) * (low + (below + under) / 2 * (high - low))
    mean = (1 - under) * half_h - below * half_h + between
    return (-(last - first) * mean).sum(1).clamp(min=0)


def _points(corners: Tensor) -> Tensor:
    return corners.reshape(*corners.shape[:-1], 4, 2)
