"""SL2 over numbers: squared differences weighed by the teacher's best score at each cell."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.distillation.peers.sl2 import SL2, best_scores, score_weighted_l2
from skystill.errors import ConfigError
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def projected(phi: object, s: Tensor) -> Tensor:
    first, _, last = phi  # type: ignore[misc,attr-defined]
    inner = torch.einsum("oc,bchw->bohw", first.weight[:, :, 0, 0], s) + first.bias[None, :, None, None]
    return torch.einsum("oc,bchw->bohw", last.weight[:, :, 0, 0], inner * (inner > 0)) + last.bias[None, :, None, None]


def test_the_term_cell_by_cell(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1, channels=3), make_knowledge(2, channels=4)
    torch.manual_seed(0)
    method = SL2(weight=2.0)
    method.build(student, teacher)
    method.requires_grad_(False)
    assert teacher.dense is not None
    total = weights = 0.0
    start = 0
    for s, t, phi in zip(student.pyramid, teacher.pyramid, method.adapt, strict=True):
        made = projected(phi, s)
        side = s.shape[2]
        for b in range(2):
            for i in range(side * side):
                score = max(1 / (1 + math.exp(-z)) for z in teacher.dense.logits[b, start + i].tolist())
                errors = (made[b, :, i // side, i % side] - t[b, :, i // side, i % side]).square().tolist()
                total += score * sum(errors) / 4
                weights += score
        start += side * side
    assert weights > 1
    assert method(student, teacher, two_images)["sl2"].item() == pytest.approx(2.0 * total / weights, rel=1e-4)


def test_equal_features_are_at_distance_zero(make_knowledge: MakeKnowledge) -> None:
    t = make_knowledge(2).pyramid[0]
    assert score_weighted_l2([(t, t, torch.ones(2, 1, 8, 8))]) == 0
    assert score_weighted_l2([(t + 1, t, torch.full((2, 1, 8, 8), 0.5))]).item() == pytest.approx(1)


def test_a_teacher_that_sees_nothing_teaches_nothing(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    assert teacher.dense is not None
    blind = replace(teacher, dense=replace(teacher.dense, logits=torch.full_like(teacher.dense.logits, -30.0)))
    method = SL2()
    method.build(student, blind)
    assert method(student, blind, two_images)["sl2"] < 1e-6
    assert method(student, teacher, two_images)["sl2"] > 0.1


def test_several_anchors_a_cell_count_by_their_best(make_knowledge: MakeKnowledge) -> None:
    dense = make_knowledge(2, strides=(16, 32)).dense
    assert dense is not None
    twice = replace(
        dense,
        logits=torch.stack([dense.logits - 1, dense.logits], 2).flatten(1, 2),
        levels=tuple(2 * n for n in dense.levels),
    )
    sizes = [(4, 4), (2, 2)]
    for a, b, size in zip(best_scores(twice, sizes), best_scores(dense, sizes), sizes, strict=True):
        assert a.shape == (2, 1, *size)
        assert torch.equal(a, b)


def test_scores_are_averaged_down_where_the_student_is_coarser(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1, strides=(16,)), make_knowledge(2, strides=(8,))
    method = SL2()
    method.build(student, teacher)
    method.requires_grad_(False)
    assert teacher.dense is not None
    score = torch.nn.functional.avg_pool2d(teacher.dense.scores().amax(2).view(2, 1, 8, 8), 2)
    pooled = torch.nn.functional.avg_pool2d(teacher.pyramid[0], 2)
    expected = score_weighted_l2([(projected(method.adapt[0], student.pyramid[0]), pooled, score)])
    assert method(student, teacher, two_images)["sl2"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_teacher_without_scores_is_refused_in_one_line(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    assert teacher.dense is not None
    for odd, message in (
        (replace(teacher, dense=None), "the teacher has no dense head"),
        (replace(teacher, dense=replace(teacher.dense, levels=(64, 20))), r"predicts at \(64, 20\) places"),
        (replace(teacher, dense=replace(teacher.dense, levels=(63, 17, 4))), r"levels have \(64, 16, 4\) cells"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            SL2().build(student, odd)
        assert "\n" not in str(caught.value)
