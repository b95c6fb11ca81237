"""Feature pyramid network (Lin et al., CVPR 2017), torchvision's, with coarser levels and light convolutions added."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from skystill.detectors.gfl.config import GFLConfig
from skystill.detectors.gfl.layers import conv3x3


class Neck(nn.Module):
    """Backbone maps of `channels`, fine to coarse, become a pyramid of equal width; levels above 5 by strided
    convolutions."""

    def __init__(self, channels: list[int], config: GFLConfig) -> None:
        super().__init__()
        width = config.neck_channels
        norm = nn.BatchNorm2d if config.norm == "bn" else None
        self.fpn = FeaturePyramidNetwork(channels, width, norm_layer=norm)
        if config.convs == "depthwise":
            self.fpn.layer_blocks = nn.ModuleList(
                nn.Sequential(conv3x3(width, width, "depthwise"), nn.BatchNorm2d(width)) for _ in channels
            )
        extra = max(0, config.levels[1] - 5)
        self.coarser = nn.ModuleList(conv3x3(width, width, config.convs, stride=2) for _ in range(extra))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        """maps: (B, C_l, H_l, W_l), fine to coarse. Returns (B, C, H_l, W_l) for every level."""
        pyramid = list(self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps))).values())
        for conv in self.coarser:
            pyramid.append(conv(pyramid[-1]))
        return tuple(pyramid)
