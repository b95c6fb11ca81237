"""Everything that fixes a GFL's architecture, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skystill.detectors.gfl.oriented import FEWEST_BINS
from skystill.errors import ConfigError
from skystill.kinds import BoxKind

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class GFLConfig:
    """Architecture of a GFL detector.

    kind: "hbb", four edge distances a place, or "obb", five distributions (see oriented.py). backbone: a timm model
    that supports features_only. in_chans: bands of an image. levels: first and last pyramid level, level l has stride
    2^l. neck_channels, head_channels: width. head_depth: convolutions in each tower. convs: "dense" 3x3 or "depthwise"
    separable. norm: "gn" (group norm, the paper's) or "bn" (batch norm, one set of statistics a level, folded into the
    convolution on export). reg_max: n, so that a distance has n + 1 bins of one stride. anchor_scale: side of a place's
    anchor in strides. mean, std: normalisation of images in 0..1; one value stands for all bands.
    """

    backbone: str = "resnet18"
    in_chans: int = 3
    levels: tuple[int, int] = (3, 7)
    neck_channels: int = 256
    head_channels: int = 256
    head_depth: int = 4
    convs: Literal["dense", "depthwise"] = "dense"
    norm: Literal["gn", "bn"] = "gn"
    reg_max: int = 16
    anchor_scale: float = 8.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    kind: BoxKind = "hbb"

    def __post_init__(self) -> None:
        if not isinstance(self.levels, tuple) or [type(level) for level in self.levels] != [int, int]:
            raise ConfigError(f"levels {self.levels!r}: give the first and the last pyramid level, e.g. [3, 5].")
        for name in ("in_chans", "neck_channels", "head_channels", "head_depth", "reg_max"):
            value, least = getattr(self, name), int(name != "head_depth")
            if not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} {value!r}: give a whole number, {least} or more.")
        if not isinstance(self.anchor_scale, int | float) or not self.anchor_scale > 0:
            raise ConfigError(f"anchor_scale {self.anchor_scale!r}: give a number above 0.")
        first, last = self.levels
        if not 2 <= first <= min(last, 5):
            raise ConfigError(f"levels {self.levels}: the first level is 2 to 5 and not above the last, e.g. [3, 5].")
        if self.convs not in ("dense", "depthwise") or self.norm not in ("gn", "bn"):
            raise ConfigError(f"convs {self.convs!r}, norm {self.norm!r}: choose dense or depthwise, and gn or bn.")
        if self.kind not in ("hbb", "obb"):
            raise ConfigError(f"kind {self.kind!r} is unknown; choose hbb or obb.")
        if self.kind == "obb" and self.reg_max + 1 < FEWEST_BINS:
            raise ConfigError(f"reg_max {self.reg_max}: an angle needs finer bins. Give at least {FEWEST_BINS - 1}.")

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level."""
        return tuple(2**level for level in range(self.levels[0], self.levels[1] + 1))

    @property
    def distributions(self) -> int:
        """How many distributions make a box."""
        return 4 if self.kind == "hbb" else 5
