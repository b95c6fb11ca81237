"""Boxes are held against pixels: a painted rectangle is moved, and its box must still be where the paint is."""

import math
from dataclasses import replace

import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import composite

from skystill.boxes.obb import corners_to_obb, obb_to_corners
from skystill.data import transforms
from skystill.data.config import DataConfig
from skystill.data.transforms import (
    TrainTransform,
    colour_jitter,
    crop,
    eval_transform,
    mirror,
    pad_to,
    random_window,
    train_transform,
    turn,
    upend,
    visible_share,
    zoom,
)
from skystill.structures import Detections, Targets

QUARTER = float(torch.tensor(math.pi / 2))  # the angle's limit as float32 has it

MOVES = {
    "mirror": mirror,
    "upend": upend,
    "turn 1": lambda i, t: turn(i, t, 1),
    "turn 2": lambda i, t: turn(i, t, 2),
    "turn 3": lambda i, t: turn(i, t, 3),
    "turn 4": lambda i, t: turn(i, t, 4),
}


def truth(*boxes, columns=4, ignore=None):
    data = torch.tensor(boxes, dtype=torch.float32).reshape(-1, columns)
    flags = torch.zeros(len(data), dtype=torch.bool) if ignore is None else torch.tensor(ignore)
    return Targets(data, torch.arange(len(data)), flags, "test.png")


def painted(height, width, box, bands=3):
    x1, y1, x2, y2 = box
    image = torch.zeros(bands, height, width, dtype=torch.uint8)
    image[:, y1:y2, x1:x2] = 255
    return image


def paint_of(image, level=128):
    """The box around all pixels above a level, as the pixels' outer edges."""
    rows, columns = (image[0] >= level).nonzero(as_tuple=True)
    return [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]


@composite
def scenes(draw):
    height, width = draw(st.integers(4, 40)), draw(st.integers(4, 40))
    x1, y1 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    return height, width, (x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height)))


@composite
def oriented(draw):
    w = draw(st.floats(4, 30))
    return [
        draw(st.floats(5, 45)),
        draw(st.floats(5, 35)),
        w,
        w * draw(st.floats(0.2, 0.9)),
        draw(st.floats(-math.pi / 2, math.pi / 2 - 1e-3)),
    ]


@pytest.mark.parametrize("name", MOVES)
@given(scene=scenes())
def test_flips_and_turns_are_exact(name, scene):
    height, width, box = scene
    image, targets = MOVES[name](painted(height, width, box), truth(box))
    # v2 turns boxes by sines and cosines, which leaves some 1e-16 where 0 should be.
    assert targets.boxes[0].tolist() == pytest.approx(paint_of(image), abs=1e-12, rel=0)
    assert targets.name == "test.png"
    assert image.shape[-2:] == ((width, height) if name in ("turn 1", "turn 3") else (height, width))


@given(scene=scenes(), data=st.data())
def test_crops_are_exact(scene, data):
    height, width, box = scene
    top, left = data.draw(st.integers(-5, height - 1)), data.draw(st.integers(-5, width - 1))
    tall, wide = data.draw(st.integers(6, 50)), data.draw(st.integers(6, 50))
    image, targets = crop(painted(height, width, box), truth(box), top, left, tall, wide)
    assert image.shape == (3, tall, wide)
    area = (box[2] - box[0]) * (box[3] - box[1])
    share = int((image[0] > 0).sum()) / area
    if share < 0.01:
        assert len(targets) == 0
    else:
        assert targets.boxes[0].tolist() == paint_of(image)
        assert bool(targets.ignore[0]) == (share < 0.4 - 1e-6)


@given(scene=scenes(), scale=st.floats(0.5, 3))
def test_zoom_is_within_a_pixel(scene, scale):
    height, width, box = scene
    if min(box[2] - box[0], box[3] - box[1]) * scale < 3:
        return  # paint thinner than that fades into the black
    image, targets = zoom(painted(height, width, box), truth(box), scale)
    assert image.shape[-2:] == (round(height * scale), round(width * scale))
    assert targets.boxes[0].tolist() == pytest.approx(paint_of(image), abs=1)


