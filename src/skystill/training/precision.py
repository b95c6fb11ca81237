"""bfloat16 on a CPU, without the operation that it makes slower.

Processors with bfloat16 units run dense convolutions several times as fast in it, but the backward pass of a depthwise
one, of which light backbones are full, is several times as slow as in float32 (benchmarks/speed/bfloat16.py).
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn


def keep_depthwise_in_float32(model: nn.Module) -> int:
    """Lets the depthwise 2-D convolutions of a model that trains on a CPU out of its mixed precision. Returns how many.

    Copies of the model made later keep it; weights and their names stay as they are.
    """
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels]
    for module in found:
        module.forward = MethodType(_in_float32, module)  # type: ignore[method-assign]
    return len(found)


def _in_float32(self: nn.Conv2d, images: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return type(self).forward(self, images.float())
