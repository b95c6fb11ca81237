"""Which levels matter, over numbers: shares of what a teacher finds, and the weights that follow from them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skystill.distillation.ltd.finds import finds_by_level, over_levels
from skystill.distillation.methods import make_method
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def test_shares_of_what_is_found_over_numbers(make_knowledge: MakeKnowledge) -> None:
    teacher = make_knowledge(1)
    assert teacher.dense is not None
    dense = replace(teacher.dense, logits=teacher.dense.logits * 3 - 3)
    finds = finds_by_level(replace(teacher, dense=dense))
    assert finds is not None
    for b, scores in enumerate(dense.scores().tolist()):
        sums, start = [], 0
        for count in dense.levels:
            best = [max(place) for place in scores[start : start + count]]
            sums.append(sum(score for score in best if score >= 0.05))
            start += count
        assert finds[b].tolist() == pytest.approx([one / sum(sums) for one in sums], rel=1e-4)


def test_where_nothing_is_found_all_levels_are_alike(make_knowledge: MakeKnowledge) -> None:
    teacher = make_knowledge(1)
    assert teacher.dense is not None
    logits = teacher.dense.logits.clone()
    logits[0] = -9.0
    finds = finds_by_level(replace(teacher, dense=replace(teacher.dense, logits=logits)))
    assert finds is not None
    assert finds[0].tolist() == pytest.approx([1 / 3] * 3)
    assert finds[1].tolist() != pytest.approx([1 / 3] * 3)


def test_a_teacher_that_tells_no_level_weighs_none(make_knowledge: MakeKnowledge) -> None:
    teacher = make_knowledge(1)
    assert finds_by_level(replace(teacher, dense=None)) is None
    assert finds_by_level(replace(teacher, pyramid=teacher.pyramid[:2])) is None


def test_weights_of_levels_over_numbers() -> None:
    drawn = [0.9 * 0.75 + 0.1 * 0.25, 0.2 * 0.75 + 0.8 * 0.25, 0.25]
    levels = torch.eye(3)  # the distance of one level after the other, each in the place of an image

    def weights(found: torch.Tensor | None, share: float) -> list[float]:
        return [over_levels(level[None], found, share).item() for level in levels]

    for share in (0.0, 0.4, 1.0):
        wanted = [(1 - share) / 3 + share * one / sum(drawn) for one in drawn]
        assert weights(torch.tensor([drawn]), share) == pytest.approx(wanted)
    assert weights(None, 1.0) == pytest.approx([1 / 3] * 3)


def test_what_is_found_reaches_a_student_level_through_alpha(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    method = make_method("ltd_plus", {"ccd": 2.0, "finds": 0.4, "sem": 0.0, "loc": 0.0, "places": 10**6})
    method.prepare(student, teacher)
    term = method(student, teacher, two_images)["ccd"].item()
    distances = method.ccd.cross.distances(student.pyramid, teacher.pyramid).tolist()  # type: ignore[union-attr]
    found = finds_by_level(teacher)
    assert found is not None
    images = []
    for alpha, d, finds in zip(method.bindings()["alpha"].tolist(), distances, found.tolist(), strict=True):
        drawn = [sum(a * f for a, f in zip(row, finds, strict=True)) for row in alpha]
        levels = [sum(a * x for a, x in zip(*rows, strict=True)) for rows in zip(alpha, d, strict=True)]
        images.append(sum((0.6 / 3 + 0.4 * w / sum(drawn)) * x for w, x in zip(drawn, levels, strict=True)))
    assert term == pytest.approx(2.0 * sum(images) / 2, rel=1e-4)


@pytest.mark.parametrize("name", ["ltd", "ltd_plus"])
def test_a_level_where_nothing_is_found_teaches_nothing(
    make_knowledge: MakeKnowledge, two_images: list[Targets], name: str
) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    assert teacher.dense is not None
    fine = teacher.dense.levels[0]
    logits = teacher.dense.logits.clone()
    logits[:, fine:] = -9.0  # all is found on the finest level
    teacher = replace(teacher, dense=replace(teacher.dense, logits=logits))
    binding = {"binding": "lic"} if name == "ltd" else {"rho": 100.0}  # each level from its own
    method = make_method(name, {**binding, "finds": 1.0, "sem": 0.0, "loc": 0.0})
    method.prepare(student, teacher)
    levels = tuple(level.clone().requires_grad_() for level in student.pyramid)
    loss = method(replace(student, pyramid=levels), teacher, two_images)["ccd"]
    loss.backward()
    assert levels[0].grad is not None
    assert levels[0].grad.abs().max() > 0
    if name == "ltd_plus":
        assert all(level.grad is None or level.grad.abs().max() < 1e-6 for level in levels[1:])
    else:  # in LIC's fusion coarser levels feed the finest, which alone is compared
        finest = method.ccd.implicit(levels, teacher.pyramid)[:, 0].mean()
        torch.testing.assert_close(loss, method.ccd.weight * finest)
