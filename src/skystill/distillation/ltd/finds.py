"""Which levels matter: those at which the teacher finds objects.

A level that finds nothing still has a pattern, of context and of padding, and a small student that imitates it as hard
as the others spends itself on what no object needs. The larger the objects of an image, the coarser the level that
finds them, so that the weight goes where the image's objects are.
B batch, L_s student and L_t teacher levels, fine to coarse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skystill.structures import Knowledge

LEAST = 0.05  # a place that scores less finds nothing


@torch.no_grad()
def finds_by_level(teacher: Knowledge) -> Tensor | None:
    """(B, L_t) of all that is found in an image, by its scores, the share of each level; all alike where nothing is.

    None for a teacher that does not say at which level it finds. A two-stage one says it by its first stage.
    """
    dense = teacher.dense if teacher.stages is None else teacher.stages.first
    if dense is None or len(dense.levels) != len(teacher.pyramid):
        return None
    best = dense.best()
    found = torch.split(torch.where(best >= LEAST, best, 0), list(dense.levels), 1)
    scores = torch.stack([level.sum(1) for level in found], 1)
    total = scores.sum(1, keepdim=True)
    return torch.where(total > 0, scores / total.clamp(min=LEAST), 1 / scores.shape[1])


def level_weights(alpha: Tensor, finds: Tensor | None, share: float) -> Tensor:
    """(B, L_s) how much each student level counts, which sums to 1 in an image. alpha: (B, L_s, L_t) from where it
    learns.

    w_i = (1 - share) / L_s + share * sum_j alpha_ij finds_j / sum_ij alpha_ij finds_j
    """
    even = alpha.new_full(alpha.shape[:2], 1 / alpha.shape[1])
    if finds is None or share == 0:
        return even
    weight = (alpha.detach() * finds[:, None]).sum(2)
    return torch.lerp(even, weight / weight.sum(1, keepdim=True).clamp(min=1e-6), share)
