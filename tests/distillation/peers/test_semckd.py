"""SemCKD's loss over numbers: attention between levels times distance."""

import math
from collections.abc import Callable

import pytest
import torch

from skystill.distillation.maps import pearson_distance, resize_down, smaller
from skystill.distillation.peers.semckd import SemCKD
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def test_the_term_pair_by_pair(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student = make_knowledge(1, channels=3, side=128, strides=(8, 16))
    teacher = make_knowledge(2, channels=5, side=128, strides=(8, 16, 32))
    torch.manual_seed(0)
    method = SemCKD(weight=2.0, gamma=3.0, dim=7, places=10**6)
    method.build(student, teacher)
    method.requires_grad_(False)
    bind = method.binding
    expected = 0.0
    for i, s in enumerate(student.pyramid):
        distances, logits = [], []
        for j, t in enumerate(teacher.pyramid):
            size = smaller(s, t)
            phi = bind.adapt[i]
            seen = torch.einsum("oc,bchw->bohw", phi.weight[:, :, 0, 0], resize_down(s, size))  # type: ignore[index]
            distances.append(pearson_distance(seen, resize_down(t, size)).tolist())
            row = []
            for b in range(2):
                u = bind.query[i].weight @ torch.cat([s[b].mean((1, 2)), s[b].amax((1, 2))])  # type: ignore[operator]
                v = bind.key[j].weight @ torch.cat([t[b].mean((1, 2)), t[b].amax((1, 2))])  # type: ignore[operator]
                row.append(3.0 * float(u @ v / u.norm() / v.norm()))
            logits.append(row)
        for b in range(2):
            powers = [math.exp(row[b]) for row in logits]
            expected += sum(p / sum(powers) * d[b] for p, d in zip(powers, distances, strict=True)) / 2 / 2
    assert method(student, teacher, two_images)["semckd"].item() == pytest.approx(2.0 * expected, rel=1e-4)


def test_nothing_is_left_to_learn_from_the_only_level(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    same = make_knowledge(1, strides=(8,))
    method = SemCKD()
    method.build(same, same)
    assert method(same, same, two_images)["semckd"].item() == pytest.approx(0, abs=1e-5)


def test_no_level_is_preferred_for_being_near(make_knowledge: MakeKnowledge) -> None:
    """The same map at another stride gets the same weight: the paper knows no distance of levels."""
    student, teacher = make_knowledge(1, strides=(8, 16)), make_knowledge(2, strides=(8, 16))
    method = SemCKD()
    method.build(student, teacher)
    twin = (teacher.pyramid[0], teacher.pyramid[0])
    method.binding.key[1].load_state_dict(method.binding.key[0].state_dict())
    assert torch.allclose(method.binding.weights(student.pyramid, twin), torch.full((2, 2, 2), 0.5))


def test_the_binding_is_shown(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1, strides=(8, 16)), make_knowledge(2)
    method = SemCKD()
    method.build(student, teacher)
    assert method.matrices() == {}
    method(student, teacher, two_images)
    alpha = method.matrices()["alpha"]
    assert alpha.shape == (2, 3)
    assert torch.allclose(alpha.sum(1), torch.ones(2))
    assert not alpha.requires_grad


def test_teacher_levels_may_differ_in_width(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    uneven = Knowledge((teacher.pyramid[0][:, :4], *teacher.pyramid[1:]), teacher.strides)
    method = SemCKD()
    method.build(student, uneven)
    loss = method(student, uneven, two_images)["semckd"]
    loss.backward()
    assert 0 < loss.item() < 6
    assert [p.shape[0] for p in method.binding.adapt.parameters() if p.ndim > 1] == [4, 4, 4, 8, 8, 8]
    assert all(p.grad is not None for p in method.parameters())
