"""What a teacher found, told at a student's places and to its queries, held against slow re-statements."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from skystill.boxes.atss import atss
from skystill.distillation.items import Items, at_places, items_of, on_queries
from skystill.distillation.pairing import rescale, same_grid
from skystill.distillation.views import as_sigmoid
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Knowledge, Queries

MakeDense = Callable[..., Dense]
MakeKnowledge = Callable[..., Knowledge]
pytest.importorskip("scipy")


def black_box(*found: Detections) -> Knowledge:
    return Knowledge((), (), detections=list(found))


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(torch.tensor(boxes).view(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


FIRST = detections([[4, 4, 44, 40], [30, 30, 62, 60]], [0.9, 0.6], [1, 2])
NOTHING = detections([], [], [])


def test_a_place_tells_the_object_that_atss_gives_it_and_background_elsewhere(make_dense: MakeDense) -> None:
    student = make_dense(0)
    told = at_places(items_of(black_box(FIRST, NOTHING), 3), student)
    owner = atss(student.places, student.levels, FIRST.boxes).object
    assert (owner >= 0).sum() > 3
    for n, item in enumerate(owner.tolist()):
        expected = [0.0, 0.0, 0.0]
        if item >= 0:
            expected[int(FIRST.labels[item])] = float(FIRST.scores[item])
            assert torch.equal(told.boxes[0, n], FIRST.boxes[item])
        assert told.scores()[0, n].tolist() == pytest.approx(expected, abs=2e-6)
    assert told.scores()[1].max() < 2e-6
    assert told.activation == "sigmoid"
    assert told.edges is None


def test_first_stages_learn_of_any_object(make_dense: MakeDense) -> None:
    first = replace(make_dense(0), logits=make_dense(0).logits[..., :1])
    told = at_places(items_of(black_box(FIRST, NOTHING), 1), first)
    assert told.logits.shape == first.logits.shape
    assert told.scores()[0].amax() == pytest.approx(0.9)
    several = [Items(torch.tensor([[-1.0, 2.0]]), torch.tensor([[4.0, 4, 44, 40]]))] * 2
    assert at_places(several, first).logits[0].amax() == 2


def test_a_black_box_teaches_a_dense_student_through_the_pairing(make_knowledge: MakeKnowledge) -> None:
    student = make_knowledge(1)
    dense_s, dense_t = same_grid(student, black_box(FIRST, NOTHING))
    assert dense_s is student.dense
    assert dense_t.boxes.shape == dense_s.boxes.shape
    softmax = replace(
        student,
        dense=replace(student.dense, logits=torch.randn(2, 84, 4), activation="softmax"),  # type: ignore[type-var]
    )
    assert same_grid(softmax, black_box(FIRST, NOTHING))[0].activation == "sigmoid"


def test_a_set_predictor_says_what_it_thinks_of_every_class() -> None:
    logits = torch.tensor([[[-6.0, -6.0], [1.0, 0.5], [-1.0, 3.0]]])
    queries = Queries(logits, torch.tensor([[[0.0, 0, 9, 9], [10, 10, 40, 40], [20, 20, 60, 50]]]))
    (found,) = items_of(Knowledge((), (), queries=queries), 2)
    assert torch.equal(found.logits, logits[0, [2, 1]])  # best first; the first query sees nothing
    assert torch.equal(found.boxes, queries.boxes[0, [2, 1]])
    softmax = Queries(torch.tensor([[[0.0, 2.0, 0.0]]]), torch.tensor([[[0.0, 0, 9, 9]]]), "softmax")
    (found,) = items_of(Knowledge((), (), queries=softmax), 2)
    assert found.scores()[0].tolist() == pytest.approx(softmax.logits.softmax(-1)[0, 0, :2].tolist(), abs=1e-6)


def test_a_dense_head_tells_each_object_once(make_dense: MakeDense) -> None:
    dense = make_dense(3, batch=1)
    (found,) = items_of(Knowledge((), (), dense), 3)
    score = as_sigmoid(dense).scores().amax(2)[0]
    best = int(score.argmax())
    assert torch.equal(found.boxes[0], dense.boxes[0, best])
    assert torch.equal(found.logits[0], dense.logits[0, best])
    assert len(found.boxes) < len(score)
    assert (found.scores().amax(1).diff() <= 0).all()


def total(student: Queries, found: Items, size: tuple[int, int], chosen: tuple[int, ...]) -> float:
    """The cost of giving item i the query chosen[i], number by number."""
    unit = torch.tensor([size[1], size[0], size[1], size[0]])
    cost = 0.0
    for i, q in enumerate(chosen):
        p_t, p_s = found.logits[i].sigmoid(), student.logits[0, q].sigmoid()
        cost -= 2 * float((p_t / p_t.sum() * p_s).sum())
        cost += 5 * float(((found.boxes[i] - student.boxes[0, q]) / unit).abs().sum())
        cost -= 2 * float(generalized_box_iou(found.boxes[i : i + 1], student.boxes[0, q : q + 1]))
    return cost


def random_boxes(count: int, gen: torch.Generator) -> torch.Tensor:
    corner = torch.rand(count, 2, generator=gen) * 40
    return torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=gen) * 20], 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(3, 5))
def test_queries_are_matched_with_the_least_cost_of_all(seed: int, items: int, queries: int) -> None:
    gen = torch.Generator().manual_seed(seed)
    student = Queries(torch.randn(1, queries, 2, generator=gen), random_boxes(queries, gen)[None])
    found = Items(torch.randn(items, 2, generator=gen), random_boxes(items, gen))
    boxes, dense_s, dense_t = on_queries(student, [found], (64, 80))
    chosen = tuple(int((student.boxes[0] == box).all(1).nonzero()[0]) for box in dense_s.boxes[0])
    assert len(set(chosen)) == items
    least = min(total(student, found, (64, 80), p) for p in permutations(range(queries), items))
    assert total(student, found, (64, 80), chosen) == pytest.approx(least, abs=1e-4)
    assert torch.equal(boxes[0], found.boxes)
    assert torch.equal(dense_t.logits[0], found.logits)
    assert torch.equal(dense_s.logits[0], student.logits[0, list(chosen)])


def test_more_items_than_queries_and_images_without_any() -> None:
    gen = torch.Generator().manual_seed(0)
    student = Queries(torch.randn(2, 2, 3, generator=gen), torch.stack([random_boxes(2, gen), random_boxes(2, gen)]))
    many = Items(torch.randn(5, 3, generator=gen), random_boxes(5, gen))
    none = Items(torch.zeros(0, 3), torch.zeros(0, 4))
    boxes, dense_s, dense_t = on_queries(student, [none, many], (64, 64))
    assert [len(b) for b in boxes] == [0, 2]
    assert dense_s.boxes.shape == dense_t.boxes.shape == (1, 2, 4)


def test_gradients_reach_the_student_alone() -> None:
    gen = torch.Generator().manual_seed(0)
    student = Queries(torch.randn(1, 4, 3, generator=gen).requires_grad_(), random_boxes(4, gen)[None].requires_grad_())
    items = items_of(Knowledge((), (), queries=Queries(torch.randn(1, 3, 3), random_boxes(3, gen)[None])), 3)
    _, dense_s, dense_t = on_queries(student, items, (64, 64))
    (dense_s.logits.sum() + dense_s.boxes.sum()).backward()
    assert student.logits.grad is not None
    assert student.boxes.grad is not None
    assert not dense_t.logits.requires_grad


def test_an_enlarged_teachers_queries_are_told_in_the_students_pixels() -> None:
    queries = Queries(torch.zeros(1, 1, 2), torch.tensor([[[8.0, 16, 24, 32]]]))
    told = rescale(Knowledge((torch.zeros(1, 4, 8, 8),), (8,), queries=queries), 2.0)
    assert told.queries is not None
    assert told.queries.boxes.tolist() == [[[4, 8, 12, 16]]]


def test_who_cannot_be_compared_is_told(make_knowledge: MakeKnowledge) -> None:
    queries = Knowledge((), (), queries=Queries(torch.zeros(1, 1, 2), torch.zeros(1, 1, 4)))
    for student, teacher, word in (
        (make_knowledge(1), Knowledge((), ()), "teacher's predictions teach nothing here"),
        (Knowledge((), ()), make_knowledge(1), "not its head"),
        (queries, make_knowledge(1), "set predictor"),
    ):
        with pytest.raises(ConfigError, match=word) as caught:
            same_grid(student, teacher)
        assert "\n" not in str(caught.value)
