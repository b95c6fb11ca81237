"""Which levels matter: those at which the teacher finds objects.

A level that finds nothing still has a pattern, of context and of padding, and a small student that imitates it as hard
as the others spends itself on what no object needs. The larger the objects of an image, the coarser the level that
finds them, so that the weight goes where the image's objects are.
B batch, L_s student and L_t teacher levels, fine to coarse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skystill.distillation.views import scored
from skystill.structures import Knowledge

LEAST = 0.05  # a place that scores less finds nothing


@torch.no_grad()
def finds_by_level(teacher: Knowledge) -> Tensor | None:
    """(B, L_t) of all that is found in an image, by its scores, the share of each level; all alike where nothing is.

    None for a teacher that does not say at which level it finds. To a two-stage student a two-stage one says it by its
    first stage.
    """
    dense = scored(teacher)
    if dense is None or len(dense.levels) != len(teacher.pyramid):
        return None
    best = dense.best()
    found = torch.split(torch.where(best >= LEAST, best, 0), list(dense.levels), 1)
    scores = torch.stack([level.sum(1) for level in found], 1)
    total = scores.sum(1, keepdim=True)
    return torch.where(total > 0, scores / total.clamp(min=LEAST), 1 / scores.shape[1])


def over_levels(distances: Tensor, found: Tensor | None, share: float) -> Tensor:
    """mean_b sum_i w_i d_i, a scalar, of the student levels' distances d (B, L_s).

    w_i = (1 - share) / L_s + share * found_i / sum_i found_i; 1 / L_s where `found` is None. found: (B, L_s) shares of
    what the teacher finds at the levels that each student level learns from, such as sum_j alpha_ij finds_j.
    """
    if found is None:
        return distances.mean()
    even = torch.full_like(distances, 1 / distances.shape[1])
    weights = torch.lerp(even, found / found.sum(1, keepdim=True).clamp(min=1e-6), share)
    return (weights * distances).sum(1).mean()
