"""BCKD's two losses place by place and class by class, and the heads it refuses."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skystill.boxes.atss import atss
from skystill.distillation.peers.bckd import BCKD, binary_loss, box_loss
from skystill.structures import Dense, Knowledge, Targets

MakeDense = Callable[..., Dense]
MakeKnowledge = Callable[..., Knowledge]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def classes_by_hand(student: Dense, teacher: Dense) -> float:
    total = 0.0
    for z_s, z_t in zip(student.logits.flatten().tolist(), teacher.logits.flatten().tolist(), strict=True):
        s, t = sigmoid(z_s), sigmoid(z_t)
        total -= abs(t - s) * (t * math.log(s) + (1 - t) * math.log(1 - s))
    return total


def boxes_by_hand(student: Dense, teacher: Dense, spots: list[tuple[int, int]]) -> float:
    total = 0.0
    for b, p in spots:
        s, t = student.boxes[b, p].tolist(), teacher.boxes[b, p].tolist()
        common = max(min(s[2], t[2]) - max(s[0], t[0]), 0) * max(min(s[3], t[3]) - max(s[1], t[1]), 0)
        union = (s[2] - s[0]) * (s[3] - s[1]) + (t[2] - t[0]) * (t[3] - t[1]) - common
        hull = (max(s[2], t[2]) - min(s[0], t[0])) * (max(s[3], t[3]) - min(s[1], t[1]))
        logits = zip(student.logits[b, p].tolist(), teacher.logits[b, p].tolist(), strict=True)
        gap = max(abs(sigmoid(x) - sigmoid(y)) for x, y in logits)
        total += gap * (1 - common / union + (hull - union) / hull)
    return total


def test_the_losses_over_numbers(make_dense: MakeDense) -> None:
    student, teacher = make_dense(1), make_dense(2)
    assert binary_loss(student, teacher).item() == pytest.approx(classes_by_hand(student, teacher), rel=1e-4)
    region = torch.rand(2, 84, generator=torch.Generator().manual_seed(9)) < 0.2
    spots = [(b, p) for b, p in region.nonzero().tolist()]
    assert len(spots) > 9
    assert box_loss(student, teacher, region).item() == pytest.approx(boxes_by_hand(student, teacher, spots), rel=1e-4)


def test_terms_are_weighted_and_divided_by_the_positives(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    dense_s, dense_t = student.dense, teacher.dense
    assert dense_s is not None
    assert dense_t is not None
    spots = []
    for b, target in enumerate(two_images):
        positive = atss(dense_t.places, dense_t.levels, target.boxes).object >= 0
        spots += [(b, p) for p in positive.nonzero().flatten().tolist()]
    assert len(spots) > 1
    terms = BCKD(sem=0.5, loc=3.0)(student, teacher, two_images)
    assert terms["bckd_sem"].item() == pytest.approx(0.5 * classes_by_hand(dense_s, dense_t) / len(spots), rel=1e-4)
    assert terms["bckd_loc"].item() == pytest.approx(3 * boxes_by_hand(dense_s, dense_t, spots) / len(spots), rel=1e-4)
    assert set(BCKD(sem=0.0)(student, teacher, two_images)) == {"bckd_loc"}
    assert set(BCKD(loc=0.0)(student, teacher, two_images)) == {"bckd_sem"}


def test_boxes_do_not_teach_classes(make_dense: MakeDense) -> None:
    """The gap that weighs a box is no way to make the box's loss smaller."""
    student, teacher = make_dense(1), make_dense(2)
    logits, boxes = student.logits.requires_grad_(), student.boxes.requires_grad_()
    box_loss(replace(student, logits=logits, boxes=boxes), teacher, torch.ones(2, 84, dtype=torch.bool)).backward()
    assert logits.grad is None
    assert boxes.grad is not None
    assert boxes.grad.abs().max() > 0


def test_a_shared_softmax_counts_by_its_scores(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    plain = make_knowledge(1)
    assert plain.dense is not None
    shared = replace(plain, dense=replace(plain.dense, activation="softmax"))  # two classes and background
    told = replace(plain, dense=replace(plain.dense, logits=shared.dense.scores().logit()))  # type: ignore[union-attr]
    method = BCKD()
    method.build(shared, shared)
    for student, teacher in ((shared, told), (told, shared), (shared, shared)):
        assert float(method(student, teacher, two_images)["bckd_sem"]) == pytest.approx(0, abs=1e-6)
    other = make_knowledge(2)
    assert other.dense is not None
    other = replace(other, dense=replace(other.dense, logits=other.dense.logits[..., :2]))
    wanted = method(other, told, two_images)
    for name, value in method(other, shared, two_images).items():
        assert float(value) == pytest.approx(float(wanted[name]), rel=1e-4)
