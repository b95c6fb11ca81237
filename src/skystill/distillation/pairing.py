"""Which predictions of teacher and student belong together, and how their pyramids line up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from skystill.distillation.cells import by_cell, fold_finer
from skystill.distillation.items import at_places, items_of
from skystill.distillation.roles import keep_to
from skystill.distillation.views import any_object, as_one_stage, as_sigmoid
from skystill.errors import ConfigError
from skystill.structures import Dense, Finish, Judge, Knowledge, MapPair, TwoStage


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
    stages = knowledge.stages
    if stages is not None:
        stages = TwoStage(_rescaled(stages.first, scale), [], partial(_judge_rescaled, stages.judge, scale))
    queries = knowledge.queries
    if queries is not None:
        queries = replace(queries, boxes=_scaled(queries.boxes, 1 / scale))
    found = knowledge.detections
    if found is not None:
        found = [replace(d, boxes=_scaled(d.boxes, 1 / scale)) for d in found]
    strides = tuple(round(s / scale) for s in knowledge.strides)
    return replace(knowledge, dense=dense, strides=strides, queries=queries, stages=stages, head=head, detections=found)


def _finish_rescaled(finish: Finish, scale: float, maps: Sequence[MapPair], levels: Sequence[int]) -> Dense:
    return _rescaled(finish(maps, levels), scale)


def _judge_rescaled(
    judge: Judge, scale: float, pyramid: Sequence[Tensor], boxes: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    logits, found = judge(pyramid, [b * scale for b in boxes])
    return logits, found / scale


def _rescaled(dense: Dense, scale: float) -> Dense:
    return replace(dense, boxes=_scaled(dense.boxes, 1 / scale), places=dense.places / scale)


def _scaled(boxes: Tensor, factor: float) -> Tensor:
    if boxes.shape[-1] == 4:
        return boxes * factor
    return torch.cat([boxes[..., :4] * factor, boxes[..., 4:]], -1)


def same_grid(student: Knowledge, teacher: Knowledge) -> tuple[Dense, Dense]:
    """Student and teacher predictions at the places that both have: the levels of equal stride, cell by cell.

    Heads with the same anchors are compared anchor by anchor. Otherwise every cell counts once: the teacher says what
    its best-scoring anchor there says, and the student answers with the anchor that overlaps the teacher's box best,
    which is the one that its own training would make responsible. Levels finer than the other side's finest then count
    to its cells, for they hold the small objects that the other finds there. Where one head is softmax and the other
    sigmoid, the softmax is told as independent scores. Of a two-stage student the first stage learns, K = 1; see
    `on_proposals` for the second. A two-stage teacher teaches others as a dense one, see `at_anchors`. A set predictor,
    or a black box, teaches what it found at the student's own places, see `at_places`. Of what the teacher may not
    speak it says what the student says, see `keep_to`.

    Errors: ConfigError when there is no such level, when either has no such head, or the grids differ.
    """
    return keep_to(teacher.scope, *_on_one_grid(student, teacher))


def _on_one_grid(student: Knowledge, teacher: Knowledge) -> tuple[Dense, Dense]:
    told = _told(student)
    if teacher.dense is None and teacher.stages is None:
        return as_sigmoid(told), at_places(items_of(teacher, told.classes), told)
    student, teacher = _as_dense(student, teacher)
    if not (_has_edges(student) and _has_edges(teacher)):
        finest = max(student.strides[0], teacher.strides[0])
        student, teacher = fold_finer(student, finest), fold_finer(teacher, finest)
    levels = common_levels(student.strides, teacher.strides)
    if not levels:
        raise ConfigError(
            f"the student predicts at strides {student.strides}, the teacher at {teacher.strides}: none in common. "
            "Change `levels` of the student or the teacher's scale."
        )
    cells_s = [_cells(student, i) for i, _ in levels]
    cells_t = [_cells(teacher, j) for _, j in levels]
    if cells_s != cells_t:
        raise ConfigError(
            f"at strides {tuple(student.strides[i] for i, _ in levels)} the student has {tuple(cells_s)} cells and the "
            f"teacher {tuple(cells_t)}; give both the same input size, or the teacher an integer scale."
        )
    assert student.dense is not None
    assert teacher.dense is not None
    dense_s = at_levels(student.dense, [i for i, _ in levels])
    dense_t = at_levels(teacher.dense, [j for _, j in levels])
    if not _same_anchors(dense_s, dense_t, cells_s):
        dense_s, dense_t = by_cell(dense_s, dense_t, cells_s)
    if dense_s.activation != dense_t.activation:
        dense_s, dense_t = as_sigmoid(dense_s), as_sigmoid(dense_t)
    return dense_s, dense_t


def meeting(student: Knowledge, teacher: Knowledge) -> str:
    """How the predictions of the two are paired, in words; empty where they cannot be."""
    if student.dense is None and student.stages is None and student.queries is None:
        return ""
    if teacher.dense is None and teacher.stages is None and teacher.queries is None and teacher.detections is None:
        return ""
    if student.queries is not None:
        return "each object that the teacher finds meets one query of the student, a set predictor"
    if teacher.dense is None and teacher.stages is None:
        kind = "a set predictor" if teacher.queries is not None else "a black box"
        return f"what the teacher, {kind}, finds is told at the student's places"
    if not set(student.strides) & set(teacher.strides):
        return ""
    return "place by place" + (", and on the student's proposals" if student.stages is not None else "")


def _told(student: Knowledge) -> Dense:
    """The student's dense head, or its first stage."""
    dense = student.dense if student.stages is None else student.stages.first
    if dense is not None:
        return dense
    if student.queries is not None:
        raise ConfigError(
            "the student is a set predictor, which has no places. Use ltd, which matches queries, or a method that "
            "compares features, e.g. pkd."
        )
    raise ConfigError(
        "predictions cannot be compared: skystill knows layers of the student but not its head. "
        "Use a method that compares features, e.g. pkd, or ltd with sem 0 and loc 0."
    )


def _as_dense(student: Knowledge, teacher: Knowledge) -> tuple[Knowledge, Knowledge]:
    """Both with dense heads that speak of the same classes."""
    if student.stages is None and teacher.stages is None:
        return student, teacher
    if student.stages is None:
        return student, as_one_stage(teacher)
    if teacher.stages is not None:
        told = teacher.stages.first
    else:
        assert teacher.dense is not None
        told = any_object(teacher.dense)
    return replace(student, dense=student.stages.first), replace(teacher, dense=told)


def common_levels(strides_s: tuple[int, ...], strides_t: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of levels of equal stride; each level is in one pair, also where a pyramid has a stride twice."""
    pairs: list[tuple[int, int]] = []
    for i, stride in enumerate(strides_s):
        free = [j for j, s in enumerate(strides_t) if s == stride and j not in {j for _, j in pairs}]
        pairs += [(i, free[0])] if free else []
    return pairs


def _has_edges(knowledge: Knowledge) -> bool:
    return knowledge.dense is not None and knowledge.dense.edges is not None


def _cells(knowledge: Knowledge, level: int) -> int:
    """How many cells a level has."""
    return knowledge.pyramid[level].shape[2] * knowledge.pyramid[level].shape[3]


def _same_anchors(dense_s: Dense, dense_t: Dense, cells: Sequence[int]) -> bool:
    """Whether place n of one head is place n of the other. With one anchor a cell its size does not matter."""
    if dense_s.levels != dense_t.levels:
        return False
    return list(dense_s.levels) == list(cells) or torch.allclose(dense_s.places, dense_t.places, atol=1.0)


def at_levels(dense: Dense, wanted: list[int]) -> Dense:
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
