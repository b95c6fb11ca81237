"""What a teacher found, one item an object, told at the places of a dense student or to the queries of a set predictor.

So any teacher can teach any student, also a black box that gives nothing but boxes.
B batch, N places, K classes, Q queries, I items of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms, generalized_box_iou

from skystill.boxes.atss import atss_batch
from skystill.boxes.nms import oriented_nms
from skystill.distillation.roles import keep_to
from skystill.distillation.views import NOTHING, as_sigmoid, at_anchors, independent
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Knowledge, Queries, Scope

_SCORE, _IOU, _MOST = 0.05, 0.6, 300  # of an item: least score; of two dense predictions of one object; of an image
_CLASS, _BOX, _GIOU = 2.0, 5.0, 2.0  # costs of matching, as set predictors weigh them (DETR, ECCV 2020)


@dataclass(frozen=True, slots=True)
class Items:
    """What was found in one image, best first. logits: (I, K), independent scores. boxes: (I, 4|5) in pixels."""

    logits: Tensor
    boxes: Tensor

    def scores(self) -> Tensor:
        """(I, K) in 0..1."""
        return self.logits.sigmoid()


@torch.no_grad()
def items_of(knowledge: Knowledge, classes: int) -> list[Items]:
    """What each image holds by a teacher's word, with what it thinks of every class where it says so.

    Errors: ConfigError for a detector that says nothing of objects.
    """
    if knowledge.queries is not None:
        return _of_queries(knowledge.queries)
    if knowledge.stages is not None:
        return _of_dense(at_anchors(knowledge.stages, knowledge.pyramid))
    if knowledge.dense is not None:
        return _of_dense(as_sigmoid(knowledge.dense))
    if knowledge.detections is not None:
        return [_of_detections(found, classes) for found in knowledge.detections]
    raise ConfigError(
        "the teacher's predictions teach nothing here: its features alone are known, or its boxes are of another kind. "
        "Use a method that compares features, e.g. pkd, or ltd with sem 0 and loc 0."
    )


def _of_queries(queries: Queries) -> list[Items]:
    logits = queries.logits.float()
    logits = logits if queries.activation == "sigmoid" else independent(logits)
    return [_sorted(told, boxes.float()) for told, boxes in zip(logits, queries.boxes, strict=True)]


def _of_dense(dense: Dense) -> list[Items]:
    """The best place of each object, whatever its class."""
    found = []
    for logits, boxes in zip(dense.logits.float(), dense.boxes.float(), strict=True):
        best = _sorted(logits, boxes, 4 * _MOST)
        score = best.scores().amax(1)
        label = torch.zeros(len(score), dtype=torch.int64, device=score.device)
        if boxes.shape[1] == 4:
            keep = batched_nms(best.boxes, score, label, _IOU)[:_MOST]
        else:
            keep = oriented_nms(best.boxes, score, label, _IOU, _MOST)
        found.append(Items(best.logits[keep], best.boxes[keep]))
    return found


def _of_detections(found: Detections, classes: int) -> Items:
    """A black box says one score: the other classes count as not there. With K = 1 an object of any class counts."""
    told = found.above(_SCORE)
    logits = told.scores.new_full((len(told), classes), NOTHING)
    label = told.labels if classes > 1 else torch.zeros_like(told.labels)
    logits[torch.arange(len(told)), label] = told.scores.clamp(1e-6, 1 - 1e-6).logit()
    return _sorted(logits, told.boxes.float())


def _sorted(logits: Tensor, boxes: Tensor, most: int = _MOST) -> Items:
    """The surest ones, best first."""
    score, order = logits.sigmoid().amax(1).topk(min(most, len(logits)))
    order = order[score >= _SCORE]
    return Items(logits[order], boxes[order])


@torch.no_grad()
def at_places(items: Sequence[Items], student: Dense) -> Dense:
    """What the items say at a student's places: a place tells the item that ATSS gives it, the one that the student
    would have to find there, and background where there is none.

    student: (B, N) places. Returns independent scores; K is the items', or 1 (is there any object) where the student
    has one class and they have more, as first stages do. A place without an item tells its anchor for a box.
    """
    batch, count = student.logits.shape[:2]
    classes = items[0].logits.shape[1]
    anchors = student.places.float()
    if student.boxes.shape[2] == 5:
        centre, size = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
        anchors = torch.cat([centre, size, torch.zeros_like(size[:, :1])], 1)
    logits = anchors.new_full((batch, count, classes), NOTHING)
    boxes = anchors.repeat(batch, 1, 1)
    assignments = atss_batch(student.places, student.levels, [found.boxes for found in items])
    for image, (found, assignment) in enumerate(zip(items, assignments, strict=True)):
        owner = assignment.object
        told = (owner >= 0).nonzero()[:, 0]
        logits[image, told] = found.logits[owner[told]]
        boxes[image, told] = found.boxes[owner[told]]
    if student.classes == 1 < classes:
        logits = logits.amax(2, keepdim=True)
    return Dense(logits, boxes, None, student.places, student.levels, "sigmoid")


def on_queries(
    student: Queries, items: Sequence[Items], size: tuple[int, int], scope: Scope | None = None
) -> tuple[list[Tensor], Dense, Dense]:
    """Each item and the student's query that answers to it, one to one with the least total cost (Hungarian matching).

    size: (height, width) of the images, the unit of the boxes' distance. scope: what the teacher may speak of.
    The cost is DETR's, with soft scores: 2 times the expected score of the item's classes, 5 times the mean distance of
    the boxes' sides, 2 times GIoU.
    Returns the items' boxes (I, 4|5) of each image, and both heads, told as of one image whose places are all items.
    """
    from scipy.optimize import linear_sum_assignment

    boxes, logits_s, boxes_s, logits_t = [], [], [], []
    told = student.logits.float()
    told = told if student.activation == "sigmoid" else independent(told)
    for image, found in enumerate(items):
        with torch.no_grad():
            cost = _cost(told[image], student.boxes[image].float(), found, size)
        item, query = (torch.as_tensor(i, device=told.device) for i in linear_sum_assignment(cost.cpu().numpy()))
        boxes.append(found.boxes[item])
        logits_t.append(found.logits[item])
        logits_s.append(told[image, query])
        boxes_s.append(student.boxes[image, query].float())
    every = torch.cat(boxes)
    dense_t = Dense(torch.cat(logits_t)[None], every[None], None, every[:, :4], (len(every),), "sigmoid")
    dense_s = Dense(torch.cat(logits_s)[None], torch.cat(boxes_s)[None], None, every[:, :4], (len(every),), "sigmoid")
    return boxes, *keep_to(scope, dense_s, dense_t)


def _cost(logits: Tensor, boxes: Tensor, found: Items, size: tuple[int, int]) -> Tensor:
    """(I, Q) of matching items with queries: logits (Q, K), boxes (Q, 4)."""
    agreement = F.normalize(found.scores(), p=1, dim=1) @ logits.sigmoid().T
    unit = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    distance = torch.cdist(found.boxes / unit, boxes / unit, p=1)
    overlap: Tensor = generalized_box_iou(found.boxes, boxes)
    return _BOX * distance - _CLASS * agreement - _GIOU * overlap
