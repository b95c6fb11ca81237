"""GFL's head: class scores that mean quality, and each edge's distance as a distribution.

For oriented boxes the distributions are those of oriented.py; what is said of edges here holds for them too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skystill.detectors.gfl.config import GFLConfig
from skystill.detectors.gfl.layers import LevelNorm, SharedNorm, conv3x3
from skystill.detectors.gfl.oriented import decode_oriented
from skystill.structures import Dense, MapPair


class Tower(nn.Module):
    """A stack of convolution, norm and ReLU, shared by all levels."""

    def __init__(self, config: GFLConfig) -> None:
        super().__init__()
        widths = [config.neck_channels] + [config.head_channels] * config.head_depth
        pairs = list(pairwise(widths))
        self.widths = tuple(widths)
        levels = len(config.strides)
        self.convs = nn.ModuleList(conv3x3(a, b, config.convs) for a, b in pairs)
        self.norms = nn.ModuleList(LevelNorm(b, levels) if config.norm == "bn" else SharedNorm(b) for _, b in pairs)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """x: (B, C, H, W) of one level."""
        return self.end(self.start(x, level), level)

    def start(self, x: Tensor, level: int) -> Tensor:
        """All layers but the last."""
        return self._run(slice(-1), x, level)

    def end(self, x: Tensor, level: int) -> Tensor:
        """The last layer."""
        return self._run(slice(-1, None), x, level)

    def _run(self, layers: slice, x: Tensor, level: int) -> Tensor:
        for conv, norm in zip(self.convs[layers], self.norms[layers], strict=True):
            x = norm(conv(x), level).relu_()
        return x


class Head(nn.Module):
    """Two towers, then K class logits and E (n+1) edge logits at every cell."""

    def __init__(self, config: GFLConfig, num_classes: int) -> None:
        super().__init__()
        self.strides, self.bins = config.strides, config.reg_max + 1
        self.edges, self.anchor_scale = config.distributions, config.anchor_scale
        self.cls_tower, self.reg_tower = Tower(config), Tower(config)
        # A light head ends in 1x1 convolutions: a dense 3x3 to E (n+1) channels would cost more than its whole tower.
        kernel = 3 if config.convs == "dense" else 1
        self.cls = nn.Conv2d(config.head_channels, num_classes, kernel, padding=kernel // 2)
        self.reg = nn.Conv2d(config.head_channels, self.edges * self.bins, kernel, padding=kernel // 2)
        self.scales = nn.Parameter(torch.ones(len(config.strides)))
        for conv in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            if (
                config.norm == "gn"
            ):  # the paper's; with batch norm the default initialisation keeps depthwise layers alive
                nn.init.normal_(conv.weight, std=0.01)
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.normal_(self.reg.weight, std=0.01)
        nn.init.constant_(self.cls.bias, -math.log((1 - 0.01) / 0.01))  # type: ignore[arg-type]

    @property
    def middle_width(self) -> int:
        """Channels of the maps before the last layer of the towers."""
        return self.cls_tower.widths[max(0, len(self.cls_tower.convs) - 1)]

    def forward(self, pyramid: tuple[Tensor, ...]) -> Dense:
        """pyramid: (B, C, H_l, W_l), fine to coarse."""
        return self.run(pyramid)[0]

    def run(self, pyramid: tuple[Tensor, ...]) -> tuple[Dense, tuple[MapPair, ...]]:
        """Predictions, and the maps before the last layer of the towers."""
        levels = enumerate(pyramid)
        maps = tuple((self.cls_tower.start(x, level), self.reg_tower.start(x, level)) for level, x in levels)
        return self.finish(maps, range(len(maps))), maps

    def finish(self, maps: Sequence[MapPair], levels: Sequence[int]) -> Dense:
        """Predictions from maps as `run` gives them, at some of the levels; see HeadView."""
        return self._dense([self._end(pair, level) for pair, level in zip(maps, levels, strict=True)])

    def _end(self, maps: MapPair, level: int) -> _Rows:
        stride, (height, width) = self.strides[level], maps[0].shape[2:]
        cls = self.cls(self.cls_tower.end(maps[0], level))
        reg = self.reg(self.reg_tower.end(maps[1], level)) * self.scales[level]
        return (
            cls.flatten(2).transpose(1, 2),
            reg.flatten(2).transpose(1, 2),
            anchors(height, width, stride, self.anchor_scale, cls.device),
            cls.new_full((height * width,), float(stride), dtype=torch.float32),
        )

    def _dense(self, levels: list[_Rows]) -> Dense:
        """The levels' rows together, with their boxes."""
        logits, edges, places, strides = zip(*levels, strict=True)
        where, edge = torch.cat(places), torch.cat(edges, 1)
        edge = edge.view(*edge.shape[:2], self.edges, self.bins)
        boxes = (decode if self.edges == 4 else decode_oriented)(edge, where, torch.cat(strides))
        return Dense(torch.cat(logits, 1), boxes, edge, where, tuple(len(p) for p in places))


_Rows = tuple[Tensor, Tensor, Tensor, Tensor]  # of one level: logits, edges, places, strides


def anchors(height: int, width: int, stride: int, scale: float, device: torch.device) -> Tensor:
    """(H W, 4) square anchors of side scale * stride, centred on the cells of one level, row by row."""
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) * stride
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * stride
    centre = torch.stack([x.repeat(height), y[:, None].expand(-1, width).flatten()], 1)
    half = scale * stride / 2
    return torch.cat([centre - half, centre + half], 1)


def decode(edges: Tensor, places: Tensor, strides: Tensor) -> Tensor:
    """Boxes (B, N, 4) from edge logits (B, N, 4, n+1): each distance is its distribution's mean, in strides (N,)."""
    bins = torch.arange(edges.shape[-1], device=edges.device, dtype=torch.float32)
    # A sum and no matrix product, which autocast would run in half precision: half a cell lost in bfloat16.
    return from_distances((edges.float().softmax(-1) * bins).sum(-1) * strides[:, None], places)


def from_distances(distance: Tensor, places: Tensor) -> Tensor:
    """Boxes (B, N, 4) from the distances (B, N, 4) in pixels of their edges from the centres of places (N, 4)."""
    centre = (places[:, :2] + places[:, 2:]) / 2
    return torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], -1)
