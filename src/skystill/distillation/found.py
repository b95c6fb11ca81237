"""What a teacher finds, whatever its head is: a short list of detections for each image.

B batch, N places, Q queries, K classes.
"""

from __future__ import annotations

import torch

from skystill.boxes.nms import Selection, select_batch
from skystill.distillation.views import at_anchors
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Knowledge


def tells(knowledge: Knowledge) -> bool:
    """Whether it says what was found, and not layers alone."""
    heads = (knowledge.detections, knowledge.stages, knowledge.dense, knowledge.queries)
    return any(head is not None for head in heads)


@torch.no_grad()
def detections_of(knowledge: Knowledge, how: Selection | None = None) -> list[Detections]:
    """Detections of each image, best first.

    Those that knowledge holds ready are taken as they are; `how` chooses among the predictions of a head. Dense and
    two-stage heads go through NMS; queries do not, because each object has one.
    Errors: ConfigError for a detector whose head skystill cannot read.
    """
    how = how or Selection()
    if knowledge.detections is not None:
        return knowledge.detections
    if knowledge.stages is not None:
        return _of_dense(at_anchors(knowledge.stages, knowledge.pyramid), how)
    if knowledge.dense is not None:
        return _of_dense(knowledge.dense, how)
    if knowledge.queries is not None:
        return select_batch(knowledge.queries.scores(), knowledge.queries.boxes.float(), how, nms=False)
    raise ConfigError("what the teacher finds is unknown: skystill knows layers of it but not its head.")


def _of_dense(dense: Dense, how: Selection) -> list[Detections]:
    return select_batch(dense.scores(), dense.boxes.float(), how)
