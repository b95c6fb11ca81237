"""TensorFlow's "same" padding as constants, for graphs whose image sides are free.

timm computes it from the sides at run time, as EfficientNet-lite's TensorFlow weights want it. With free sides those
formulas nest from layer to layer, and torch.export simplifies them without end.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.cond_conv2d import CondConv2d
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2dSame, StdConv2dSame
from torch import Tensor, nn

from skystill.detectors.base import Detector
from skystill.errors import ConfigError


class ConstantSame(nn.Conv2d):
    """timm's Conv2dSame, with its weights under their names, for sides that its stride divides.

    "Same" adds max((ceil(x / s) - 1) s + (k - 1) d + 1 - x, 0) zeros to a side x (stride s, kernel k, dilation d), the
    smaller half first. Where s divides x, ceil(x / s) s is x, and max((k - 1) d + 1 - s, 0) is left, whatever x.
    Images (B, C, H, W) whose sides s does not divide come out wrong; `with_constant_padding` looks for them.
    """

    def __init__(self, same: nn.Conv2d) -> None:
        sizes: dict[str, Any] = {name: getattr(same, name) for name in ("kernel_size", "stride", "dilation", "groups")}
        super().__init__(same.in_channels, same.out_channels, **sizes, bias=same.bias is not None, device="meta")
        self.weight, self.bias = same.weight, same.bias
        self.pads: list[int] = []  # left, right, top, bottom
        for k, s, d in reversed(list(zip(self.kernel_size, self.stride, self.dilation, strict=True))):
            total = max((k - 1) * d + 1 - s, 0)
            self.pads += [total // 2, total - total // 2]

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / s, W / s)."""
        return F.conv2d(F.pad(images, self.pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def with_constant_padding(detector: Detector, images: Tensor) -> Detector:
    """A copy of the detector with `ConstantSame` for each Conv2dSame, or the detector itself if it has none.

    images: (B, C, H, W) of sides 2 m and 3 m, m being the detector's `multiple`. A stride that divides both sides that
    a layer has then also divides their difference, and so what m becomes there and every multiple of it.
    Errors: ConfigError for a layer that such constants do not fit; it can still be exported at one size.
    """
    layers: dict[str, nn.Conv2d] = {n: layer for n, layer in detector.named_modules() if isinstance(layer, Conv2dSame)}
    others = [name for name, layer in detector.named_modules() if _pads_by_size(layer)]
    if not layers and not others:
        return detector
    if wrong := others or _undivided(detector, layers, images):
        raise ConfigError(
            f"the detector's layer {wrong[0]} pads by the size of the image, so it cannot be exported for any size. "
            "Give --size '[HEIGHT, WIDTH]', or take another backbone."
        )
    copy = deepcopy(detector)
    for name in layers:
        parent, _, child = name.rpartition(".")
        same: Any = copy.get_submodule(name)
        setattr(copy.get_submodule(parent), child, ConstantSame(same))
    return copy


def _pads_by_size(layer: nn.Module) -> bool:
    """Whether it is another of timm's convolutions with "same" padding at run time: NFNet's and those with experts."""
    scaled = isinstance(layer, StdConv2dSame | ScaledStdConv2dSame) and layer.same_pad
    return bool(scaled or (isinstance(layer, CondConv2d) and layer.dynamic_padding))


def _undivided(detector: Detector, layers: dict[str, nn.Conv2d], images: Tensor) -> list[str]:
    """Names of the layers that see a side which their stride does not divide."""
    found: list[str] = []

    def look(name: str, layer: nn.Conv2d, given: Tensor) -> None:
        if any(side % s for side, s in zip(given.shape[2:], layer.stride, strict=True)):
            found.append(name)

    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: look(name, layer, given[0]))
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            detector.raw(images)
    except Exception as error:  # windows that do not fit, say: a backbone may want more than its strides do
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the detector does not take {images.shape[2]}x{images.shape[3]} pixels ({reason}), so it cannot be "
            "exported for any size. Give --size '[HEIGHT, WIDTH]'."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return found
