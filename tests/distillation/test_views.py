"""What a head says in another's form, against slow loops over plain numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.distillation.pairing import rescale, same_grid
from skystill.distillation.proposals import on_proposals
from skystill.distillation.views import any_object, as_sigmoid, at_anchors, scored
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, TwoStage

MakeDense = Callable[..., Dense]
MakeKnowledge = Callable[..., Knowledge]


def softmax_head(dense: Dense) -> Dense:
    return replace(dense, activation="softmax")


def judge(pyramid: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """A second stage of two classes that anyone can follow: class 0 the wider a box, class 1 the further right."""
    box = torch.cat(list(boxes))
    logits = torch.stack([(box[:, 2] - box[:, 0]) / 16, box[:, 0] / 16, torch.ones(len(box))], 1)
    return logits * pyramid[0].mean(), torch.stack([box + 1, box - 1], 1)


def two_stage(dense: Dense, proposals: list[Tensor] | None = None) -> Knowledge:
    first = replace(dense, logits=dense.logits[..., :1], edges=None)
    pyramid = tuple(torch.ones(2, 4, s, s) for s in (8, 4, 2))
    return Knowledge(pyramid, (8, 16, 32), stages=TwoStage(first, proposals or [], judge))


def test_as_sigmoid_keeps_the_scores(make_dense: MakeDense) -> None:
    shared = softmax_head(make_dense(1))
    told = as_sigmoid(shared)
    assert told.activation == "sigmoid"
    assert told.logits.shape[2] == shared.logits.shape[2] - 1
    assert torch.allclose(told.scores(), shared.scores(), atol=1e-6)
    assert as_sigmoid(told) is told


def test_as_sigmoid_of_a_certain_head_is_finite_with_its_gradient() -> None:
    logits = torch.tensor([[[200.0, 0.0, -200.0], [-200.0, -200.0, 200.0]]], requires_grad=True)
    dense = Dense(logits, torch.zeros(1, 2, 4), None, torch.zeros(2, 4), (2,), "softmax")
    told = as_sigmoid(dense).logits
    told.sum().backward()
    assert told.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_any_object_is_the_chance_that_it_is_no_background(make_dense: MakeDense) -> None:
    shared = softmax_head(make_dense(1))
    assert torch.allclose(any_object(shared).scores()[..., 0], shared.scores().sum(2), atol=1e-6)
    plain = make_dense(1)
    assert torch.allclose(any_object(plain).scores()[..., 0], plain.scores().amax(2))


def test_at_anchors_is_the_second_stage_where_the_first_is_surest(make_dense: MakeDense) -> None:
    dense = make_dense(1)
    knowledge = two_stage(dense)
    assert knowledge.stages is not None
    told = at_anchors(knowledge.stages, knowledge.pyramid, most=10)
    for image in range(2):
        order = sorted(range(len(dense.places)), key=lambda n: -float(dense.logits[image, n, 0]))
        for rank, n in enumerate(order):
            if rank >= 10:
                assert told.scores()[image, n].max() < 2e-6
                assert torch.equal(told.boxes[image, n], dense.boxes[image, n])
                continue
            x1, _, x2, _ = dense.boxes[image, n].tolist()
            power = [math.exp(v) for v in ((x2 - x1) / 16, x1 / 16, 1.0)]
            wanted = [p / sum(power) for p in power[:2]]
            assert told.scores()[image, n].tolist() == pytest.approx(wanted, abs=1e-5)
            shift = 1 if wanted[0] > wanted[1] else -1
            assert torch.allclose(told.boxes[image, n], dense.boxes[image, n] + shift)


def test_of_a_two_stage_pair_the_first_stages_meet(make_dense: MakeDense, make_knowledge: MakeKnowledge) -> None:
    student, teacher = two_stage(make_dense(1)), two_stage(make_dense(2))
    dense_s, dense_t = same_grid(student, teacher)
    assert student.stages is not None
    assert teacher.stages is not None
    assert dense_s is student.stages.first
    assert dense_t is teacher.stages.first
    told = same_grid(student, make_knowledge(2))[1]
    assert torch.equal(told.scores(), make_knowledge(2).dense.scores().amax(2, keepdim=True))  # type: ignore[union-attr]
    assert scored(student) is student.stages.first


def test_on_proposals_asks_both_second_stages_about_the_students_boxes(make_dense: MakeDense) -> None:
    proposals = [torch.tensor([[0.0, 0, 16, 16], [40, 8, 56, 20], [1, 1, 2, 2]]), torch.tensor([[8.0, 8, 60, 40]])]
    student, teacher = two_stage(make_dense(1), proposals), two_stage(make_dense(2))
    teacher = replace(teacher, pyramid=tuple(-p for p in teacher.pyramid))  # it thinks the contrary
    boxes, dense_s, dense_t = on_proposals(student, teacher, most=2)
    assert [len(b) for b in boxes] == [2, 1]
    places = torch.cat([proposals[0][:2], proposals[1]])
    assert dense_s.activation == dense_t.activation == "softmax"
    assert torch.equal(dense_t.logits, -dense_s.logits)
    assert torch.equal(dense_s.places, places)
    best = dense_t.logits[0, :, :2].argmax(1)
    shift = torch.where(best == 0, 1.0, -1.0)[:, None]
    assert torch.equal(dense_s.boxes[0], places + shift)
    assert torch.equal(dense_t.boxes[0], places + shift)


def test_on_proposals_a_dense_teacher_answers_by_the_best_box_that_covers_one(make_dense: MakeDense) -> None:
    proposals = [torch.tensor([[10.0, 10, 20, 20], [40, 40, 50, 50]]), torch.tensor([[0.0, 0, 10, 10]])]
    student = two_stage(make_dense(1), proposals)
    boxes = torch.tensor(
        [[[10.0, 10, 20, 20], [10, 10, 20, 19], [12, 18, 30, 40]], [[0, 0, 10, 4], [60, 0, 64, 4], [0, 0, 9, 9]]]
    )
    logits = torch.tensor([[[-2.0, -3], [1, -1], [3, 3]], [[2, 2], [2, 2], [-4, -1]]])
    teacher = Knowledge((), (), Dense(logits, boxes, None, torch.zeros(3, 4), (3,)))
    _, dense_s, dense_t = on_proposals(student, teacher)
    assert dense_t.activation == dense_s.activation == "sigmoid"
    assert torch.equal(dense_t.logits[0, 0], torch.tensor([1.0, -1.0]))  # both cover it, the second is surer
    assert torch.equal(dense_t.boxes[0, 0], boxes[0, 1])
    assert dense_t.scores()[0, 1].max() < 2e-6  # nothing covers it
    assert torch.equal(dense_t.boxes[0, 1], proposals[0][1])
    assert torch.equal(dense_t.logits[0, 2], torch.tensor([-4.0, -1.0]))
    assert torch.equal(dense_s.boxes[0, 0], proposals[0][0] + 1)  # the student's box of class 0, the teacher's
    assert torch.equal(dense_s.boxes[0, 2], proposals[1][0] - 1)


def test_without_proposals_there_is_nothing_to_say(make_dense: MakeDense) -> None:
    student = two_stage(make_dense(1), [torch.zeros(0, 4), torch.zeros(0, 4)])
    for teacher in (two_stage(make_dense(2)), Knowledge((), (), replace(make_dense(2, classes=2), edges=None))):
        boxes, dense_s, dense_t = on_proposals(student, teacher)
        assert [len(b) for b in boxes] == [0, 0]
        assert dense_s.boxes.shape == dense_t.boxes.shape == (1, 0, 4)
        assert dense_s.logits.shape == dense_t.logits.shape


def test_a_teacher_without_predictions_is_told(make_dense: MakeDense) -> None:
    with pytest.raises(ConfigError, match="teacher's predictions teach nothing here") as caught:
        on_proposals(two_stage(make_dense(1), [torch.zeros(1, 4)] * 2), Knowledge((), ()))
    assert "\n" not in str(caught.value)


def test_a_rescaled_second_stage_is_asked_in_the_pixels_before(make_dense: MakeDense) -> None:
    seen = two_stage(make_dense(1))
    told = rescale(seen, 2.0)
    assert told.strides == (4, 8, 16)
    assert seen.stages is not None
    assert told.stages is not None
    assert torch.equal(told.stages.first.boxes * 2, seen.stages.first.boxes)
    box = torch.tensor([[3.0, 4, 20, 12]])
    logits, boxes = told.stages.judge(seen.pyramid, [box])
    wanted, large = judge(seen.pyramid, [box * 2])
    assert torch.equal(logits, wanted)
    assert torch.equal(boxes * 2, large)
