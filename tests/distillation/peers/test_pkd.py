"""PKD's eq. 5 over numbers: standardise each channel, half the mean square."""

import math
from collections.abc import Callable

import pytest
import torch

from skystill.distillation.maps import resize_down
from skystill.distillation.peers.pkd import PKD, pkd_loss
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def standardised(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    return [(v - mean) / deviation for v in values]


def test_the_loss_over_numbers(make_knowledge: MakeKnowledge) -> None:
    s, t = make_knowledge(1, channels=3).pyramid[0], make_knowledge(2, channels=3).pyramid[0]
    squares = []
    for c in range(3):
        a, b = standardised(s[:, c].flatten().tolist()), standardised(t[:, c].flatten().tolist())
        squares += [(x - y) ** 2 for x, y in zip(a, b, strict=True)]
    assert pkd_loss(s, t).item() == pytest.approx(sum(squares) / len(squares) / 2, rel=1e-4)


def test_only_the_pattern_counts(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    teacher = make_knowledge(1)
    louder = Knowledge(tuple(7 * p + 3 for p in teacher.pyramid), teacher.strides)
    method = PKD()
    method.build(louder, teacher)
    assert method(louder, teacher, two_images)["pkd"].item() == pytest.approx(0, abs=1e-4)
    assert method(teacher, teacher, two_images)["pkd"] == 0


def test_the_term_is_the_weighted_sum_over_levels_at_the_coarser_resolution(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1, strides=(8, 16)), make_knowledge(2, strides=(4, 16, 32))
    method = PKD(weight=2.0)
    method.build(student, teacher)
    first = pkd_loss(student.pyramid[0], resize_down(teacher.pyramid[0], (8, 8)))
    second = pkd_loss(student.pyramid[1], teacher.pyramid[1])
    assert method(student, teacher, two_images)["pkd"].item() == pytest.approx(2.0 * (first + second).item(), rel=1e-5)
    assert list(method.parameters()) == []


def test_features_of_other_width_pass_a_convolution(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1, channels=4, strides=(8,)), make_knowledge(2, channels=6, strides=(8,))
    method = PKD(weight=1.0)
    method.build(student, teacher)
    phi = method.adapt[0]
    regressed = torch.einsum("oc,bchw->bohw", phi.weight[:, :, 0, 0], student.pyramid[0])  # type: ignore[index]
    # A bias changes no correlation.
    expected = pkd_loss(regressed, teacher.pyramid[0]).item()
    assert method(student, teacher, two_images)["pkd"].item() == pytest.approx(expected, rel=1e-4)
