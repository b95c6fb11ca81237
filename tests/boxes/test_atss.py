"""ATSS and the VLR against plain loops over Python numbers."""

import math
import statistics
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from skystill.boxes.atss import atss, atss_batch, inside_any, valuable_region, valuable_regions
from skystill.boxes.obb import hbb_to_obb, inside_rotated, le90, pairwise_rotated_diou, rotated_iou

Box = list[float]
STRIDES = (8, 16, 32)
# A quantity this near its threshold may fall on either side in float32: such an example proves nothing.
NEAR = 1e-5
some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10**6)
counts = st.integers(1, 6)


def random_boxes(seed: int, count: int, side: int = 64) -> Tensor:
    """From 3 px to the whole image, some beyond its border; arbitrary fractions, so that no two distances tie."""
    gen = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=gen) * side
    half = torch.exp(torch.rand(count, 2, generator=gen) * math.log(side / 3)) * 1.5
    return torch.cat([centre - half, centre + half], 1)


def iou_of(a: Box, b: Box) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(w, 0.0) * max(h, 0.0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def middle(a: Box) -> tuple[float, float]:
    return (a[0] + a[2]) / 2, (a[1] + a[3]) / 2


def diou_of(a: Box, b: Box) -> float:
    (ax, ay), (bx, by) = middle(a), middle(b)
    w, h = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    return iou_of(a, b) - ((ax - bx) ** 2 + (ay - by) ** 2) / (w * w + h * h)


def slow_atss(places: list[Box], levels: list[int], boxes: list[Box], topk: int) -> tuple[list[int], list[float]]:
    """Algorithm 1 of the paper, then the nearest of the best overlapping places for an object without a positive."""
    owner, owned, thresholds, lost = [-1] * len(places), [0.0] * len(places), [], []
    for g, box in enumerate(boxes):
        gx, gy = middle(box)

        def away(p: int, gx: float = gx, gy: float = gy) -> float:
            return math.dist(middle(places[p]), (gx, gy))

        candidates: list[int] = []
        start = 0
        for count in levels:
            order = sorted(range(start, start + count), key=away)
            if len(order) > topk:
                assume(away(order[topk]) - away(order[topk - 1]) > NEAR)
            candidates += order[:topk]
            start += count
        ious = [iou_of(places[p], box) for p in candidates]
        t = statistics.fmean(ious) + (statistics.stdev(ious) if len(ious) > 1 else 0.0)
        thresholds.append(t)
        found = False
        for p, iou in zip(candidates, ious, strict=True):
            x, y = middle(places[p])
            if not (box[0] < x < box[2] and box[1] < y < box[3]):
                continue
            assume(abs(iou - t) > NEAR)
            if iou >= t:
                found = True
                if owner[p] >= 0:
                    assume(abs(iou - owned[p]) > NEAR)
                if iou > owned[p]:
                    owner[p], owned[p] = g, iou
        if not found:
            overlaps = [iou_of(p, box) for p in places]
            fitting = sorted((p for p, iou in enumerate(overlaps) if iou >= 0.999 * max(overlaps)), key=away)
            assume(len(fitting) == 1 or away(fitting[1]) - away(fitting[0]) > NEAR)
            lost.append((g, fitting[0]))
    taken = {p for p, o in enumerate(owner) if o >= 0}
    for g, p in lost:
        if p not in taken:
            owner[p] = g
    return owner, thresholds


@some
@given(seeds, counts, st.sampled_from([1, 3, 9, 100]))
def test_atss_is_the_papers_algorithm(cells: Callable[..., Tensor], seed: int, count: int, topk: int) -> None:
    # Anchors of 3 strides: enough small ones that many objects find positives on several levels.
    grids = [cells(64, s, 3.0) for s in STRIDES]
    places, levels, boxes = torch.cat(grids), [len(g) for g in grids], random_boxes(seed, count)
    owner, thresholds = slow_atss(places.tolist(), levels, boxes.tolist(), topk)
    got = atss(places, tuple(levels), boxes, topk)
    assert got.object.tolist() == owner
    assert got.threshold.tolist() == pytest.approx(thresholds, abs=1e-5)


@some
@given(seeds, counts)
def test_the_valuable_region_is_the_ring_between_two_dious(cells: Callable[..., Tensor], seed: int, count: int) -> None:
    grids = [cells(64, s) for s in STRIDES]
    places, boxes = torch.cat(grids), random_boxes(seed, count)
    assignment = atss(places, tuple(len(g) for g in grids), boxes)
    expected = []
    for p, place in enumerate(places.tolist()):
        best, owner = -math.inf, -1
        for g, box in enumerate(boxes.tolist()):
            d, t = diou_of(place, box), float(assignment.threshold[g])
            assume(abs(d - t) > NEAR)
            assume(abs(d - 0.25 * t) > NEAR)
            if 0.25 * t <= d < t:
                assume(abs(d - best) > NEAR)
                if d > best:
                    best, owner = d, g
        expected.append(-1 if assignment.object[p] >= 0 else owner)
    assert valuable_region(places, boxes, assignment).tolist() == expected


def test_an_object_smaller_than_a_cell_gets_the_nearest_fine_place(cells: Callable[..., Tensor]) -> None:
    # No centre lies inside it, so the paper's rule gives it nothing; the nearest centre of all is one of stride 16.
    places = torch.cat([cells(64, s) for s in STRIDES])
    owner = atss(places, (64, 16, 4), torch.tensor([[22.9, 22.5, 24.9, 23.9]])).object
    assert (owner >= 0).nonzero().flatten().tolist() == [2 * 8 + 2]  # the cell whose centre is (20, 20)


def test_a_lost_object_takes_no_place_from_another(cells: Callable[..., Tensor]) -> None:
    places = torch.cat([cells(64, s) for s in STRIDES])
    large, lost = [14.0, 14.0, 26.5, 26.5], [22.1, 22.2, 23.5, 23.4]
    alone = atss(places, (64, 16, 4), torch.tensor([large])).object
    both = atss(places, (64, 16, 4), torch.tensor([large, lost])).object
    assert alone[2 * 8 + 2] == 0
    assert both.tolist() == alone.tolist()


def test_a_contested_place_goes_to_the_larger_iou(cells: Callable[..., Tensor]) -> None:
    places = cells(64, 16, 1.0)  # 16 px anchors; the one at (40, 40) spans 32..48
    exact, loose = [32.0, 32.0, 48.0, 48.0], [31.0, 30.0, 50.0, 49.0]
    for boxes, winner in (([exact, loose], 0), ([loose, exact], 1)):
        assert atss(places, (16,), torch.tensor(boxes)).object[2 * 4 + 2] == winner


@some
@given(seeds, st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())
def test_images_of_a_batch_are_assigned_as_each_alone(
    cells: Callable[..., Tensor], seed: int, amounts: list[int], oriented: bool
) -> None:
    levels = (64, 16, 4)
    places = torch.cat([cells(64, stride) for stride in (8, 16, 32)])
    boxes = [random_boxes(seed + image, amount) for image, amount in enumerate(amounts)]
    for one in boxes:
        if len(one):
            one[0] = torch.tensor([22.9, 22.5, 24.9, 23.9])  # a lost one: no place's centre lies in it
    if oriented:
        boxes = [hbb_to_obb(one) for one in boxes]
    together = atss_batch(places, levels, boxes)
    rings = valuable_regions(places, boxes, together)
    for one, found, ring in zip(boxes, together, rings, strict=True):
        alone = atss(places, levels, one)
        assert found.object.equal(alone.object)
        torch.testing.assert_close(found.threshold, alone.threshold)
        assert ring.equal(valuable_region(places, one, alone))


def test_no_objects_no_places_taken(cells: Callable[..., Tensor]) -> None:
    places = cells(64, 16)
    nothing = torch.zeros(0, 4)
    assignment = atss(places, (16,), nothing)
    assert assignment.object.tolist() == [-1] * 16
    assert assignment.threshold.shape == (0,)
    assert valuable_region(places, nothing, assignment).tolist() == [-1] * 16
    assert inside_any(places[:, :2], nothing).tolist() == [False] * 16


def test_one_place_in_all_has_a_threshold_and_no_nan() -> None:
    place = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
    assignment = atss(place, (1,), torch.tensor([[10.0, 10.0, 50.0, 50.0]]))
    assert assignment.object.tolist() == [0]
    assert assignment.threshold.tolist() == pytest.approx([1600 / 4096])


def test_inside_means_strictly_inside_one_of_them() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 5.0]])
    points = torch.tensor([[5.0, 5.0], [10.0, 5.0], [25.0, 4.0], [25.0, 6.0], [15.0, 2.0]])
    assert inside_any(points, boxes).tolist() == [True, False, True, False, False]


