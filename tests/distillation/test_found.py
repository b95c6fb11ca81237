"""Detections of every kind of head against hand-made predictions."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from skystill.boxes.nms import Selection
from skystill.distillation.found import detections_of
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Knowledge, Queries, TwoStage

BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 60, 60], [80, 80, 90, 90]])
# Classes 0 and 1. The second box repeats the first, the last is background.
SCORES = torch.tensor([[0.9, 0.01], [0.8, 0.01], [0.01, 0.7], [0.01, 0.02]])
PYRAMID = (torch.zeros(1, 4, 2, 2),)


def knowledge_of_places(logits: Tensor, boxes: Tensor = BOXES, activation: str = "sigmoid") -> Knowledge:
    dense = Dense(logits[None], boxes[None], None, BOXES, (len(BOXES),), activation)  # type: ignore[arg-type]
    return Knowledge(PYRAMID, (8,), dense=dense)


def assert_found(found: list[Detections], boxes: Tensor, scores: list[float], labels: list[int]) -> None:
    (one,) = found
    torch.testing.assert_close(one.boxes, boxes)
    torch.testing.assert_close(one.scores, torch.tensor(scores))
    assert one.labels.tolist() == labels


def test_ready_detections_are_taken_as_they_are() -> None:
    ready = [Detections(BOXES, SCORES[:, 0], torch.zeros(4, dtype=torch.int64))]
    assert detections_of(Knowledge((), (), detections=ready), Selection(score=0.85)) == ready


def test_a_dense_head_goes_through_nms() -> None:
    assert_found(detections_of(knowledge_of_places(SCORES.logit())), BOXES[[0, 2]], [0.9, 0.7], [0, 1])


def test_a_softmax_head_leaves_background_out() -> None:
    probability = torch.cat([SCORES, 1 - SCORES.sum(1, keepdim=True)], 1)
    found = detections_of(knowledge_of_places(probability.log(), activation="softmax"))
    assert_found(found, BOXES[[0, 2]], [0.9, 0.7], [0, 1])


def test_the_selection_is_followed() -> None:
    found = detections_of(knowledge_of_places(SCORES.logit()), Selection(score=0.75, iou=0.95))
    assert_found(found, BOXES[:2], [0.9, 0.8], [0, 0])


def test_oriented_boxes() -> None:
    boxes = torch.tensor([[20.0, 20, 10, 4, 0.5], [20, 20, 10, 4, 0.52], [50, 50, 8, 6, -1.0], [80, 80, 8, 6, 0.0]])
    found = detections_of(knowledge_of_places(SCORES.logit(), boxes))
    assert_found(found, boxes[[0, 2]], [0.9, 0.7], [0, 1])


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_queries_keep_neighbours_and_come_best_first(activation: str) -> None:
    shuffled = [2, 1, 3, 0]
    scores = SCORES[shuffled]
    logits = scores.logit()
    if activation == "softmax":
        logits = torch.cat([scores, 1 - scores.sum(1, keepdim=True)], 1).log()
    queries = Queries(logits[None], BOXES[shuffled][None], activation)  # type: ignore[arg-type]
    found = detections_of(Knowledge(PYRAMID, (8,), queries=queries))
    assert_found(found, BOXES[[0, 1, 2]], [0.9, 0.8, 0.7], [0, 0, 1])
    assert_found(
        detections_of(Knowledge(PYRAMID, (8,), queries=queries), Selection(keep=1)), BOXES[:1], [0.9], [0]
    )  # as many as are wanted, the best ones


def test_one_query_may_name_two_classes() -> None:
    queries = Queries(torch.tensor([[[0.6, 0.7]]]).logit(), BOXES[None, :1])
    assert_found(detections_of(Knowledge(PYRAMID, (8,), queries=queries)), BOXES[[0, 0]], [0.7, 0.6], [1, 0])


def test_two_stages_say_what_the_second_says() -> None:
    def judge(pyramid: Sequence[Tensor], asked: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        assert pyramid is PYRAMID
        (boxes,) = asked
        order = [int((box == BOXES).all(1).nonzero()[0, 0]) for box in boxes]
        probability = torch.cat([SCORES, 1 - SCORES.sum(1, keepdim=True)], 1)[order]
        moved = boxes + 2  # the second stage mends every box
        return probability.log(), torch.stack([moved, moved], 1)

    objectness = torch.tensor([[[2.0], [1.0], [0.0], [-1.0]]])
    first = Dense(objectness, BOXES[None], None, BOXES, (4,))
    found = detections_of(Knowledge(PYRAMID, (8,), stages=TwoStage(first, [], judge)))
    assert_found(found, BOXES[[0, 2]] + 2, [0.9, 0.7], [0, 1])


def test_nothing_above_the_least_score() -> None:
    (none,) = detections_of(knowledge_of_places(SCORES.logit()), Selection(score=0.95))
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="not its head"):
        detections_of(Knowledge(PYRAMID, (8,)))
