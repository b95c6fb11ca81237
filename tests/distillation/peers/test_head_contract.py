"""What every peer that compares predictions owes, whatever its formula, beyond what every method does."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.detectors.gfl import GFL
from skystill.distillation.methods import make_method
from skystill.errors import ConfigError
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]
MakeGFL = Callable[..., GFL]
PEERS = ("ld", "bckd")


def total(terms: dict[str, Tensor]) -> Tensor:
    return sum(terms.values(), torch.zeros(()))


def watched(knowledge: Knowledge) -> Knowledge:
    """The same knowledge in leaves that collect a gradient."""
    dense = knowledge.dense
    assert dense is not None
    assert dense.edges is not None
    logits, boxes, edges = (t.clone().requires_grad_() for t in (dense.logits, dense.boxes, dense.edges))
    pyramid = tuple(p.clone().requires_grad_() for p in knowledge.pyramid)
    return replace(knowledge, pyramid=pyramid, dense=replace(dense, logits=logits, boxes=boxes, edges=edges))


def gradients(knowledge: Knowledge) -> list[Tensor]:
    dense = knowledge.dense
    assert dense is not None
    assert dense.edges is not None
    return [t.grad for t in (*knowledge.pyramid, dense.logits, dense.boxes, dense.edges) if t.grad is not None]


@pytest.mark.parametrize("name", PEERS)
def test_gradients_reach_the_students_predictions_and_nothing_else(
    make_knowledge: MakeKnowledge, two_images: list[Targets], name: str
) -> None:
    student, teacher = watched(make_knowledge(1)), watched(make_knowledge(2))
    method = make_method(name)
    method.build(student, teacher)
    terms = method(student, teacher.detach(), two_images)
    assert all(v.shape == () and v.isfinite() and v > 0 for v in terms.values())
    total(terms).backward()
    found = gradients(student)
    assert found
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in found)
    assert all(p.grad is None for p in student.pyramid)
    assert gradients(teacher) == []
    assert list(method.parameters()) == []


@pytest.mark.parametrize("name", PEERS)
def test_odd_truths_are_finite_and_no_object_teaches_no_box(
    make_knowledge: MakeKnowledge, odd_truths: dict[str, Targets], name: str
) -> None:
    for truth, target in odd_truths.items():
        student, teacher = watched(make_knowledge(1, batch=1)), make_knowledge(2, batch=1)
        terms = make_method(name)(student, teacher, [target])
        total(terms).backward()
        assert all(v.isfinite() for v in terms.values()), truth
        assert all(g.isfinite().all() for g in gradients(student)), truth
        if truth in ("nothing", "only ignored"):
            assert all(terms[k] == 0 for k in ("ld", "ld_vlr", "bckd_loc") if k in terms)


@pytest.mark.parametrize("name", PEERS)
def test_half_precision_predictions_give_nearly_the_same_loss_in_float32(
    make_knowledge: MakeKnowledge, two_images: list[Targets], name: str
) -> None:
    def rough(k: Knowledge) -> Knowledge:
        assert k.dense is not None
        assert k.dense.edges is not None
        dense = replace(k.dense, logits=k.dense.logits.bfloat16(), edges=k.dense.edges.bfloat16())
        return replace(k, dense=dense)

    student, teacher = make_knowledge(1), make_knowledge(2)
    method = make_method(name)
    exact, found = method(student, teacher, two_images), method(rough(student), rough(teacher), two_images)
    for term, value in found.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[term].item(), rel=0.02), term


@pytest.mark.parametrize("name", PEERS)
def test_saturated_predictions_stay_finite(make_knowledge: MakeKnowledge, two_images: list[Targets], name: str) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    assert student.dense is not None
    assert student.dense.edges is not None
    dense = replace(student.dense, logits=student.dense.logits * 1e4, edges=student.dense.edges * 1e4)
    hot = watched(replace(student, dense=dense))
    loss = total(make_method(name)(hot, teacher, two_images))
    loss.backward()
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in gradients(hot))


@pytest.mark.parametrize("name", PEERS)
def test_pairs_without_a_common_grid_are_refused(make_knowledge: MakeKnowledge, name: str) -> None:
    plain, coarse = make_knowledge(1, strides=(8, 16)), make_knowledge(2, strides=(32,))
    for student, teacher, message in (
        (plain, replace(plain, dense=None), "its features alone are known"),
        (plain, coarse, "none in common"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            make_method(name).build(student, teacher)
        assert "\n" not in str(caught.value)
