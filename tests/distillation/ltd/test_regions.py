from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.boxes.atss import atss, valuable_region
from skystill.distillation.ltd.regions import find_regions, proposal_regions, shrink
from skystill.structures import Dense, Targets


def centres(dense: Dense) -> list[tuple[float, float]]:
    return [((a + c) / 2, (b + d) / 2) for a, b, c, d in dense.places.tolist()]


@pytest.mark.parametrize(("core", "sure", "low"), [(0.5, 0.3, 0.25), (0.9, 0.8, 0.1), (0.0, 2.0, 1.0)])
def test_regions_place_by_place(
    make_dense: Callable[..., Dense], two_images: list[Targets], core: float, sure: float, low: float
) -> None:
    dense = make_dense(0)
    got = find_regions(dense, two_images, core, sure, low)
    for b, target in enumerate(two_images):
        assignment = atss(dense.places, dense.levels, target.boxes)
        ring = valuable_region(dense.places, target.boxes, assignment, low).tolist()
        for p, (x, y) in enumerate(centres(dense)):
            positive = int(assignment.object[p]) >= 0
            at_core = False
            for x1, y1, x2, y2 in target.boxes.tolist():
                near_x = abs(x - (x1 + x2) / 2) < core * (x2 - x1) / 2
                near_y = abs(y - (y1 + y2) / 2) < core * (y2 - y1) / 2
                at_core = at_core or (near_x and near_y)
            teacher_sure = max(1 / (1 + torch.exp(-z).item()) for z in dense.logits[b, p]) >= sure
            assert bool(got.positives[b, p]) == positive
            assert bool(got.ring[b, p]) == (ring[p] >= 0)
            assert bool(got.loc[b, p]) == (positive or ring[p] >= 0)
            assert bool(got.sem[b, p]) == (positive or at_core or teacher_sure)


def test_the_tasks_get_different_places(make_dense: Callable[..., Dense], two_images: list[Targets]) -> None:
    dense = make_dense(1)
    got = find_regions(replace(dense, logits=dense.logits - 9), two_images)
    assert (got.loc & ~got.sem).any()
    assert (got.sem & ~got.loc).any() or (got.sem == got.positives).all()
    assert not (got.ring & got.positives).any()


@pytest.mark.parametrize("name", ["nothing", "only ignored"])
def test_an_image_without_objects_has_no_region(
    make_dense: Callable[..., Dense], odd_truths: dict[str, Targets], two_images: list[Targets], name: str
) -> None:
    dense = make_dense(2)
    sure = replace(dense, logits=dense.logits + 20)
    got = find_regions(sure, [odd_truths[name], two_images[0]])
    for mask in (got.positives, got.ring, got.sem, got.loc):
        assert mask.shape == dense.logits.shape[:2]
        assert not mask[0].any()
    assert got.sem[1].all()


@pytest.mark.parametrize("name", ["smaller than a cell", "fills the image", "twice the same"])
def test_every_real_object_has_places(
    make_dense: Callable[..., Dense], odd_truths: dict[str, Targets], name: str
) -> None:
    dense = make_dense(3, batch=1)
    got = find_regions(replace(dense, logits=dense.logits - 99), [odd_truths[name]])
    assert got.positives.any()
    assert got.sem.any()


def test_a_softmax_teacher_is_sure_of_objects_only(make_dense: Callable[..., Dense], two_images: list[Targets]) -> None:
    dense = make_dense(4)
    background: Tensor = torch.zeros_like(dense.logits)
    background[..., -1] = 20
    got = find_regions(replace(dense, logits=background, activation="softmax"), two_images, core=0.0)
    assert torch.equal(got.sem, got.positives)


def test_shrink_keeps_the_centre() -> None:
    boxes = torch.tensor([[0.0, 10.0, 20.0, 50.0]])
    assert shrink(boxes, 0.5).tolist() == [[5.0, 20.0, 15.0, 40.0]]
    assert shrink(boxes, 1.0).tolist() == boxes.tolist()


def test_regions_of_proposals_box_by_box(two_images: list[Targets]) -> None:
    boxes = [
        torch.tensor([[4.0, 6.0, 40.0, 37.0], [4.0, 6.0, 22.0, 37.0], [4.0, 6.0, 16.0, 37.0], [0.0, 50.0, 9.0, 60.0]]),
        torch.tensor([[40.0, 50.0, 60.0, 60.0], [13.0, 9.0, 34.0, 21.0]]),
    ]  # IoU with the nearest object: 1, 0.5, 1/3, 0; 0, 1/3
    truths = [*two_images, Targets.empty()]
    boxes = [*boxes, torch.tensor([[1.0, 1.0, 9.0, 9.0]])]
    logits = torch.full((1, 7, 2), -9.0)
    logits[0, [3, 6], 1] = 2.0  # the teacher is sure
    dense_t = Dense(logits, torch.cat(boxes)[None], None, torch.cat(boxes), (7,))
    sem, loc = proposal_regions(boxes, dense_t, truths)
    assert sem[0].tolist() == [True, True, False, True, False, False, False]  # none on the empty image
    assert loc[0].tolist() == [True, True, True, False, False, True, False]
