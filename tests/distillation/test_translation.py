"""A teacher's classes in the student's."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.distillation.translation import translations
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, HeadView, Knowledge, Queries, TwoStage

OURS, THEIRS = ("ship", "plane", "car"), ("van", "car", "plane", "tree")
NAMES = {"van": "car"}
MakeKnowledge = Callable[..., Knowledge]


def test_classes_in_another_order_meet_by_name() -> None:
    (found,) = translations(OURS, [("car", "ship", "plane")], None)
    assert found.sources == ((1,), (2,), (0,))
    assert not found.needless
    assert translations(OURS, [OURS], None)[0].needless


def test_names_are_mapped_and_the_rest_is_passed_over() -> None:
    found, other = translations(OURS, [THEIRS, ("ship", "van")], NAMES)
    assert found.sources == ((), (2,), (0, 1))
    assert other.sources == ((0,), (), (1,))
    assert translations(OURS, [("ship", "bus")], {})[0].sources == ((0,), (), ())


def test_a_mapped_name_does_not_also_mean_itself() -> None:
    (found,) = translations(("car", "bus"), [("car", "bus")], {"car": "bus", "bus": "car"})
    assert found.sources == ((1,), (0,))


@pytest.mark.parametrize(
    ("teacher", "names", "message"),
    [
        (THEIRS, None, "only the student has ship; only the teacher has van, tree"),
        (THEIRS, {"van": "cart"}, "the student has no class 'cart'; there is car"),
        (THEIRS, {"vans": "car"}, "no teacher has a class 'vans'; there is van"),
        (("bus", "tram"), {}, "no class in common"),
    ],
)
def test_what_cannot_be_mapped_is_refused(teacher: tuple[str, ...], names: dict[str, str] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        translations(OURS, [teacher], names)
    assert "\n" not in str(caught.value)


def by_hand(scores: Tensor) -> Tensor:
    """(..., 3) scores of ship, plane, car from those of van, car, plane, tree, joined as probabilities."""
    van, car, plane, _ = scores[..., :4].unbind(-1)
    return torch.stack([torch.zeros_like(van), plane, torch.maximum(van, car)], -1)


def test_scores_of_every_view_are_those_of_the_teachers_classes(make_knowledge: MakeKnowledge) -> None:
    (found,) = translations(OURS, [THEIRS], NAMES)
    said = make_knowledge(3)
    assert said.dense is not None
    logits = torch.randn(2, said.dense.logits.shape[1], 4)
    dense = replace(said.dense, logits=logits)
    queries = Queries(torch.randn(2, 5, 4), torch.rand(2, 5, 4))
    detections = [Detections(torch.rand(4, 4), torch.rand(4), torch.arange(4))]
    head = HeadView((8, 8), lambda maps, levels: dense)
    told = found(replace(said, dense=dense, queries=queries, detections=detections, head=head))
    assert told.dense is not None
    assert told.queries is not None
    assert told.detections is not None
    assert told.head is not None
    torch.testing.assert_close(told.dense.scores(), by_hand(logits.sigmoid()), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(told.queries.scores(), by_hand(queries.scores()), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(told.head.finish([], []).logits, told.dense.logits)
    assert told.detections[0].labels.tolist() == [2, 2, 1]
    assert torch.equal(told.detections[0].boxes, detections[0].boxes[:3])


def test_a_softmax_adds_what_means_one_class_and_gives_the_rest_to_the_background(
    make_dense: Callable[..., Dense],
) -> None:
    (found,) = translations(OURS, [THEIRS], NAMES)
    dense = make_dense(0)
    dense = replace(dense, logits=10 * torch.randn(*dense.logits.shape[:2], 5) - 30, activation="softmax")
    van, car, plane, tree, nothing = dense.logits.softmax(-1).unbind(-1)
    told = found.of_dense(dense).logits.softmax(-1)
    expected = torch.stack([torch.zeros_like(van), plane, van + car, tree + nothing], -1)
    torch.testing.assert_close(told, expected, atol=2e-6, rtol=1e-5)


def test_a_second_stage_judges_in_the_students_classes(make_dense: Callable[..., Dense]) -> None:
    (found,) = translations(OURS, [THEIRS], NAMES)
    logits = torch.tensor([[3.0, 1, 0, 0, 0], [0, 2, 0, 5, 0]])
    by_class = torch.arange(2 * 4).view(2, 4, 1).expand(2, 4, 4).float()
    stages = found.of_stages(TwoStage(make_dense(0), [], lambda pyramid, boxes: (logits, by_class)))
    told, boxes = stages.judge([], [])
    assert told.shape == (2, 4)
    assert boxes[0, :, 0].tolist()[1:] == [2, 0]  # of van and car the van is surer
    assert boxes[1, :, 0].tolist()[1:] == [6, 5]