POINT_MAPS = {  # where a point (x, y) of an image height x width goes, written down independently
    "mirror": lambda x, y, h, w: (w - x, y),
    "upend": lambda x, y, h, w: (x, h - y),
    "turn 1": lambda x, y, h, w: (y, w - x),
    "turn 2": lambda x, y, h, w: (w - x, h - y),
    "turn 3": lambda x, y, h, w: (h - y, x),
    "turn 4": lambda x, y, h, w: (x, y),
}


@pytest.mark.parametrize("name", MOVES)
@given(box=oriented())
def test_oriented_boxes_move_like_their_corners(name, box):
    height, width = 40, 50
    _, moved = MOVES[name](torch.zeros(1, height, width, dtype=torch.uint8), truth(box, columns=5))
    points = obb_to_corners(torch.tensor([box], dtype=torch.float64)).reshape(4, 2).tolist()
    expected = shapely.Polygon([POINT_MAPS[name](x, y, height, width) for x, y in points])
    assert_same_shape(moved.boxes[0], expected)


@given(box=oriented(), top=st.integers(-3, 10), left=st.integers(-3, 10))
def test_oriented_boxes_stay_whole_in_a_crop(box, top, left):
    _, moved = crop(torch.zeros(1, 40, 50, dtype=torch.uint8), truth(box, columns=5), top, left, 20, 30)
    points = obb_to_corners(torch.tensor([box], dtype=torch.float64)).reshape(4, 2) - torch.tensor([left, top])
    shape = shapely.Polygon(points.tolist())
    share = shape.intersection(shapely.box(0, 0, 30, 20)).area / shape.area
    if abs(share - 0.01) < 1e-3 or abs(share - 0.4) < 1e-3:
        return  # float32 may fall on either side
    assert len(moved) == (share > 0.01)
    if len(moved):
        assert_same_shape(moved.boxes[0], shape)
        assert bool(moved.ignore[0]) == (share < 0.4)


@given(box=oriented(), scale=st.sampled_from([0.5, 2.0, 3.0]))
def test_oriented_boxes_zoom_like_their_corners(box, scale):
    _, moved = zoom(torch.zeros(1, 40, 50, dtype=torch.uint8), truth(box, columns=5), scale)
    points = obb_to_corners(torch.tensor([box], dtype=torch.float64)).reshape(4, 2) * scale
    assert_same_shape(moved.boxes[0], shapely.Polygon(points.tolist()))


def assert_same_shape(box, polygon):
    _, _, w, h, theta = box.tolist()
    assert w >= h
    assert -QUARTER <= theta < QUARTER
    found = shapely.Polygon(obb_to_corners(box[None].double()).reshape(4, 2).tolist())
    assert found.symmetric_difference(polygon).area < 1e-3 * polygon.area


def test_the_oriented_box_lies_on_its_paint():
    # Guards the sense of the angle: v2 counts it the other way round.
    box = [30.0, 20.0, 24.0, 8.0, 0.5]
    rows, columns = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(60) + 0.5, indexing="ij")
    along = (columns - box[0]) * math.cos(box[4]) + (rows - box[1]) * math.sin(box[4])
    across = -(columns - box[0]) * math.sin(box[4]) + (rows - box[1]) * math.cos(box[4])
    image = (((along.abs() <= 12) & (across.abs() <= 4)) * 255).to(torch.uint8)[None]
    for move in (*MOVES.values(), lambda i, t: crop(i, t, 3, 5, 34, 50)):
        moved, targets = move(image, truth(box, columns=5))
        y, x = (moved[0] > 0).nonzero(as_tuple=True)
        cloud = torch.stack([x + 0.5, y + 0.5]).double()
        spread = torch.linalg.eigh(torch.cov(cloud)).eigenvectors[:, -1]
        cx, cy, _, _, theta = targets.boxes[0].tolist()
        assert cloud.mean(1).tolist() == pytest.approx([cx, cy], abs=0.2)
        assert abs(spread @ torch.tensor([math.cos(theta), math.sin(theta)]).double()) > 0.999


@pytest.mark.parametrize("columns", [4, 5])
def test_images_without_objects_pass_through_everything(columns):
    everything = TrainTransform(16, 30, (0.5, 2.0), True, True, 0.3, 1.0)
    image, targets = everything(torch.zeros(3, 20, 33, dtype=torch.uint8), Targets.empty("a.png", columns))
    assert image.shape == (3, 16, 16)
    assert targets.boxes.shape == (0, columns)
    assert targets.boxes.dtype == torch.float32


