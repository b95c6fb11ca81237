"""What one kind of head says, told in the form of another, so that any two can be compared.

B batch, N places, K classes, R boxes of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, TwoStage

_NOTHING = -13.8  # logit of a score of 1e-6
_ANCHORS = 1000  # of an image, at which a second stage is asked; as many as two-stage detectors look at themselves
_PROPOSALS = 256  # of an image, that are distilled


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


def scored(knowledge: Knowledge) -> Dense | None:
    """What scores the cells of a pyramid: a dense head, or a first stage."""
    return knowledge.stages.first if knowledge.stages is not None else knowledge.dense


@torch.no_grad()
def at_anchors(stages: TwoStage, pyramid: Sequence[Tensor], most: int = _ANCHORS) -> Dense:
    """A two-stage head as a dense one: what its second stage says of the first stage's boxes, at their anchors.

    It is asked at the `most` anchors of an image where the first stage is surest, without NMS, so that all places of an
    object know what it is. The others are background, as what is not proposed is.
    """
    first = stages.first
    best = first.logits[..., 0].topk(min(most, first.logits.shape[1])).indices  # (B, n)
    batch = torch.arange(len(best), device=best.device)[:, None]
    found, by_class = stages.judge(pyramid, list(first.boxes[batch, best].float().unbind()))
    told = independent(found)
    logits = told.new_full((*first.logits.shape[:2], told.shape[1]), _NOTHING)
    boxes = first.boxes.float().clone()
    logits[batch, best] = told.view(*best.shape, -1)
    boxes[batch, best] = _of_class(by_class, told.argmax(1)).view(*best.shape, 4)
    return replace(first, logits=logits, boxes=boxes)


def on_proposals(student: Knowledge, teacher: Knowledge, most: int = _PROPOSALS) -> tuple[list[Tensor], Dense, Dense]:
    """What both say of the student's proposals, at most `most` an image: boxes of each image, and both heads.

    The heads are told as of one image whose R places are all the proposals. A two-stage teacher judges them by its own
    second stage, both heads softmax; of a dense one its best prediction that covers a proposal counts. The student
    answers with its box of the teacher's class.
    Errors: ConfigError when the teacher has neither head.
    """
    assert student.stages is not None
    boxes = [proposals[:most] for proposals in student.stages.proposals]
    places = torch.cat(boxes)
    logits_s, by_class_s = student.stages.judge(student.pyramid, boxes)
    with torch.no_grad():
        if teacher.stages is not None:
            logits_t, by_class_t = teacher.stages.judge(teacher.pyramid, boxes)
            best = logits_t[:, :-1].argmax(1)
            boxes_t = _of_class(by_class_t, best)
        else:
            logits_t, boxes_t = _covering(_dense(teacher), boxes)
            best = logits_t.argmax(1)
    dense_s = Dense(logits_s[None], _of_class(by_class_s, best)[None], None, places, (len(places),), "softmax")
    dense_t = replace(dense_s, logits=logits_t[None], boxes=boxes_t[None])
    if teacher.stages is None:
        return boxes, as_sigmoid(dense_s), replace(dense_t, activation="sigmoid")
    return boxes, dense_s, dense_t


def _dense(teacher: Knowledge) -> Dense:
    if teacher.dense is None:
        raise ConfigError("the teacher says nothing of the student's proposals: it has no head that skystill can read.")
    return as_sigmoid(teacher.dense)


def _of_class(by_class: Tensor, label: Tensor) -> Tensor:
    """(R, 4) of (R, K, 4), the box of each one's class."""
    return by_class[torch.arange(len(label), device=label.device), label]


def _covering(dense: Dense, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (R, K) and boxes (R, 4): of each image's best prediction with an IoU of at least 0.5 with each box.

    Where there is none: background, and the box itself.
    """
    logits, found = [], []
    scores = dense.scores().amax(2)
    for image, asked in enumerate(boxes):
        score, place = scores[image].topk(min(_ANCHORS, scores.shape[1]))
        predicted = dense.boxes[image, place].float()
        covers = (box_iou(asked, predicted) >= 0.5) * (score + 1e-9)
        value, best = covers.max(1)
        seen = (value > 0)[:, None]
        logits.append(torch.where(seen, dense.logits[image, place[best]].float(), _NOTHING))
        found.append(torch.where(seen, predicted[best], asked))
    return torch.cat(logits), torch.cat(found)
