"""The towers of torchvision's RetinaNet and FCOS heads, opened before their last convolution.

A head there has a part for classes and one for boxes. Each runs its tower, `conv`, over the levels, and then what
predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from torch import Tensor, nn

from skystill.structures import MapPair


def open_towers(head: Any, pyramid: Sequence[Tensor]) -> tuple[MapPair, ...]:
    """The maps before the last convolution of both towers, a pair for each level."""
    of_cls, of_reg = _split(head.classification_head)[0], _split(head.regression_head)[0]
    return tuple((of_cls(level), of_reg(level)) for level in pyramid)


def finish_towers(head: Any, maps: Sequence[MapPair]) -> dict[str, Tensor]:
    """What the head says of such maps, by its own code and weights, under torchvision's names."""
    found = _rest(head.regression_head)([of_reg for _, of_reg in maps])
    boxes = found if isinstance(found, tuple) else (found,)  # FCOS says centerness too
    said = dict(zip(("bbox_regression", "bbox_ctrness"), boxes, strict=False))
    return {"cls_logits": _rest(head.classification_head)([of_cls for of_cls, _ in maps]), **said}


def _rest(part: nn.Module) -> nn.Module:
    """The same part, of the same weights, with the end of its tower alone."""
    rest = copy(part)
    rest._modules = {**part._modules, "conv": _split(part)[1]}
    return rest


def _split(part: Any) -> tuple[nn.Sequential, nn.Sequential]:
    """A part's tower before its last convolution, and from there on."""
    tower: nn.Sequential = part.conv
    last = max(i for i, layer in enumerate(tower) if any(isinstance(m, nn.Conv2d) for m in layer.modules()))
    return tower[:last], tower[last:]