def test_ignored_objects_stay_ignored():
    _, targets = crop(torch.zeros(1, 20, 20), truth((0, 0, 5, 5), (6, 6, 9, 9), ignore=[True, False]), 0, 0, 15, 15)
    assert targets.ignore.tolist() == [True, False]


def test_labels_follow_their_boxes():
    boxes = [(0, 0, 4, 4), (10, 10, 14, 14), (2, 12, 6, 16)]
    _, targets = crop(torch.zeros(1, 20, 20), truth(*boxes), 9, 0, 11, 20)
    assert targets.labels.tolist() == [1, 2]
    assert targets.boxes.tolist() == [[10, 1, 14, 5], [2, 3, 6, 7]]


def test_share_of_a_box_without_area_is_none():
    assert visible_share(torch.tensor([[3.0, 3.0, 3.0, 9.0]]), 20, 20).tolist() == [0]


@given(scene=scenes(), side=st.integers(1, 50), seed=st.integers(0, 9))
def test_window_holds_an_object_when_asked(scene, side, seed):
    height, width, box = scene
    torch.manual_seed(seed)
    image = torch.zeros(1, height, width)
    top, left, tall, wide = random_window(image, truth(box), side, p_object=1.0)
    assert (tall, wide) == (min(side, height), min(side, width))
    assert 0 <= top <= height - tall
    assert 0 <= left <= width - wide
    for start, size, low, high in ((left, wide, box[0], box[2]), (top, tall, box[1], box[3])):
        if high - low <= size:
            assert start <= low
            assert high <= start + size
        else:
            assert start <= (low + high) / 2 <= start + size


def test_window_passes_over_ignored_objects_and_hanging_ones_do_not_break_it():
    image = torch.zeros(1, 100, 100)
    boxes = truth((90, 90, 99, 99), (-30, -30, 3, 3), ignore=[True, False])
    windows = [random_window(image, boxes, 10, p_object=1.0)[:2] for _ in range(20)]
    assert set(windows) == {(0, 0)}


def test_window_is_anywhere_without_preference():
    image = torch.zeros(1, 100, 100)
    torch.manual_seed(0)
    tops = [random_window(image, truth((0, 0, 5, 5)), 10, p_object=0.0)[0] for _ in range(200)]
    assert min(tops) < 10
    assert max(tops) > 80


@pytest.mark.parametrize("bands", [1, 3, 7])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_colour_is_an_affine_map_for_any_bands(monkeypatch, bands, dtype):
    draws = iter([1.2, 0.8])  # brightness, contrast
    monkeypatch.setattr(transforms, "_uniform", lambda low, high: next(draws))
    top = 255 if dtype == torch.uint8 else 1
    image = (torch.rand(bands, 9, 11) * top).to(dtype)
    bright = image.double() * 1.2
    expected = ((bright - bright.mean()) * 0.8 + bright.mean()).clamp(0, top)
    result = colour_jitter(image, 0.2)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=0.51 if top == 255 else 1e-6)


def test_colour_agrees_with_torchvision(monkeypatch):
    from torchvision.transforms.v2 import functional as F

    image = torch.randint(0, 256, (1, 20, 20), dtype=torch.uint8)
    draws = iter([1.0, 0.6])
    monkeypatch.setattr(transforms, "_uniform", lambda low, high: next(draws))
    ours, theirs = colour_jitter(image, 0.5), F.adjust_contrast(image, 0.6)
    assert (ours.int() - theirs.int()).abs().max() <= 1  # theirs cuts the fraction off, ours rounds


def test_transforms_leave_the_given_image_alone():
    # The data set may keep it in memory for the next view.
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    before = image.clone()
    for seed in range(8):
        torch.manual_seed(seed)
        TrainTransform(0, 0, (1.0, 1.0), True, True, 0.5, 0.0)(image, truth((1, 1, 5, 5)))
    assert torch.equal(image, before)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_training_views_keep_boxes_on_their_paint(seed):
    torch.manual_seed(seed)
    box = (20, 12, 44, 30)
    view = TrainTransform(48, 0, (0.8, 1.25), True, True, 0.0, 1.0)
    image, targets = view(painted(50, 70, box), truth(box))
    assert image.shape == (3, 48, 48)
    assert len(targets) == 1
    assert targets.boxes[0].tolist() == pytest.approx(paint_of(image), abs=1)


