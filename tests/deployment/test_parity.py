"""The comparison itself, on hand-made detections."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skystill.boxes.nms import Selection, select_batch
from skystill.deployment.parity import LOW, check_parity, pair_up
from skystill.errors import ConfigError
from skystill.kinds import BoxKind
from skystill.structures import Detections

IMAGE = [torch.zeros(1, 3, 32, 32)]


class Fixed:
    """A detector that always says the same."""

    classes: tuple[str, ...] = ("a", "b")
    kind: BoxKind = "hbb"
    in_chans = 3
    multiple = 32

    def __init__(self, scores: list[list[float]], boxes: list[list[float]]) -> None:
        self.scores, self.boxes = torch.tensor(scores)[None], torch.tensor(boxes)[None]

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores, self.boxes

    def select(self, scores: Tensor, boxes: Tensor, how: Selection | None = None) -> list[Detections]:
        return select_batch(scores, boxes, how or Selection())

    def predict(self, images: Tensor, how: Selection | None = None) -> list[Detections]:
        return self.select(*self.raw(images), how)


A, B = [10.0, 10.0, 30.0, 30.0], [50.0, 50.0, 80.0, 90.0]
SAME = Fixed([[0.9, 0.0], [0.0, 0.8]], [A, B])


def test_equal_detectors_pass_and_are_counted() -> None:
    parity = check_parity(SAME, SAME, IMAGE * 3)
    assert (parity.images, parity.detections, parity.ties) == (3, 6, 0)
    assert (parity.score_gap, parity.iou) == (0.0, 1.0)


def test_order_does_not_count_but_the_gaps_are_told() -> None:
    other = Fixed([[0.0, 0.8005], [0.9, 0.0]], [B, [10.0, 10.0, 30.0, 30.05]])
    parity = check_parity(SAME, other, IMAGE)
    assert parity.detections == 2
    assert parity.score_gap == pytest.approx(5e-4, rel=1e-3)
    assert parity.iou == pytest.approx(20 / 20.05, rel=1e-4)


@pytest.mark.parametrize(
    "other",
    [
        Fixed([[0.9, 0.0], [0.8, 0.0]], [A, B]),  # another class
        Fixed([[0.9, 0.0], [0.0, 0.805]], [A, B]),  # another score
        Fixed([[0.9, 0.0], [0.0, 0.8]], [A, [50.0, 50.0, 80.0, 91.0]]),  # another box
        Fixed([[0.9, 0.0], [0.0, 0.0]], [A, B]),  # one less
        Fixed([[0.9, 0.0], [0.0, 0.8], [0.7, 0.0]], [A, B, [0.0, 0.0, 9.0, 9.0]]),  # one more
        Fixed([[0.9, 0.0], [0.0, float("nan")]], [A, B]),
    ],
)
def test_each_difference_is_refused_in_both_directions(other: Fixed) -> None:
    for pair in [(SAME, other), (other, SAME)]:
        with pytest.raises(ConfigError, match=r"export refused: on image number 1 .* nothing was written") as error:
            _compare_on_second_image(*pair)
        assert "\n" not in str(error.value)


def _compare_on_second_image(one: Fixed, other: Fixed) -> None:
    """On the first image both say the same."""

    class Turning(Fixed):
        def __init__(self, later: Fixed) -> None:
            self.answers = [SAME, later]

        def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.answers.pop(0).raw(images)

    check_parity(Turning(one), Turning(other), IMAGE * 2)


def test_scores_at_the_threshold_may_miss() -> None:
    above, below = LOW.score + 4e-4, LOW.score - 4e-4
    one = Fixed([[0.9, 0.0], [0.0, above]], [A, B])
    other = Fixed([[0.9, 0.0], [0.0, below]], [A, B])
    assert check_parity(one, other, IMAGE).detections == 1
    assert check_parity(other, one, IMAGE).detections == 1


def test_a_tie_in_nms_is_no_difference() -> None:
    """Two boxes overlap by more than NMS allows and score the same up to rounding; each detector keeps another one."""
    rival = [10.0, 10.0, 30.0, 33.0]
    one = Fixed([[0.9, 0.0], [0.9 - 1e-6, 0.0]], [A, rival])
    other = Fixed([[0.9 - 1e-6, 0.0], [0.9, 0.0]], [A, rival])
    with pytest.raises(ConfigError, match="no detection at all"):  # ties alone prove nothing
        check_parity(one, other, IMAGE)
    anchored = [Fixed([*s.scores[0].tolist(), [0.0, 0.8]], [A, rival, B]) for s in (one, other)]
    parity = check_parity(anchored[0], anchored[1], IMAGE)
    assert (parity.detections, parity.ties) == (1, 2)


def test_oriented_boxes_turn() -> None:
    box = [50.0, 50.0, 40.0, 10.0, 0.3]
    seen = Detections(torch.tensor([box]), torch.tensor([0.9]), torch.tensor([0]))
    turned = Detections(torch.tensor([[*box[:4], 0.33]]), torch.tensor([0.9]), torch.tensor([0]))
    assert pair_up(seen, seen) == [(0, 0)]
    assert pair_up(seen, turned) == []


def test_a_box_without_area_is_the_same_box() -> None:
    flat = Detections(torch.tensor([[40.0, 20.0, 40.0, 27.0]]), torch.tensor([0.9]), torch.tensor([0]))
    moved = Detections(flat.boxes + torch.tensor([0.0, 0.0, 0.0, 0.02]), flat.scores, flat.labels)
    assert pair_up(flat, flat) == [(0, 0)]
    assert pair_up(flat, moved) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10_000))
def test_pairs_are_as_many_as_trying_all_assignments_finds(m: int, n: int, seed: int) -> None:
    """Boxes well apart, as after NMS, some of them in both sets."""
    gen = torch.Generator().manual_seed(seed)
    pool = torch.arange(6.0)[:, None] * 40 + torch.tensor([0.0, 0.0, 20.0, 20.0])
    pick = torch.randperm(6, generator=gen)[:m], torch.randperm(6, generator=gen)[:n]
    sides = [
        Detections(
            pool[p] + torch.rand(len(p), 4, generator=gen) * 0.2,
            torch.full((len(p),), 0.5) + torch.rand(len(p), generator=gen) * 2e-3,
            torch.randint(0, 2, (len(p),), generator=gen),
        )
        for p in pick
    ]
    pairs = pair_up(*sides)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(_same(sides[0], i, sides[1], j) for i, j in pairs)
    assert len(pairs) == _most_pairs(*sides)


def _same(one: Detections, i: int, other: Detections, j: int) -> bool:
    a, b = one.boxes[i].double().tolist(), other.boxes[j].double().tolist()
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    close = abs(float(one.scores[i] - other.scores[j])) <= 1e-3
    return bool(one.labels[i] == other.labels[j]) and close and common / union >= 0.99


def _most_pairs(one: Detections, other: Detections) -> int:
    if len(one) > len(other):
        one, other = other, one
    return max(
        sum(_same(one, i, other, j) for i, j in enumerate(order)) for order in permutations(range(len(other)), len(one))
    )
