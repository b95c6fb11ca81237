"""Second stages: what teacher and student say of the student's own proposals. K classes, R proposals of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

from skystill.distillation.items import Items, items_of
from skystill.distillation.roles import keep_to
from skystill.distillation.views import ANCHORS, NOTHING, as_sigmoid, of_class
from skystill.structures import Dense, Knowledge

PROPOSALS = 256  # of an image, that are distilled


def on_proposals(student: Knowledge, teacher: Knowledge, most: int = PROPOSALS) -> tuple[list[Tensor], Dense, Dense]:
    """What both say of the student's proposals, at most `most` an image: boxes of each image, and both heads.

    The heads are told as of one image whose R places are all the proposals. A two-stage teacher judges them by its own
    second stage, both heads softmax; of any other its best prediction that covers a proposal counts. The student
    answers with its box of the teacher's class.
    Errors: ConfigError when the teacher says nothing of objects.
    """
    assert student.stages is not None
    boxes = [proposals[:most] for proposals in student.stages.proposals]
    places = torch.cat(boxes)
    logits_s, by_class_s = student.stages.judge(student.pyramid, boxes)
    with torch.no_grad():
        if teacher.stages is not None:
            logits_t, by_class_t = teacher.stages.judge(teacher.pyramid, boxes)
            best = logits_t[:, :-1].argmax(1)
            boxes_t = of_class(by_class_t, best)
        else:
            logits_t, boxes_t = _covering(_candidates(teacher, logits_s.shape[1] - 1), boxes)
            best = logits_t.argmax(1)
    dense_s = Dense(logits_s[None], of_class(by_class_s, best)[None], None, places, (len(places),), "softmax")
    dense_t = replace(dense_s, logits=logits_t[None], boxes=boxes_t[None])
    if teacher.stages is None:
        dense_s, dense_t = as_sigmoid(dense_s), replace(dense_t, activation="sigmoid")
    return boxes, *keep_to(teacher.scope, dense_s, dense_t)


def _candidates(teacher: Knowledge, classes: int) -> list[Items]:
    """Of each image the predictions that may cover a proposal. A dense head's neighbours all count: of those that NMS
    would drop one may cover it better."""
    if teacher.dense is None:
        return items_of(teacher, classes)
    dense = as_sigmoid(teacher.dense)
    place = dense.scores().amax(2).topk(min(ANCHORS, dense.logits.shape[1])).indices
    batch = torch.arange(len(place), device=place.device)[:, None]
    logits, boxes = dense.logits[batch, place].float(), dense.boxes[batch, place].float()
    return [Items(told, found) for told, found in zip(logits, boxes, strict=True)]


def _covering(items: Sequence[Items], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (R, K) and boxes (R, 4): of each image's best prediction with an IoU of at least 0.5 with each box.

    Where there is none: background, and the box itself.
    """
    logits, found = [], []
    for said, asked in zip(items, boxes, strict=True):
        if not len(said.boxes):
            logits.append(asked.new_full((len(asked), said.logits.shape[1]), NOTHING))
            found.append(asked)
            continue
        covers = (box_iou(asked, said.boxes) >= 0.5) * (said.scores().amax(1) + 1e-9)
        value, best = covers.max(1)
        seen = (value > 0)[:, None]
        logits.append(torch.where(seen, said.logits[best], NOTHING))
        found.append(torch.where(seen, said.boxes[best], asked))
    return torch.cat(logits), torch.cat(found)
