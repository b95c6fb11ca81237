"""Which predictions of teacher and student belong together, and how their pyramids line up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from skystill.errors import ConfigError
from skystill.structures import Dense, Finish, Knowledge, MapPair


def nearest_levels(strides_s: tuple[int, ...], strides_t: tuple[int, ...]) -> list[int]:
    """For every student level the teacher level of the nearest stride; the finer one when two are as near."""
    return [
        min(range(len(strides_t)), key=lambda j: (max(s, strides_t[j]) / min(s, strides_t[j]), j)) for s in strides_s
    ]


def rescale(knowledge: Knowledge, scale: float) -> Knowledge:
    """Knowledge of an image that was enlarged by `scale`, told in the pixels of the image before that."""
    if scale == 1:
        return knowledge
    dense = knowledge.dense
    if dense is not None:
        dense = _rescaled(dense, scale)
    head = knowledge.head
    if head is not None:
        head = replace(head, finish=partial(_finish_rescaled, head.finish, scale))
    strides = tuple(round(s / scale) for s in knowledge.strides)
    return replace(knowledge, dense=dense, strides=strides, head=head)


def _finish_rescaled(finish: Finish, scale: float, maps: Sequence[MapPair], levels: Sequence[int]) -> Dense:
    return _rescaled(finish(maps, levels), scale)


def _rescaled(dense: Dense, scale: float) -> Dense:
    return replace(dense, boxes=_scaled(dense.boxes, 1 / scale), places=dense.places / scale)


def _scaled(boxes: torch.Tensor, factor: float) -> torch.Tensor:
    if boxes.shape[-1] == 4:
        return boxes * factor
    return torch.cat([boxes[..., :4] * factor, boxes[..., 4:]], -1)


def same_grid(student: Knowledge, teacher: Knowledge) -> tuple[Dense, Dense]:
    """Student and teacher predictions at the places that both have: the levels of equal stride.

    Errors: ConfigError when there is no such level, when either has no dense head, or the grids differ.
    """
    if student.dense is None or teacher.dense is None:
        raise ConfigError("grid pairing needs a dense head on both sides; one of the detectors has none.")
    common = [s for s in student.strides if s in teacher.strides]
    if not common:
        raise ConfigError(
            f"the student predicts at strides {student.strides}, the teacher at {teacher.strides}: none in common. "
            "Change `levels` of the student or the teacher's scale."
        )
    dense_s = _levels(student.dense, [student.strides.index(s) for s in common])
    dense_t = _levels(teacher.dense, [teacher.strides.index(s) for s in common])
    if dense_s.levels != dense_t.levels:
        raise ConfigError(
            f"at strides {tuple(common)} the student has {dense_s.levels} places and the teacher {dense_t.levels}; "
            "give both the same input size, or the teacher an integer scale."
        )
    return dense_s, dense_t


def _levels(dense: Dense, wanted: list[int]) -> Dense:
    """Only the places of some levels."""
    if len(wanted) == len(dense.levels):
        return dense
    starts = [0]
    for count in dense.levels:
        starts.append(starts[-1] + count)
    index = torch.cat([torch.arange(starts[i], starts[i + 1]) for i in wanted]).to(dense.places.device)
    return replace(
        dense,
        logits=dense.logits[:, index],
        boxes=dense.boxes[:, index],
        edges=None if dense.edges is None else dense.edges[:, index],
        places=dense.places[index],
        levels=tuple(dense.levels[i] for i in wanted),
    )
