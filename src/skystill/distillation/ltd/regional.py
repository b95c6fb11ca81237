"""Regional binding: CCD's cross-layer binding decided anew for every object, where the paper decides once an image.

At random points p, half of them inside objects (every object as likely as any other, however small) and half anywhere,
levels are compared cell against cell: the cell of student level i that p lies in with the cell of teacher level j.

d_ij(p)     = 1 - mean_c phi_i(s_i)(p) t_j(p)     channels without what is the same in every image, standardised
alpha_ij(o) = softmax_j((1 - mean_{p in o} d_ij(p)) / tau - rho |log2 stride_i - log2 stride_j|)     without gradient
L          = mean_p 1/L_s sum_ij alpha_ij(o(p)) d_ij(p)

o(p) is the object that p lies in; points anywhere are a region of their image. So a small object binds to the levels
that see it, and a large one beside it to others; and objects, a few cells in a hundred, are half of the lesson.

What is the same in every image: zero padding draws a pattern on deep levels that depends on the place alone. Where a
level has little else to say (on thermal UAV images with objects below 60 px a teacher's level of stride 32 had nothing
else), any student learns the pattern at once, the level counts as the easiest, and a binding by ease runs to it. So
each map loses its mean over the batch at every place, and a level that has nothing left is at distance 1 from all.

Ours, not the paper's. Equal weight for few object cells: after FGD's area normalisation (CVPR 2022).
B batch, P points, M objects, L_s and L_t levels.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from skystill.distillation.adapters import adapter
from skystill.distillation.ltd.ccd import different_widths, level_gap
from skystill.distillation.maps import standardise
from skystill.structures import Knowledge, Targets

_LEAST = 32  # points of an image, however large the batch
_BATCH = 4  # images from which a mean over the batch is what they share; fewer are left as they are
_FLOOR, _EPS = 1e-3, 1e-6  # what counts as nothing left: this share of a channel's variance, or variance


class RegionalBinding(nn.Module):
    """A 1x1 adapter phi_i for each student level and each width of the teacher's levels, and the loss above.

    places: points of a whole batch. focus: share of them inside objects.
    """

    def __init__(
        self, student: Knowledge, teacher: Knowledge, places: int, focus: float, tau: float, rho: float
    ) -> None:
        super().__init__()
        self.places, self.focus, self.tau, self.rho = places, focus, tau, rho
        self.strides = (student.strides, teacher.strides)
        self.widths = different_widths(teacher.pyramid)
        self.adapt = nn.ModuleList(adapter(s.shape[1], width) for width in self.widths for s in student.pyramid)
        self.gap: Tensor
        self.register_buffer("gap", level_gap(*self.strides), persistent=False)

    def forward(
        self, pyramid_s: tuple[Tensor, ...], pyramid_t: tuple[Tensor, ...], targets: list[Targets]
    ) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and alpha (B, L_s, L_t), its mean over each image's points."""
        height, width = (side * self.strides[0][0] for side in pyramid_s[0].shape[2:])
        points, region = draw_points(targets, max(self.places // len(targets), _LEAST), self.focus, (height, width))
        points, region = points.to(pyramid_s[0].device), region.to(pyramid_s[0].device)
        content = [_content(s, points, stride)[..., None] for s, stride in zip(pyramid_s, self.strides[0], strict=True)]
        adapted = (standardise(phi(c)[..., 0]) for phi, c in zip(self.adapt, content * len(self.widths), strict=True))
        seen_s = dict(zip(product(self.widths, range(len(content))), adapted, strict=True))
        seen_t = [
            standardise(_content(t, points, stride), _EPS + _FLOOR * t.var((0, 2, 3), correction=0)[:, None])
            for t, stride in zip(pyramid_t, self.strides[1], strict=True)
        ]
        rows = [
            torch.stack([1 - (seen_s[t.shape[1], i] * t).mean(1) for t in seen_t], 2) for i in range(len(pyramid_s))
        ]
        distances = torch.stack(rows, 2)  # (B, P, L_s, L_t)
        alpha = self._bind(distances.detach(), region)
        return (alpha * distances).sum(3).mean(), alpha.mean(1)

    def _bind(self, distances: Tensor, region: Tensor) -> Tensor:
        """alpha (B, P, L_s, L_t), the same for all points of a region."""
        _, number = torch.unique(region, return_inverse=True)
        flat = distances.flatten(0, 1)
        count = number.flatten().bincount()
        mean = flat.new_zeros(len(count), *flat.shape[1:]).index_add(0, number.flatten(), flat)
        alpha: Tensor = ((1 - mean / count[:, None, None]) / self.tau - self.rho * self.gap).softmax(2)
        return alpha[number]


def draw_points(targets: list[Targets], count: int, focus: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(B, P, 2) points (x, y) in pixels, P = count, and their region (B, P): a number that objects and images share
    with no other. focus: share of the points inside objects, of images that have some. size: (height, width)."""
    limit = torch.tensor([size[1], size[0]], dtype=torch.float32)
    found, regions = [], []
    for number, target in enumerate(targets):
        boxes = target.counted().boxes.float().cpu()
        inside = round(count * focus) if len(boxes) else 0
        chosen = torch.randint(max(1, len(boxes)), (inside,))
        points = torch.cat([_inside(boxes[chosen]), torch.rand(count - inside, 2) * limit])
        found.append(torch.minimum(points.clamp(min=0), limit - 1e-3))
        first = sum(len(t) + 1 for t in targets[:number])
        regions.append(torch.cat([first + 1 + chosen, torch.full((count - inside,), first)]))
    return torch.stack(found), torch.stack(regions)


def _inside(boxes: Tensor) -> Tensor:
    """(P, 2) a random point in each box (P, 4|5)."""
    share = torch.rand(len(boxes), 2)
    if boxes.shape[1] == 4:
        return boxes[:, :2] + share * (boxes[:, 2:] - boxes[:, :2])
    x, y = ((share - 0.5) * boxes[:, 2:4]).unbind(1)
    cos, sin = boxes[:, 4].cos(), boxes[:, 4].sin()
    return boxes[:, :2] + torch.stack([x * cos - y * sin, x * sin + y * cos], 1)


def _content(x: Tensor, points: Tensor, stride: int) -> Tensor:
    """(B, C, P) the cells of (B, C, H, W) that points (B, P, 2) lie in, without what all images share at a place."""
    height, width = x.shape[2:]
    column = (points[..., 0] / stride).long().clamp(max=width - 1)
    row = (points[..., 1] / stride).long().clamp(max=height - 1)
    place = (row * width + column)[:, None].expand(-1, x.shape[1], -1)
    own = x - x.mean(0, keepdim=True) if len(x) >= _BATCH else x
    return own.flatten(2).gather(2, place)
