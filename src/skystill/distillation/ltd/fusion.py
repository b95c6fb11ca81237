"""Cross-layer fusion: the student's levels, coarse to fine, gated into one another: LTD's implicit binding.

x_i = norm(1x1 conv(s_i)); f_L = x_L; f_i = g_1 x_i + g_2 up(f_{i+1}) with g = sigmoid(1x1 conv[x_i; up(f_{i+1})]).
Student level j reaches the calibrated map of level i <= j with weight
beta(i<-j) = g_1^(j) prod_{k=i..j-1} g_2^(k), where g_1^(L) = 1.
The form without calibration is ReviewKD's (CVPR 2021, arXiv 2104.09044).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Fusion(nn.Module):
    """Student pyramid of `inputs` channels a level to fused maps of `width` channels, fine to coarse."""

    def __init__(self, inputs: list[int], width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Sequential(nn.Conv2d(c, width, 1, bias=False), norm(width)) for c in inputs)
        self.gates = nn.ModuleList(nn.Conv2d(2 * width, 2, 1) for _ in inputs[:-1])
        self._gates: list[Tensor] = []
        self._images = 0

    def forward(self, pyramid: tuple[Tensor, ...]) -> list[Tensor]:
        """pyramid: (B, C_i, H_i, W_i), fine to coarse. Returns (B, width, H_i, W_i) a level."""
        x = [reduce(s) for reduce, s in zip(self.reduce, pyramid, strict=True)]
        fused = [x[-1]]
        self._gates, self._images = [], len(fused[0])
        for i in range(len(x) - 2, -1, -1):
            size, gate = x[i].shape[2:], self.gates[i]
            up = F.interpolate(fused[0], size=size)
            # The convolution of [x_i; up(f_{i+1})], in two parts: on the coarser map it costs a quarter.
            here, above = gate.weight.split(x[i].shape[1], 1)  # type: ignore[operator]
            g = F.conv2d(x[i], here, gate.bias) + F.interpolate(F.conv2d(fused[0], above), size=size)  # type: ignore[arg-type]
            g = g.sigmoid()
            fused.insert(0, torch.addcmul(g[:, :1] * x[i], g[:, 1:], up))
            self._gates.insert(0, g)
        return fused

    def __getstate__(self) -> dict[str, Any]:
        """Without the last forward's gates: they belong to a graph, which can be neither copied nor pickled."""
        return {**self.__dict__, "_gates": []}

    def beta(self) -> Tensor:
        """(B, L, L) mean of beta(i<-j) over the cells of each image of the last forward; row i: calibrated level,
        column j: student level."""
        levels = len(self.reduce)
        rows: list[Tensor] = []
        weights: dict[int, Tensor] = {}
        for i in range(levels - 1, -1, -1):
            if i == levels - 1:
                weights = {i: next(self.parameters()).new_ones(1, 1, 1, 1)}
            else:
                g = self._gates[i]
                size = g.shape[2:]
                weights = {j: g[:, 1:] * F.interpolate(w, size=size) for j, w in weights.items()}
                weights[i] = g[:, :1]
            zero = weights[i].new_zeros(1)
            means = [weights[j].mean((1, 2, 3)) if j in weights else zero for j in range(levels)]
            rows.insert(0, torch.stack([mean.expand(self._images) for mean in means], 1))
        return torch.stack(rows, 1)
