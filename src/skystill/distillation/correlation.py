"""The Pearson distance of a student's features to a teacher's through a 1x1 convolution phi, without making phi's maps.

    d = mean_c 1/2 E[(std(w_c s) - std(t_c))^2],   std(w_c s) = (w_c s - E[w_c s]) / sqrt(w_c Cov(s) w_c + eps)

phi is linear, so that E[w_c s] goes out and all else follows from the second moments of s and of s with t: two matrix
products, where maps as wide as the teacher would have to be written, standardised, subtracted and squared, and all that
again on the way back. It takes a third of the time on a CPU. Of few cells the maps are small, and then they are made:
moments of C_s x C_s have a price of their own.
B batch, C_s and C_t channels, P cells; everything float32.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from skystill.distillation.maps import MIN_SAMPLES, standardise

_EPS = 1e-6  # as standardise has it
_FEW = 4  # up to this many cells for each channel of the student, making the maps is faster


class Seen:
    """Features (B, C, P) of a student level, with moments that serve every teacher level they are compared with."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self._maps: dict[nn.Conv2d, Tensor] = {}
        self._adapted: dict[nn.Conv2d, Tensor] = {}
        self._totals: dict[nn.Conv2d, Tensor] = {}

    def maps(self, phi: nn.Conv2d) -> Tensor:
        """(B, C_t, P): phi's maps without its bias."""
        if phi not in self._maps:
            self._maps[phi] = phi.weight.flatten(1) @ self.features
        return self._maps[phi]

    def adapted(self, phi: nn.Conv2d) -> Tensor:
        """(B, C_t, P): phi's maps, standardised."""
        if phi not in self._adapted:
            maps = self.maps(phi)
            self._adapted[phi] = standardise(maps if phi.bias is None else maps + phi.bias[:, None])
        return self._adapted[phi]

    def total(self, phi: nn.Conv2d) -> Tensor:
        """(B, C_t): log sum_p exp of phi's maps, without its bias, which no share of a cell depends on."""
        if phi not in self._totals:
            self._totals[phi] = self.maps(phi).mT.logsumexp(1)  # cells in rows, as they lie
        return self._totals[phi]

    @cached_property
    def centred(self) -> Tensor:
        """(B, C, P): without each channel's mean over batch and cells."""
        return self.features - self.features.mean((0, 2), keepdim=True)

    @cached_property
    def second(self) -> Tensor:
        """(B, C, C): of every image, E[s s'] of the centred channels."""
        return self.centred @ self.centred.mT / self.centred.shape[2]


def distance_through(phi: nn.Conv2d, seen: Seen, wanted: Tensor) -> Tensor:
    """(B,) `pearson_distance` of phi's maps and the teacher's. wanted: (B, C_t, P), standardised."""
    batch, channels, cells = seen.features.shape
    # Of very few samples `standardise` looks at an image and not at a channel.
    if cells <= _FEW * channels or batch * cells < MIN_SAMPLES:
        return (seen.adapted(phi) - wanted).square().flatten(1).mean(1) / 2
    w = phi.weight.flatten(1)
    power = ((w @ seen.second) * w).sum(2)  # E[(w_c s)^2] of each image
    scale = (power.mean(0) + _EPS).rsqrt()
    along = (w * (wanted @ seen.centred.mT)).sum(2) / cells
    own = torch.linalg.vector_norm(wanted, dim=2).square() / cells
    distance: Tensor = ((power * scale.square() + own) / 2 - along * scale).mean(1)
    return distance
