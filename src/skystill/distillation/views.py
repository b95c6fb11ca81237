"""What one kind of head says, told in the form of another, so that any two can be compared.

B batch, N places, K classes, R boxes of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from skystill.structures import Dense, Knowledge, TwoStage

NOTHING = -13.8  # logit of a score of 1e-6
ANCHORS = 1000  # of an image, at which a second stage is asked; as many as two-stage detectors look at themselves


def independent(logits: Tensor) -> Tensor:
    """(..., K) logit(p_k) of softmax logits (..., K+1), background last; p_k at most 1 - 1e-6."""
    log_p = logits.float().log_softmax(-1)[..., :-1].clamp(max=-1e-6)
    return log_p - (-log_p.expm1()).log()


def as_sigmoid(dense: Dense) -> Dense:
    """A softmax head as one of independent scores, so that `scores()` stay as they are; a sigmoid head as it is."""
    if dense.activation == "sigmoid":
        return dense
    return replace(dense, logits=independent(dense.logits), activation="sigmoid")


def any_object(dense: Dense) -> Dense:
    """A head that tells objects from background alone, K = 1, as first stages do.

    Its logit is the best class's where classes are independent, log p(objects) / p(background) of a softmax.
    """
    if dense.activation == "sigmoid":
        return replace(dense, logits=dense.logits.amax(-1, keepdim=True))
    logits = dense.logits.float()
    odds = logits[..., :-1].logsumexp(-1, keepdim=True) - logits[..., -1:]
    return replace(dense, logits=odds, activation="sigmoid")


def as_one_stage(teacher: Knowledge) -> Knowledge:
    """A teacher as one-stage students hear it, live as from a cache: a two-stage one by what it finds at its anchors,
    any other as it is."""
    if teacher.stages is None:
        return teacher
    return replace(teacher, dense=at_anchors(teacher.stages, teacher.pyramid), stages=None)


def scored(knowledge: Knowledge) -> Dense | None:
    """What scores the cells of a pyramid: a dense head, or a first stage."""
    return knowledge.stages.first if knowledge.stages is not None else knowledge.dense


@torch.no_grad()
def at_anchors(stages: TwoStage, pyramid: Sequence[Tensor], most: int = ANCHORS) -> Dense:
    """A two-stage head as a dense one: what its second stage says of the first stage's boxes, at their anchors.

    It is asked at the `most` anchors of an image where the first stage is surest, without NMS, so that all places of an
    object know what it is. The others are background, as what is not proposed is.
    """
    first = stages.first
    best = first.logits[..., 0].topk(min(most, first.logits.shape[1])).indices  # (B, n)
    batch = torch.arange(len(best), device=best.device)[:, None]
    found, by_class = stages.judge(pyramid, list(first.boxes[batch, best].float().unbind()))
    told = independent(found)
    logits = told.new_full((*first.logits.shape[:2], told.shape[1]), NOTHING)
    boxes = first.boxes.float().clone()
    logits[batch, best] = told.view(*best.shape, -1)
    boxes[batch, best] = of_class(by_class, told.argmax(1)).view(*best.shape, 4)
    return replace(first, logits=logits, boxes=boxes)


def of_class(by_class: Tensor, label: Tensor) -> Tensor:
    """(R, 4) of (R, K, 4), the box of each one's class."""
    return by_class[torch.arange(len(label), device=label.device), label]


def same_bins(edges_s: Tensor, edges_t: Tensor) -> tuple[Tensor, Tensor]:
    """Edge logits (..., n+1) of both sides over the bins of the shorter one, whose last then means "there or farther".

    Heads differ in how far they see, GFL's 17 bins and YOLO's 16 say; what a bin means is the same, so many strides.
    """
    n = min(edges_s.shape[-1], edges_t.shape[-1])
    return _until(edges_s, n), _until(edges_t, n)


def _until(edges: Tensor, n: int) -> Tensor:
    if edges.shape[-1] == n:
        return edges
    return torch.cat([edges[..., : n - 1], edges[..., n - 1 :].logsumexp(-1, keepdim=True)], -1)
