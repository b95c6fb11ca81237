"""The convolutions that necks and heads are made of."""

from __future__ import annotations

import math

from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, kind: str, stride: int = 1) -> nn.Module:
    """A 3x3 convolution: "dense", or "depthwise" separable (3x3 a channel, then 1x1)."""
    if kind == "dense":
        return nn.Conv2d(inputs, outputs, 3, stride, 1)
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1),
    )


class LevelNorm(nn.Module):
    """Batch norm with its own statistics for each pyramid level, so that a shared convolution serves levels of
    different scale."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(levels))

    def forward(self, x: Tensor, level: int) -> Tensor:
        """x: (B, C, H, W) of the given level."""
        normed: Tensor = self.norms[level](x)
        return normed


class SharedNorm(nn.GroupNorm):
    """Group norm of 32 groups, or the most that divide the channels into groups of two or more, that all levels
    share."""

    def __init__(self, channels: int) -> None:
        groups = math.gcd(32, channels)
        # A group of one channel would wipe out a level of one cell.
        super().__init__(max(1, groups // 2) if groups == channels else groups, channels)

    def forward(self, x: Tensor, level: int = 0) -> Tensor:
        """x: (B, C, H, W) of any level."""
        return super().forward(x)
