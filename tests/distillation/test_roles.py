"""Who of several teachers teaches what: nothing comes from one that may not speak of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skystill.distillation.ltd.losses import localization_loss, semantic_loss
from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.pairing import same_grid
from skystill.distillation.roles import Role, heard, keep_to, said, scope_of
from skystill.distillation.translation import translations
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Knowledge, Scope, Targets

CLASSES = ("ship", "plane", "car")
MakeKnowledge = Callable[..., Knowledge]


def scope(role: Role, teacher: tuple[str, ...] = CLASSES, names: dict[str, str] | None = None) -> Scope | None:
    return scope_of(CLASSES, translations(CLASSES, [teacher], names)[0], role)


def test_scopes() -> None:
    assert scope(Role()) is None
    assert scope(Role(), ("plane", "tree"), {}) == Scope((False, True, False))
    assert scope(Role(classes=["ship", "car"], sides=(0, 32))) == Scope((True, False, True), (0, 32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scope(Role(classes=["shp"])), "no class 'shp'; there is ship"),
        (lambda: scope(Role(classes=["ship"]), ("plane",), {}), "shall teach ship, which it does not know"),
        (lambda: Role(share=0), "share is 0"),
        (lambda: Role(sides=(32, 16)), "sides are"),
        (lambda: Role(sides=(1, 2, 3)), "sides are"),  # type: ignore[arg-type]
    ],
)
def test_roles_that_cannot_be_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_truth_and_detections_of_other_classes_and_sizes_are_left_out() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 40, 40], [0, 0, 10, 40], [0, 0, 10, 10]])
    labels = torch.tensor([0, 0, 2, 1])
    kept = [0, 2]  # the root of 10 x 40 is 20
    only = Scope((True, False, True), (0, 32))
    (truth,) = heard([Targets(boxes, labels, labels > 1)], only)
    assert torch.equal(truth.boxes, boxes[kept])
    assert truth.ignore.tolist() == [False, True]
    found = said(Detections(boxes, torch.rand(4), labels), only)
    assert found.labels.tolist() == [0, 2]
    turned = torch.tensor([[5.0, 5, 40, 40, 0.3], [5, 5, 20, 10, 0.3]])
    assert len(heard([Targets(turned, torch.tensor([0, 0]))], only)[0]) == 1


def test_no_gradient_comes_from_what_a_teacher_may_not_say(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    assert student.dense is not None
    assert teacher.dense is not None
    logits, edges = student.dense.logits.requires_grad_(), student.dense.edges.requires_grad_()  # type: ignore[union-attr]
    only = Scope((True, False, True), (0.0, 20.0))
    dense_s, dense_t = same_grid(student, replace(teacher, scope=only))
    everywhere = torch.ones(dense_t.logits.shape[:2], dtype=torch.bool)
    (semantic_loss(dense_s, dense_t, everywhere) + localization_loss(dense_s, dense_t, everywhere)).backward()
    size = (teacher.dense.boxes[..., 2:] - teacher.dense.boxes[..., :2]).prod(-1).sqrt()
    small = size < 20
    assert 0 < int(small.sum()) < small.numel()
    assert logits.grad is not None
    assert edges.grad is not None
    assert float(logits.grad[..., 1].abs().max()) < 1e-6
    assert float(logits.grad[~small].abs().max()) < 1e-6
    assert float(logits.grad[small][:, [0, 2]].abs().min()) > 1e-6
    assert float(edges.grad[~small].abs().max()) < 1e-6
    assert float(edges.grad[small].abs().amax((1, 2)).min()) > 1e-6


def test_what_a_teacher_repeats_it_is_not_sure_of(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    assert student.dense is not None
    sure = replace(student, dense=replace(student.dense, logits=torch.full_like(student.dense.logits, 9.0)))
    _, told = same_grid(sure, replace(teacher, scope=Scope((False, True, False), (0.0, 20.0))))
    assert teacher.dense is not None
    small = (teacher.dense.boxes[..., 2:] - teacher.dense.boxes[..., :2]).prod(-1).sqrt() < 20
    assert torch.allclose(told.best(), teacher.dense.logits[..., 1].sigmoid() * small)
    assert float(told.scores()[..., 0].min()) > 0.99


def test_places_whose_size_is_not_the_teachers_do_not_water_the_lesson_down(make_knowledge: MakeKnowledge) -> None:
    """L_loc is that of the places it speaks of, whatever else is positive."""
    student, teacher = make_knowledge(0), make_knowledge(1)
    dense_t = teacher.dense
    assert dense_t is not None
    side = (dense_t.boxes[..., 2:] - dense_t.boxes[..., :2]).clamp(min=0).prod(-1).sqrt()
    most = side.median().item()
    dense_s, told = same_grid(student, replace(teacher, scope=Scope((True,) * dense_t.classes, (0, most))))
    truth = [Targets(dense_t.places[[5, 9]], torch.tensor([0, 1])) for _ in dense_t.boxes]
    regions, whole = find_regions(told, truth), find_regions(dense_t, truth)
    assert torch.equal(regions.loc, whole.loc & (side < most))
    assert 0 < regions.loc.sum() < whole.loc.sum()
    alone = localization_loss(dense_s, dense_t, whole.loc & (side < most))
    torch.testing.assert_close(localization_loss(dense_s, told, regions.loc), alone)


def test_a_first_stage_hears_of_objects_and_not_that_there_is_nothing(make_dense: Callable[..., Dense]) -> None:
    dense_s, dense_t = (replace(d, logits=d.logits[..., :1]) for d in (make_dense(1), make_dense(2)))
    _, told = keep_to(Scope((True, False)), dense_s, dense_t)
    assert torch.equal(told.logits, torch.maximum(dense_s.logits, dense_t.logits))


def test_distributions_of_other_lengths_are_kept_to_as_well(make_dense: Callable[..., Dense]) -> None:
    dense_s, dense_t = make_dense(1), make_dense(2)
    assert dense_s.edges is not None
    dense_s = replace(dense_s, edges=dense_s.edges[..., :-2])
    own, told = keep_to(Scope((False, False, True), (1e6, 2e6)), dense_s, dense_t)
    assert own.edges is not None
    assert told.edges is not None
    assert torch.equal(own.edges, told.edges)
