"""Images that nobody labelled learn from what the teachers find in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from skystill.boxes.nms import Selection, clip_to_images, select
from skystill.boxes.obb import hbb_to_obb
from skystill.detectors.blackbox import as_places
from skystill.distillation.found import detections_of, tells
from skystill.distillation.roles import said, speaks_of_all
from skystill.errors import ConfigError
from skystill.structures import Detections, Knowledge, Targets


@torch.no_grad()
def with_pseudo_targets(
    targets: list[Targets], lessons: Sequence[Knowledge], size: tuple[int, int], sure: float, unsure: float
) -> list[Targets]:
    """The same targets, in which the teachers' detections stand in for the truth of unlabelled images.

    lessons: what each teacher says of the batch; several teachers' detections go through NMS together. size: (height,
    width) of the batch. Detections that score at least `sure` become objects; those from `unsure` on are ignored,
    neither object nor background. See `_stand_in` for what no teacher speaks of.
    Errors: ConfigError where no teacher's head can be read.
    """
    rows = [row for row, target in enumerate(targets) if not target.labelled]
    if not rows:
        return targets
    telling = [told for told in lessons if tells(told)]
    if not telling:
        raise ConfigError(
            "data.unlabelled takes what a teacher finds for truth, and these teach by their features alone. Leave it "
            "away, or give a teacher whose head is known and whose boxes are of the student's kind."
        )
    each = [
        [
            said(found.above(unsure), told.scope)
            for found in detections_of(_of_images(told, rows), Selection(score=unsure))
        ]
        for told in telling
    ]
    whole = speaks_of_all([told.scope for told in telling])
    joined = [_joined(image) for image in zip(*each, strict=True)]
    made = list(targets)
    for row, found in zip(rows, clip_to_images(joined, [size] * len(rows)), strict=True):
        made[row] = _stand_in(targets[row], found, size, sure, whole)
    return made


def _stand_in(target: Targets, found: Detections, size: tuple[int, int], sure: float, whole: bool) -> Targets:
    """An unlabelled image's targets.

    Where a teacher is sure of something, it can evidently see in this image, and what it passes over is background.
    Where it is sure of nothing, the image may be empty, or of a kind that the teacher is blind to; its silence is no
    evidence. So the whole image is ignored by the student's own loss, and only the method's terms teach it. Beside
    objects it is too where the teachers speak of some classes or sizes only (`whole` is False): what they pass over
    may be one of the others.
    """
    found = _with_area(found)
    ignore = found.scores < sure
    if whole and not bool(ignore.all()):
        return replace(target, boxes=found.boxes, labels=found.labels, ignore=ignore)
    frame = found.boxes.new_tensor([[0.0, 0.0, size[1], size[0]]])
    frame = frame if target.boxes.shape[1] == 4 else hbb_to_obb(frame)
    boxes, labels = found.boxes[~ignore], found.labels[~ignore]
    return replace(
        target,
        boxes=torch.cat([boxes, frame]),
        labels=torch.cat([labels, labels.new_zeros(1)]),
        ignore=torch.arange(len(boxes) + 1, device=frame.device) == len(boxes),
    )


def _with_area(found: Detections) -> Detections:
    """Without what lies outside the image, of which clipping leaves nothing."""
    boxes = found.boxes
    sides = boxes[:, 2:4] if boxes.shape[1] == 5 else boxes[:, 2:] - boxes[:, :2]
    keep = (sides > 0).all(1)
    return Detections(boxes[keep], found.scores[keep], found.labels[keep])


def _joined(found: Sequence[Detections]) -> Detections:
    """One list of several teachers' detections of an image, without repetitions; of one teacher, its own."""
    if len(found) == 1:
        return found[0]
    boxes, score, label = (torch.cat([getattr(f, name) for f in found]) for name in ("boxes", "scores", "labels"))
    if len(boxes) == 0:
        return found[0]
    (scores,), _ = as_places([Detections(boxes, score, label)], int(label.max()) + 1)
    return select(scores, boxes, Selection(score=max(float(score.min()), 1e-9)))


def _of_images(knowledge: Knowledge, rows: list[int]) -> Knowledge:
    """What it says of some images of the batch, as far as `detections_of` reads it."""

    def pick(tensor: Tensor) -> Tensor:
        return tensor[rows]

    dense, queries, stages, found = knowledge.dense, knowledge.queries, knowledge.stages, knowledge.detections
    if found is not None:
        return Knowledge((), (), detections=[found[row] for row in rows])
    if stages is not None:
        first = replace(stages.first, logits=pick(stages.first.logits), boxes=pick(stages.first.boxes))
        pyramid = tuple(pick(level) for level in knowledge.pyramid)
        return Knowledge(pyramid, knowledge.strides, stages=replace(stages, first=first))
    if dense is not None:
        dense = replace(dense, logits=pick(dense.logits), boxes=pick(dense.boxes), edges=None)
    if queries is not None:
        queries = replace(queries, logits=pick(queries.logits), boxes=pick(queries.boxes))
    return Knowledge((), (), dense=dense, queries=queries)
