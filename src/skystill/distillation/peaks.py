"""Where a channel is strong: its cells as a distribution, whose peaks are what stands out of an image.

    q_cp(x) = exp(x_cp) / sum_p' exp(x_cp'),   kappa(s, t) = mean_c KL( q_c(t) || q_c(s) )

The formula is that of CWD (Shu et al., ICCV 2021, arXiv 2011.13256), at T = 1. To second order it is
1/2 mean_c sum_p q_cp(t) (s - t)_cp^2 of maps without their q-weighted mean: the distance of patterns, in which every
cell counts by how strong the teacher is there. On standardised maps both are on one scale.
B batch, C channels, P cells; everything float32.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.correlation import Seen


def peaks_distance(a: Tensor, b: Tensor) -> Tensor:
    """(B,) kappa from the teacher's maps b to the student's a, both (B, C, P)."""
    return F.kl_div(a.log_softmax(2), b.log_softmax(2), reduction="none", log_target=True).sum(2).mean(1)


class Peaks:
    """The distributions of a teacher level's maps (B, C_t, P), which serve every student level."""

    def __init__(self, maps: Tensor) -> None:
        rows = maps.mT  # cells in rows, as those of channels-last maps lie
        shares = rows.softmax(1)
        # log sum_p exp, by the cell that is strongest: its share is never near 0.
        total = rows.amax(1) - shares.amax(1).log()
        self.shares, self.entropy = shares.mT, total - (shares * rows).sum(1)

    def distance(self, phi: nn.Conv2d, seen: Seen) -> Tensor:
        """(B,) `peaks_distance` of phi's maps: they meet the teacher's in a sum that needs no maps, and on their own
        in one that all teacher levels share."""
        along = (phi.weight.flatten(1) * (self.shares @ seen.features.mT)).sum(2)
        distance: Tensor = (seen.total(phi) - along - self.entropy).mean(1)
        return distance