def turned_boxes(seed: int, count: int, side: int = 64) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    flat = random_boxes(seed, count, side)
    size = flat[:, 2:] - flat[:, :2]
    theta = torch.rand(count, 1, generator=gen) * math.pi
    return le90(torch.cat([(flat[:, :2] + flat[:, 2:]) / 2, size, theta], 1))


@some
@given(seeds, counts)
def test_upright_objects_told_as_oriented_ones_get_the_same_places(
    cells: Callable[..., Tensor], seed: int, count: int
) -> None:
    grids = [cells(64, s, 3.0) for s in STRIDES]
    places, levels, boxes = torch.cat(grids), tuple(len(g) for g in grids), random_boxes(seed, count)
    upright, oriented = atss(places, levels, boxes), atss(places, levels, hbb_to_obb(boxes))
    torch.testing.assert_close(upright.threshold, oriented.threshold, atol=1e-5, rtol=1e-4)
    # Rounding decides a place that lies on an object's threshold, or is as much one object's as another's.
    iou = box_iou(places, boxes)
    best = torch.cat([iou, torch.full_like(iou[:, :1], -1.0)], 1).topk(2).values
    clear = ((iou - upright.threshold).abs() > NEAR).all(1) & ((best[:, 0] - best[:, 1] > NEAR) | (best[:, 0] == 0))
    assert clear.sum() > len(places) / 2
    assert oriented.object[clear].tolist() == upright.object[clear].tolist()


