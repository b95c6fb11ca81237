"""MGD: masked generative distillation (Yang et al., ECCV 2022, https://arxiv.org/abs/2205.01529), eq. 2-5.

    L = sum over C, H, W of (t - G(phi(s) M))^2,   G = conv3x3 - ReLU - conv3x3,   M = 0 at a random share of the cells

Averaged over the B images of a batch and added up over levels. C channels, H W cells; M is one for all channels, drawn
anew for every image, level and step. mask 0.65 and weight 2e-5: the paper's for one-stage detectors. The form is the
paper's, sums included, so the weight counts by the values in a map: a level of 128 x 32 x 32 weighs 1/33 of the paper's
256 x 100 x 168, and a mean squared difference of 1 there gives 2.6.
Differs from the paper: nothing but the pairing of levels by stride, with the finer map averaged down.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skystill.distillation.peers.levels import LevelMethod
from skystill.distillation.settings import Share, Weight
from skystill.errors import ConfigError
from skystill.structures import Knowledge, Targets


def kept_cells(feat: Tensor, mask: float) -> Tensor:
    """(B, 1, H, W) for features (B, C, H, W): 0 with probability `mask`, else 1."""
    b, _, h, w = feat.shape
    return (torch.rand(b, 1, h, w, device=feat.device) >= mask).to(feat.dtype)


def generation_loss(generated: Tensor, feat_t: Tensor) -> Tensor:
    """Sum of squared differences of two (B, C, H, W) divided by B, a scalar."""
    return (feat_t - generated).square().sum() / len(feat_t)


def generator(channels: int) -> nn.Sequential:
    """G, which fills in what the mask has hidden."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


class MGD(LevelMethod):
    """MGD on every student level. mask: share of the cells that are hidden. Returns "mgd"."""

    def __init__(self, weight: Weight = 2e-5, mask: Share = 0.65) -> None:
        super().__init__(weight)
        if not 0 <= mask < 1:
            raise ConfigError(f"mask {mask} is no share of the cells; choose 0 or more and less than 1.")
        self.mask = mask
        self.generate = nn.ModuleList()

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Also makes a generator for every student level."""
        super().build(student, teacher)
        self.generate = nn.ModuleList(generator(teacher.pyramid[j].shape[1]) for j in self.partner)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        losses = [
            generation_loss(generate(s * kept_cells(s, self.mask)), t)
            for generate, (s, t) in zip(self.generate, self.pairs(student, teacher), strict=True)
        ]
        return {"mgd": self.weight * torch.stack(losses).sum()}
