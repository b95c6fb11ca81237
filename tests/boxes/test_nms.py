"""Selection against greedy suppression written out by hand."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon

from skystill.boxes import nms
from skystill.boxes.nms import Selection, clip_to_images, oriented_nms, select, select_batch
from skystill.boxes.obb import intersection_of_pairs, le90, obb_to_corners
from skystill.structures import Detections

Row = tuple[float, list[float], int]


def overlap(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0.0) * max(h, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def greedy(scores: torch.Tensor, boxes: torch.Tensor, how: Selection) -> list[Row]:
    """Every place and class above the score, best first; kept unless a kept one of its class overlaps it more."""
    rows = [
        (s, box, k)
        for row, box in zip(scores.tolist(), boxes.tolist(), strict=True)
        for k, s in enumerate(row)
        if s >= how.score
    ]
    rows = sorted(rows, key=lambda r: -r[0])[: how.candidates]
    kept: list[Row] = []
    for row in rows:
        if all(row[2] != other[2] or overlap(row[1], other[1]) <= how.iou for other in kept):
            kept.append(row)
    return kept[: how.keep]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    how=st.builds(
        Selection,
        score=st.sampled_from([0.05, 0.5]),
        candidates=st.sampled_from([5, 30, 2000]),
        iou=st.sampled_from([0.3, 0.6]),
        keep=st.sampled_from([3, 500]),
    ),
    corner=st.sampled_from([0.0, -60.0]),
)
def test_select_is_greedy_suppression_within_a_class(seed: int, n: int, how: Selection, corner: float) -> None:
    gen = torch.Generator().manual_seed(seed)
    first = torch.rand(n, 2, generator=gen) * 40 + corner
    boxes = torch.cat([first, first + 5 + torch.rand(n, 2, generator=gen) * 50], 1)
    scores = torch.rand(n, 3, generator=gen)
    expected = greedy(scores, boxes, how)
    got = select(scores, boxes, how)
    assert got.scores.tolist() == pytest.approx([r[0] for r in expected])
    assert got.labels.tolist() == [r[2] for r in expected]
    assert got.boxes.flatten().tolist() == pytest.approx([v for r in expected for v in r[1]])


def test_boxes_beyond_the_border_do_not_suppress_another_class() -> None:
    # Shifting classes apart by the largest coordinate alone lays these two over one another.
    boxes = torch.tensor([[1.0, 1.0, 99.0, 99.0], [-99.0, -99.0, -1.0, -1.0]])
    scores = torch.tensor([[0.9, 0.0], [0.0, 0.8]])
    assert select(scores, boxes, Selection()).labels.tolist() == [0, 1]


def test_nothing_above_the_score_is_an_empty_selection() -> None:
    found = select(torch.zeros(7, 3), torch.rand(7, 4), Selection())
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.labels.shape == (0,)
    assert found.labels.dtype == torch.int64


def test_half_precision_scores_give_float32_detections() -> None:
    found = select(torch.tensor([[0.75]]).half(), torch.tensor([[0.0, 0.0, 8.0, 8.0]]).bfloat16(), Selection())
    assert found.scores.dtype == found.boxes.dtype == torch.float32


def test_a_batch_is_selected_image_by_image() -> None:
    gen = torch.Generator().manual_seed(3)
    scores = torch.rand(3, 20, 2, generator=gen)
    corners = torch.rand(3, 20, 2, generator=gen) * 50
    boxes = torch.cat([corners, corners + 20], -1)
    together = select_batch(scores, boxes, Selection())
    for b, found in enumerate(together):
        alone = select(scores[b], boxes[b], Selection())
        assert torch.equal(found.boxes, alone.boxes)
        assert torch.equal(found.labels, alone.labels)


def test_without_nms_all_that_score_enough_stay() -> None:
    scores = torch.tensor([[[0.9, 0.01], [0.8, 0.7], [0.8, 0.0]]])
    for boxes in (torch.tensor([[[0.0, 0.0, 9.0, 9.0]] * 3]), torch.tensor([[[5.0, 5.0, 9.0, 4.0, 0.1]] * 3])):
        assert select_batch(scores, boxes, Selection())[0].labels.tolist() == [0, 1]
        found = select_batch(scores, boxes, Selection(), nms=False)[0]
        assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.8, 0.7])
        assert len(select_batch(scores, boxes, Selection(keep=3), nms=False)[0]) == 3


def test_clip_cuts_at_the_unpadded_border_and_leaves_oriented_boxes() -> None:
    score, label = torch.tensor([0.5]), torch.tensor([0])
    flat = Detections(torch.tensor([[-3.0, 2.0, 70.0, 90.0]]), score, label)
    turned = Detections(torch.tensor([[60.0, 60.0, 30.0, 10.0, 0.5]]), score, label)
    clip: Callable[[Detections], Detections] = lambda d: clip_to_images([d], [(50, 64)])[0]  # noqa: E731
    assert clip(flat).boxes.tolist() == [[0.0, 2.0, 64.0, 50.0]]
    assert clip(turned).boxes.tolist() == turned.boxes.tolist()


def slow_oriented(scores: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, iou: float, keep: int) -> list[int]:
    """Best first, pair by pair, by shapely."""
    corners = obb_to_corners(boxes.double())
    shapes = [Polygon(c.view(4, 2).tolist()) for c in corners]
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        rivals = [j for j in kept if labels[j] == labels[i]]
        if all(shapes[i].intersection(shapes[j]).area <= iou * shapes[i].union(shapes[j]).area for j in rivals):
            kept.append(i)
    return kept[:keep]


def crowd(seed: int, n: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes in bunches, as detectors see objects, with their scores and labels."""
    gen = torch.Generator().manual_seed(seed)
    objects = torch.rand(6, 5, generator=gen) * torch.tensor([80.0, 80.0, 40.0, 20.0, 3.0]) + 4
    boxes = objects[torch.randint(6, (n,), generator=gen)]
    boxes = boxes + torch.randn(n, 5, generator=gen) * torch.tensor([2.0, 2.0, 1.0, 1.0, 0.1])
    return le90(boxes), torch.rand(n, generator=gen), torch.randint(classes, (n,), generator=gen)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    iou=st.sampled_from([0.1, 0.5, 0.7]),
    keep=st.sampled_from([3, 500]),
    block=st.sampled_from([1, 7, 256]),
)
def test_oriented_nms_is_greedy_suppression_by_exact_overlap(
    seed: int, n: int, iou: float, keep: int, block: int
) -> None:
    boxes, scores, labels = crowd(seed, n, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms, "_BLOCK", block)
        assert oriented_nms(boxes, scores, labels, iou, keep).tolist() == slow_oriented(
            scores, boxes, labels, iou, keep
        )


