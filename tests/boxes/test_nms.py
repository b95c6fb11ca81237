"""Selection against greedy suppression written out by hand."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skystill.boxes.nms import Selection, clip_to_images, select, select_batch
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


def test_clip_cuts_at_the_unpadded_border_and_leaves_oriented_boxes() -> None:
    score, label = torch.tensor([0.5]), torch.tensor([0])
    flat = Detections(torch.tensor([[-3.0, 2.0, 70.0, 90.0]]), score, label)
    turned = Detections(torch.tensor([[60.0, 60.0, 30.0, 10.0, 0.5]]), score, label)
    clip: Callable[[Detections], Detections] = lambda d: clip_to_images([d], [(50, 64)])[0]  # noqa: E731
    assert clip(flat).boxes.tolist() == [[0.0, 2.0, 64.0, 50.0]]
    assert clip(turned).boxes.tolist() == turned.boxes.tolist()
