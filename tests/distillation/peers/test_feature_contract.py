"""What every peer that compares features owes, whatever its formula, beyond what every method does."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.distillation.distiller import in_float32
from skystill.distillation.method import Method
from skystill.distillation.methods import make_method
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]
PEERS = ("fitnet", "pkd", "cwd", "mgd", "fgd", "reviewkd", "semckd", "sl2")
# Name -> what make_knowledge is told of student and teacher.
PAIRS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "same shape": ({}, {}),
    "wider teacher": ({"channels": 6}, {"channels": 10}),
    "more teacher levels": ({"strides": (8, 16, 32)}, {"strides": (4, 8, 16, 32, 64)}),
    "more student levels": ({"strides": (4, 8, 16, 32)}, {"strides": (16, 32)}),
    "other strides": ({"strides": (8, 16), "channels": 4}, {"strides": (4, 32)}),
    "a single level": ({"strides": (16,)}, {"strides": (8,)}),
}


def total(terms: dict[str, Tensor]) -> Tensor:
    return sum(terms.values(), torch.zeros(()))


def built(name: str, student: Knowledge, teacher: Knowledge, **settings: object) -> Method:
    torch.manual_seed(0)
    method = make_method(name, settings)
    method.build(student, teacher)
    return method


def pair_of(make_knowledge: MakeKnowledge, pair: str, **both: object) -> tuple[Knowledge, Knowledge]:
    of_student, of_teacher = PAIRS[pair]
    return make_knowledge(1, **(both | of_student)), make_knowledge(2, **(both | of_teacher))


def watched(knowledge: Knowledge) -> Knowledge:
    """The same knowledge in leaves that collect a gradient."""
    dense = knowledge.dense
    assert dense is not None
    assert dense.edges is not None
    return replace(
        knowledge,
        pyramid=tuple(p.clone().requires_grad_() for p in knowledge.pyramid),
        dense=replace(dense, logits=dense.logits.clone().requires_grad_(), edges=dense.edges.clone().requires_grad_()),
    )


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", PEERS)
def test_gradients_reach_every_student_level_and_adapter_and_never_the_teacher(
    make_knowledge: MakeKnowledge, two_images: list[Targets], name: str, pair: str
) -> None:
    student, teacher = (watched(k) for k in pair_of(make_knowledge, pair, side=128))
    method = built(name, student, teacher)
    terms = method(student, teacher.detach(), two_images)
    assert all(v.shape == () and v.isfinite() for v in terms.values())
    total(terms).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in student.pyramid)
    assert [n for n, p in method.named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in teacher.pyramid)
    for k in (student, teacher):
        assert k.dense is not None
        assert k.dense.logits.grad is None


@pytest.mark.parametrize("name", PEERS)
def test_levels_of_differing_width(make_knowledge: MakeKnowledge, two_images: list[Targets], name: str) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    uneven = replace(student, pyramid=(student.pyramid[0][:, :3], *student.pyramid[1:]))
    assert total(built(name, uneven, teacher)(uneven, teacher, two_images)).isfinite()


@pytest.mark.parametrize("name", PEERS)
def test_constant_features_are_finite(make_knowledge: MakeKnowledge, two_images: list[Targets], name: str) -> None:
    """A dead channel has no variance and no strongest cell."""
    student, teacher = make_knowledge(1), make_knowledge(2)
    dead = watched(replace(student, pyramid=tuple(torch.zeros_like(p) for p in student.pyramid)))
    loss = total(built(name, dead, teacher)(dead, teacher, two_images))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in dead.pyramid)


@pytest.mark.parametrize("name", PEERS)
def test_the_weight_is_a_factor(make_knowledge: MakeKnowledge, two_images: list[Targets], name: str) -> None:
    student, teacher = pair_of(make_knowledge, "wider teacher")
    values = []
    for weight in (1.0, 3.0):
        method = built(name, student, teacher, weight=weight)
        torch.manual_seed(1)
        values.append(total(method(student, teacher, two_images)).item())
    assert values[0] > 0
    assert values[1] == pytest.approx(3 * values[0], rel=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_bfloat16_knowledge_is_finite(make_knowledge: MakeKnowledge, two_images: list[Targets], name: str) -> None:
    """As the Distiller hands it over: the pyramid in float32, the head's tensors as they came."""

    def rough(k: Knowledge) -> Knowledge:
        assert k.dense is not None
        dense = replace(k.dense, logits=k.dense.logits.bfloat16(), boxes=k.dense.boxes.bfloat16())
        return in_float32(replace(k, pyramid=tuple(p.bfloat16() for p in k.pyramid), dense=dense))

    student, teacher = pair_of(make_knowledge, "wider teacher")
    method = built(name, student, teacher)
    torch.manual_seed(1)
    exact = total(method(student, teacher, two_images)).item()
    torch.manual_seed(1)
    assert total(method(rough(student), rough(teacher), two_images)).item() == pytest.approx(exact, rel=0.05)