def test_oriented_boxes_are_selected_like_upright_ones() -> None:
    crossed = torch.tensor([[50.0, 50.0, 40.0, 6.0, 0.7], [50.0, 50.0, 40.0, 6.0, -0.8], [50.5, 50.0, 40.0, 6.0, 0.7]])
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.7], [0.6, 0.01]])
    found = select(scores, crossed, Selection())
    # The upright boxes of the first two are the same; they cross, so both stay. The third repeats the first.
    assert list(zip(found.scores.tolist(), found.labels.tolist(), strict=True)) == [
        (pytest.approx(0.9), 0),
        (pytest.approx(0.8), 0),
        (pytest.approx(0.7), 1),
    ]
    assert found.boxes.equal(crossed[[0, 1, 1]])


def test_a_thousand_oriented_boxes_are_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the million pairs are far apart, of other classes or already decided."""
    boxes, scores, labels = crowd(0, 1000, 3)
    boxes[:, :2] += torch.randint(0, 20, (1000, 2), generator=torch.Generator().manual_seed(1)) * 100.0
    clipped = []

    def counting(*args: torch.Tensor) -> torch.Tensor:
        clipped.append(len(args[2]))
        return intersection_of_pairs(*args)

    monkeypatch.setattr(nms, "intersection_of_pairs", counting)
    kept = oriented_nms(boxes, scores, labels, 0.5, 1000)
    assert len(kept) > 500
    assert sum(clipped) < 10_000


def test_oriented_nms_of_nothing_is_nothing() -> None:
    nothing = select(torch.zeros(3, 2), torch.rand(3, 5), Selection())
    assert nothing.boxes.shape == (0, 5)
    assert nothing.labels.dtype == torch.int64