def test_small_images_are_padded_at_the_right_and_bottom():
    image = torch.full((2, 10, 20), 9, dtype=torch.uint8)
    view, _ = TrainTransform(crop=32)(image, truth((1, 1, 5, 5)))
    assert view.shape == (2, 32, 32)
    assert torch.equal(view[:, :10, :20], image)
    assert view.sum() == image.sum()


def test_training_size_comes_before_the_crop():
    config = DataConfig(size=32, crop=16, scale_jitter=(1.0, 1.0), flip=False, turn=False, colour=0)
    image, targets = train_transform(config)(painted(64, 64, (0, 0, 64, 64)), truth((0, 0, 64, 64)))
    assert image.shape == (3, 16, 16)
    assert targets.ignore.tolist() == [True]  # a quarter of it shows: half the side at half the scale


def test_evaluation_shows_the_whole_image():
    image, targets = eval_transform(DataConfig(size=50))(painted(60, 100, (10, 20, 30, 60)), truth((10, 20, 30, 60)))
    assert image.shape == (3, 30, 50)
    assert targets.boxes.tolist() == [[5, 10, 15, 30]]
    same = torch.zeros(1, 5, 5)
    assert eval_transform(DataConfig())(same, truth())[0] is same


def test_padding():
    padded = pad_to(torch.ones(1, 2, 3), 4, 5)
    assert padded.shape == (1, 4, 5)
    assert padded.sum() == 6


def test_a_square_keeps_its_shape_in_every_turn():
    # w == h and the ends of the angle's range: the forms of one shape that rounding could confuse.
    for theta in (-math.pi / 2, -math.pi / 4, 0.0, math.pi / 4):
        for quarters in range(4):
            _, moved = turn(torch.zeros(1, 50, 50), truth([20, 30, 10, 10, theta], columns=5), quarters)
            again = corners_to_obb(obb_to_corners(moved.boxes.double()))
            assert again[0, 2:4].tolist() == pytest.approx([10, 10], abs=1e-4)
            assert -QUARTER <= float(moved.boxes[0, 4]) < QUARTER


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), columns=st.sampled_from([4, 5]), size=st.sampled_from([0, 40]))
def test_what_is_told_moves_exactly_as_truth(seed, columns, size):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(12, 4, generator=generator) * 30
    if columns == 4:
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] + 1], 1)
    else:
        sides = boxes[:, 2:].sort(1, descending=True).values + 2
        boxes = torch.cat([boxes[:, :2] + 10, sides, torch.rand(12, 1, generator=generator) * 3 - 1.5], 1)
    scores = torch.linspace(0.9, 0.1, 12)
    labels = torch.arange(12)  # tell the rows apart
    view = TrainTransform(24, size, (0.7, 1.4), True, True, 0.2, 0.5)

    def seen(told):
        torch.manual_seed(seed)
        truth = Targets(boxes, labels, name="a.png", told=told)
        return view(torch.randint(0, 256, (3, 50, 60), dtype=torch.uint8, generator=generator.manual_seed(1)), truth)

    image, targets = seen(Detections(boxes, scores, labels))
    alone_image, alone = seen(None)
    assert torch.equal(image, alone_image)  # what is told moves no view
    assert torch.equal(targets.boxes, alone.boxes)
    told = targets.told
    assert told.scores.tolist() == sorted(told.scores.tolist(), reverse=True)
    assert sorted(told.labels.tolist()) == targets.labels.tolist()
    for row, label in enumerate(targets.labels.tolist()):
        (place,) = (told.labels == label).nonzero()[:, 0].tolist()
        assert torch.equal(told.boxes[place], targets.boxes[row])
        if targets.ignore[row]:
            assert told.scores[place] < scores[label]  # hardly to be seen, so less sure
        else:
            assert told.scores[place] == scores[label]


def test_a_detection_loses_score_with_what_a_crop_shows_of_it():
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    for left, expected in ((0, 0.8), (6, 0.8), (8, 0.4), (9, 0.2)):
        told = Detections(boxes, torch.tensor([0.8]), torch.tensor([0]))
        _, targets = crop(torch.zeros(1, 20, 20), replace(truth(), told=told), 0, left, 20, 11)
        assert targets.told.scores.tolist() == pytest.approx([expected])