@some
@given(seeds, counts)
def test_oriented_positives_lie_inside_by_exact_overlap(cells: Callable[..., Tensor], seed: int, count: int) -> None:
    grids = [cells(64, s, 3.0) for s in STRIDES]
    places, levels, boxes = torch.cat(grids), tuple(len(g) for g in grids), turned_boxes(seed, count)
    found = atss(places, levels, boxes)
    iou = rotated_iou(hbb_to_obb(places), boxes)
    centre = (places[:, :2] + places[:, 2:]) / 2
    inside = inside_rotated(centre[:, None], boxes)
    regular = (iou >= found.threshold - NEAR) & inside
    for place in (found.object >= 0).nonzero().flatten().tolist():
        owner = int(found.object[place])
        if regular[place].any():
            assert regular[place, owner]
        else:  # an object without a regular positive got its best place
            assert iou[place, owner] >= iou[:, owner].max() * 0.999
    ring = valuable_region(places, boxes, found)
    diou = pairwise_rotated_diou(hbb_to_obb(places), boxes)
    for place, owner in enumerate(ring.tolist()):
        between = (diou[place] >= 0.25 * found.threshold) & (diou[place] < found.threshold)
        if found.object[place] >= 0 or not between.any():
            assert owner == -1
        else:
            assert between[owner]
            assert diou[place, owner] == diou[place][between].max()


def test_a_place_beside_a_long_diagonal_object_is_not_its_positive(cells: Callable[..., Tensor]) -> None:
    places = torch.cat([cells(128, s) for s in STRIDES])
    ship = torch.tensor([[64.0, 64.0, 120.0, 14.0, math.pi / 4]])
    centre = (places[:, :2] + places[:, 2:]) / 2
    positive = atss(places, (256, 64, 16), ship).object >= 0
    assert positive.any()
    assert inside_rotated(centre[positive], ship).all()
    assert not inside_any(torch.tensor([[64.0, 90.0]]), ship).any()  # inside the upright box around it
    assert inside_any(torch.tensor([[64.0, 68.0]]), ship).all()


def test_no_oriented_objects_no_places_taken(cells: Callable[..., Tensor]) -> None:
    places, nothing = cells(64, 16), torch.zeros(0, 5)
    assignment = atss(places, (16,), nothing)
    assert assignment.object.tolist() == [-1] * 16
    assert valuable_region(places, nothing, assignment).tolist() == [-1] * 16
    assert inside_any(places[:, :2], nothing).tolist() == [False] * 16


def test_a_tiny_oriented_object_gets_a_place(cells: Callable[..., Tensor]) -> None:
    places = torch.cat([cells(64, s) for s in STRIDES])
    owner = atss(places, (64, 16, 4), torch.tensor([[23.9, 23.2, 2.0, 1.4, 0.5]])).object
    assert (owner >= 0).nonzero().flatten().tolist() == [2 * 8 + 2]
