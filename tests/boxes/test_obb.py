"""Oriented boxes against shapely, which knows nothing of our conventions."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import MultiPoint, Point, Polygon, oriented_envelope
from torch import Tensor

from skystill.boxes import obb

number = st.floats(-500, 500, allow_nan=False, width=32)
side = st.floats(0.5, 300, allow_nan=False, width=32)
angle = st.floats(-10, 10, allow_nan=False, width=32)
box = st.tuples(number, number, side, side, angle)
some = settings(max_examples=60, deadline=None)


def polygon(corners: Tensor) -> Polygon:
    return Polygon(corners.double().view(4, 2).tolist())


def iou_by_shapely(a: Tensor, b: Tensor) -> float:
    p, q = polygon(obb.obb_to_corners(a)), polygon(obb.obb_to_corners(b))
    # A grid keeps shapely from taking edges that all but coincide for edges that cross.
    return float(p.intersection(q, grid_size=1e-7).area / p.union(q, grid_size=1e-7).area)


@some
@given(st.lists(box, min_size=1, max_size=8))
def test_le90_is_the_same_rectangle_in_range(rows: list[tuple[float, ...]]) -> None:
    for dtype in (torch.float32, torch.float64):
        before = torch.tensor(rows, dtype=dtype)
        after = obb.le90(before)
        assert (after[:, 2] >= after[:, 3]).all()
        assert (after[:, 4] >= -math.pi / 2).all()
        assert (after[:, 4] < math.pi / 2).all()
        for one, other in zip(obb.obb_to_corners(before), obb.obb_to_corners(after), strict=True):
            apart = torch.cdist(one.double().view(4, 2), other.double().view(4, 2)).amin(1)
            assert apart.max() <= 1e-2


@pytest.mark.parametrize("theta", [math.pi / 2, -math.pi / 2, 3 * math.pi / 2, -1e-9 - math.pi / 2])
def test_le90_wraps_at_the_seam(theta: float) -> None:
    for dtype in (torch.float32, torch.float64):
        wrapped = obb.le90(torch.tensor([[0, 0, 4, 2, theta]], dtype=dtype))[0, 4]
        assert -math.pi / 2 <= wrapped < math.pi / 2
        assert abs(math.sin(float(wrapped)) ** 2 - 1) < 1e-6


@some
@given(st.lists(box, min_size=1, max_size=8))
def test_corners_there_and_back(rows: list[tuple[float, ...]]) -> None:
    boxes = obb.le90(torch.tensor(rows, dtype=torch.float64))
    back = obb.corners_to_obb(obb.obb_to_corners(boxes))
    torch.testing.assert_close(back[:, :4], boxes[:, :4], rtol=1e-9, atol=1e-8)
    oblong = boxes[:, 2] > 1.001 * boxes[:, 3]  # a square has two right answers
    off = (back[:, 4] - boxes[:, 4])[oblong]
    assert (torch.sin(off).abs() < 1e-5).all()


@some
@given(st.lists(st.tuples(number, number), min_size=4, max_size=4))
def test_any_quadrilateral_gets_the_least_rectangle(points: list[tuple[float, float]]) -> None:
    found = obb.corners_to_obb(torch.tensor(points, dtype=torch.float64).flatten())
    envelope = oriented_envelope(MultiPoint(points))
    assert float(found[2] * found[3]) <= envelope.area * (1 + 1e-6) + 1e-3
    cx, cy, w, h, theta = found.tolist()
    for x, y in points:
        along = (x - cx) * math.cos(theta) + (y - cy) * math.sin(theta)
        across = (y - cy) * math.cos(theta) - (x - cx) * math.sin(theta)
        assert abs(along) <= w / 2 + 1e-3
        assert abs(across) <= h / 2 + 1e-3


def test_the_angle_turns_clockwise_on_the_screen() -> None:
    corners = obb.obb_to_corners(torch.tensor([0.0, 0.0, 10.0, 0.0, math.pi / 4], dtype=torch.float64))
    assert corners[2] > 0
    assert corners[3] > 0  # the side w points right and, y being down, down


def test_upright_boxes_are_exact() -> None:
    upright = torch.tensor([[1.0, 2.0, 11.0, 5.0], [3.0, 4.0, 5.0, 20.0]])
    oriented = obb.hbb_to_obb(upright)
    assert oriented.tolist() == [[6.0, 3.5, 10.0, 3.0, 0.0], [4.0, 12.0, 16.0, 2.0, pytest.approx(-math.pi / 2)]]
    torch.testing.assert_close(obb.obb_to_hbb(oriented), upright)
    assert obb.corners_to_hbb(obb.hbb_to_corners(upright)).equal(upright)


@some
@given(box)
def test_the_enclosing_box_touches_on_all_four_sides(row: tuple[float, ...]) -> None:
    oriented = torch.tensor(row, dtype=torch.float64)
    bounds = polygon(obb.obb_to_corners(oriented)).bounds
    assert obb.obb_to_hbb(oriented).tolist() == pytest.approx(bounds)


near = st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(1, 40), st.floats(1, 40), angle)


@some
@given(st.lists(near, min_size=1, max_size=4), st.lists(near, min_size=1, max_size=4))
def test_iou_is_that_of_shapely(rows: list[tuple[float, ...]], columns: list[tuple[float, ...]]) -> None:
    a, b = torch.tensor(rows, dtype=torch.float64), torch.tensor(columns, dtype=torch.float64)
    found = obb.rotated_iou(a, b)
    for i in range(len(a)):
        for j in range(len(b)):
            assert float(found[i, j]) == pytest.approx(iou_by_shapely(a[i], b[j]), abs=1e-7)
    torch.testing.assert_close(found.T, obb.rotated_iou(b, a))


@some
@given(near, st.floats(0, 1), st.integers(0, 3))
def test_iou_of_boxes_that_share_sides(row: tuple[float, ...], slide: float, quarter: int) -> None:
    cx, cy, w, h, theta = row
    a = torch.tensor([row], dtype=torch.float64)
    turned = (w, h) if quarter % 2 == 0 else (h, w)
    same = torch.tensor([[cx, cy, *turned, theta + quarter * math.pi / 2]], dtype=torch.float64)
    assert float(obb.rotated_iou(a, same)) == pytest.approx(1, abs=1e-7)
    step = slide * w
    moved = a + torch.tensor([[step * math.cos(theta), step * math.sin(theta), 0, 0, 0]], dtype=torch.float64)
    assert float(obb.rotated_iou(a, moved)) == pytest.approx((w - step) / (w + step), abs=1e-6)


def test_iou_of_many_needs_no_loop_and_of_none_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(40, 5, generator=generator) * torch.tensor([60, 60, 30, 20, 3])
    whole = obb.rotated_iou(boxes, boxes)
    monkeypatch.setattr(obb, "_CHUNK", 7)
    assert obb.rotated_iou(boxes, boxes).equal(whole)
    assert whole.diagonal().min() > 1 - 1e-5
    assert obb.rotated_iou(boxes, torch.zeros(0, 5)).shape == (40, 0)
    assert obb.corners_to_obb(torch.zeros(0, 8)).shape == (0, 5)


def test_boxes_without_area_overlap_nothing() -> None:
    flat = torch.tensor([[5.0, 5.0, 0.0, 0.0, 0.0], [5.0, 5.0, 4.0, 0.0, 0.3]])
    assert obb.rotated_iou(flat, flat).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert obb.corners_to_obb(torch.full((8,), 3.0)).tolist()[:4] == [3.0, 3.0, 0.0, 0.0]


def test_far_from_the_origin_single_precision_still_serves() -> None:
    a = torch.tensor([[20000.0, 20000.0, 40.0, 10.0, 0.5]])
    b = a + torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.1]])
    assert float(obb.rotated_iou(a, b)) == pytest.approx(iou_by_shapely(a[0].double(), b[0].double()), abs=1e-4)


@some
@given(st.lists(st.tuples(near, near), min_size=1, max_size=6))
def test_pairs_are_the_diagonal_of_all(rows: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    a, b = (torch.tensor([pair[i] for pair in rows], dtype=torch.float64) for i in (0, 1))
    torch.testing.assert_close(obb.paired_rotated_iou(a, b), obb.rotated_iou(a, b).diagonal())
    torch.testing.assert_close(obb.paired_rotated_iou(a[:, None], b), obb.rotated_iou(a, b))
    assert obb.paired_rotated_iou(a[:0], b[:0]).shape == (0,)


@some
@given(near, near)
def test_diou_takes_off_the_distance_of_the_centres(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    a, b = torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64)
    x1, y1, x2, y2 = MultiPoint(torch.cat([obb.obb_to_corners(a), obb.obb_to_corners(b)]).view(-1, 2).tolist()).bounds
    apart = math.dist(one[:2], other[:2]) ** 2 / ((x2 - x1) ** 2 + (y2 - y1) ** 2)
    assert float(obb.pairwise_rotated_diou(a, b)) == pytest.approx(iou_by_shapely(a[0], b[0]) - apart, abs=1e-6)


@some
@given(near, st.floats(-40, 40), st.floats(-40, 40))
def test_inside_is_what_shapely_contains(row: tuple[float, ...], x: float, y: float) -> None:
    turned, point = torch.tensor(row, dtype=torch.float64), Point(x, y)
    shape = polygon(obb.obb_to_corners(turned))
    assume(shape.exterior.distance(point) > 1e-6)
    assert bool(obb.inside_rotated(torch.tensor([x, y], dtype=torch.float64), turned)) == shape.contains(point)


@pytest.mark.parametrize("size", [(1e-3, 1e-4), (5000.0, 0.2), (3.0, 3.0)])
def test_overlap_keeps_its_digits_at_odd_sizes(size: tuple[float, float]) -> None:
    a = torch.tensor([[7.0, 5.0, *size, 0.3]], dtype=torch.float64)
    half = a * torch.tensor([1, 1, 0.5, 1, 1], dtype=torch.float64)
    assert float(obb.rotated_iou(a, a)) == pytest.approx(1, abs=1e-9)
    assert float(obb.rotated_iou(a, half)) == pytest.approx(0.5, abs=1e-9)
    assert float(obb.rotated_iou(half, a)) == pytest.approx(0.5, abs=1e-9)
