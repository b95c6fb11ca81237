"""Matches that are kept: what each detection took, and AP from ranks against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skystill.errors import DataError
from skystill.evaluation.matches import EXCUSED, FREE, ap_of_ranks, match_detections
from skystill.structures import Detections, Targets

CLASSES = ["ship", "plane"]


def at(*places, side=10.0):
    return torch.tensor([[x, 0.0, x + side, side] for x in places]).reshape(-1, 4)


def labels(*values):
    return torch.tensor(values, dtype=torch.int64)


def test_who_takes_what():
    targets = [
        Targets(at(0, 50, 100), labels(0, 0, 1)),
        Targets(at(0, 50), labels(0, 0), torch.tensor([True, False])),
    ]
    detections = [
        # Given out of order: the better one, off by an IoU of 9/11, takes the object up to IoU .8, then the exact one.
        Detections(at(0, 1, 100), torch.tensor([0.5, 0.9, 0.7]), labels(0, 0, 0)),
        Detections(at(0, 0, 50), torch.tensor([0.9, 0.8, 0.7]), labels(0, 1, 0)),
    ]
    matches = match_detections(detections, targets, CLASSES)
    assert matches.image.tolist() == [0, 0, 0, 1, 1, 1]
    assert matches.score == pytest.approx([0.9, 0.7, 0.5, 0.9, 0.8, 0.7])
    assert matches.label.tolist() == [0, 0, 0, 0, 1, 0]
    assert matches.objects.tolist() == [[2, 1], [1, 0]]
    for iou, taken in zip(np.linspace(0.5, 0.95, 10), matches.taken.tolist(), strict=True):
        first = [0, FREE, FREE] if iou <= 9 / 11 else [FREE, FREE, 0]
        assert taken == [*first, EXCUSED, FREE, 0], iou


def test_max_dets_count_per_image_and_class():
    found = Detections(at(0, 20, 40, 60), torch.tensor([0.6, 0.7, 0.8, 0.9]), labels(0, 0, 1, 0))
    matches = match_detections([found, found], [Targets.empty()] * 2, CLASSES, max_dets=2)
    assert matches.score == pytest.approx([0.9, 0.8, 0.7] * 2)


def test_no_images_and_no_detections_keep_their_shapes():
    nothing = match_detections([], [], CLASSES)
    assert (nothing.taken.shape, nothing.objects.shape) == ((10, 0), (0, 2))
    bare = match_detections([Detections(at(), torch.zeros(0), labels())], [Targets(at(0), labels(1))], CLASSES)
    assert (bare.taken.shape, bare.objects.tolist()) == ((10, 0), [[0, 1]])


def test_bad_input_gives_one_clear_line():
    with pytest.raises(DataError, match="label 7 is outside the 2 classes"):
        match_detections([Detections(at(0), torch.ones(1), labels(7))], [Targets.empty()], CLASSES)


def slow_ap(right, objects):
    """Mean over 101 recalls of the best precision at that recall or beyond."""
    points = [(sum(right[:n]) / objects, sum(right[:n]) / n) for n in range(1, len(right) + 1)]
    return sum(max((p for r, p in points if r >= i / 100 - 1e-12), default=0.0) for i in range(101)) / 101


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 9)), min_size=1, max_size=4)
)
def test_ap_of_ranks_equals_plain_loops(rankings):
    """Several rankings at once; they have equally many right detections, the last of them perhaps far down."""
    places = 4
    found, seen, objects, slow = [], [], [], []
    for right, more in rankings:
        right = right + [True] * places  # so that there are four at least
        places_of = np.flatnonzero(right)[:places]
        found.append(np.arange(1, places + 1))
        seen.append(places_of + 1)
        objects.append(places + more)
        slow.append(slow_ap([n in places_of for n in range(len(right))], places + more))
    assert ap_of_ranks(np.array(found), np.array(seen), np.array(objects)) == pytest.approx(slow)


def test_ap_without_objects_is_nan_and_without_finds_is_none():
    none = np.zeros((2, 0), dtype=np.int64)
    result = ap_of_ranks(none, none, np.array([0, 5]))
    assert np.isnan(result[0])
    assert result[1] == 0
