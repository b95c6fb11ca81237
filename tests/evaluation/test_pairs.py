"""Overlaps against shapely."""

import math

import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skystill.evaluation.pairs import areas, corners, covered, intersections, overlaps

number = st.floats(-50, 50, allow_nan=False, width=32)
side = st.floats(0.5, 60, allow_nan=False, width=32)
hbb = st.lists(st.tuples(number, number, side, side), max_size=4).map(
    lambda rows: torch.tensor([(x, y, x + w, y + h) for x, y, w, h in rows]).reshape(-1, 4)
)
obb = st.lists(st.tuples(number, number, side, side, st.floats(-1.5, 1.5, width=32)), max_size=4).map(
    lambda rows: torch.tensor(rows).reshape(-1, 5)
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.tuples(hbb, hbb), st.tuples(obb, obb)))
def test_overlaps_equal_shapely(pair):
    first, second = pair
    a, b = ([shapely.Polygon(c) for c in corners(boxes)] for boxes in pair)
    common, iou, inside = intersections(first, second), overlaps(first, second), covered(first, second)
    assert common.shape == iou.shape == inside.shape == (len(a), len(b))
    assert areas(first) == pytest.approx([p.area for p in a])
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            shared = p.intersection(q).area
            assert common[i, j] == pytest.approx(shared, abs=1e-5)
            assert iou[i, j] == pytest.approx(shared / p.union(q).area, abs=1e-6)
            assert inside[i, j] == pytest.approx(shared / p.area, abs=1e-6)


def test_corners_of_a_turned_box():
    box = torch.tensor([[10.0, 5.0, 4.0, 2.0, math.pi / 2]])
    assert corners(box)[0] == pytest.approx(torch.tensor([[11, 3], [11, 7], [9, 7], [9, 3]]).numpy(), abs=1e-6)


def test_boxes_without_area_overlap_nothing():
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert overlaps(point, point).tolist() == [[0.0]]
    assert covered(point, torch.tensor([[0.0, 0.0, 9.0, 9.0]])).tolist() == [[0.0]]
