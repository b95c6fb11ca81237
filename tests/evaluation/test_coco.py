"""COCO scores against a slow re-statement in plain loops, and the cases at the edge."""

import json
import math

import pytest
import shapely
import torch

from skystill.errors import DataError
from skystill.evaluation.coco import CocoEvaluator, CocoScores, evaluate_coco
from skystill.structures import Detections, Targets

CLASSES = ["ship", "plane", "car"]
IOUS = [0.5 + 0.05 * i for i in range(10)]
SIZES = {"all": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


def polygon(box):
    if len(box) == 4:
        return shapely.box(*box)
    cx, cy, w, h, theta = box
    points = []
    for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x, y = i * w / 2, j * h / 2
        points.append((cx + x * math.cos(theta) - y * math.sin(theta), cy + x * math.sin(theta) + y * math.cos(theta)))
    return shapely.Polygon(points)


def slow_match(found, truth, iou, size):
    """One image and class. found: (score, box), truth: (box, ignore). Returns (score, right) pairs and the objects."""
    low, high = SIZES[size]
    shapes = [polygon(box) for box, _ in truth]
    skip = [ignore or not low <= shape.area <= high for (_, ignore), shape in zip(truth, shapes, strict=True)]
    taken = set()
    result = []
    for score, box in sorted(found, key=lambda pair: -pair[0]):
        shape = polygon(box)
        best, best_iou = None, iou - 1e-10
        for ignored_pass in (False, True):  # an object that counts is preferred to one that does not
            if best is not None:
                break
            for g, (other, (_, crowd)) in enumerate(zip(shapes, truth, strict=True)):
                if skip[g] != ignored_pass or (g in taken and not crowd):
                    continue
                common = shape.intersection(other).area
                overlap = common / (shape.area if crowd else shape.area + other.area - common)
                if overlap >= best_iou:
                    best, best_iou = g, overlap
        if best is not None:
            taken.add(best)
            if not skip[best]:
                result.append((score, True))
        elif low <= shape.area <= high:
            result.append((score, False))
    return result, skip.count(False)


def slow_ap(detections, targets, label, iou, size="all"):
    """AP of a class at one IoU: mean over 101 recalls of the best precision at that recall or beyond."""
    pairs, objects = [], 0
    for seen, truth in zip(detections, targets, strict=True):
        found = [
            (s, b) for s, b, k in zip(seen.scores.tolist(), seen.boxes.tolist(), seen.labels, strict=True) if k == label
        ]
        known = [
            (b, i)
            for b, i, k in zip(truth.boxes.tolist(), truth.ignore.tolist(), truth.labels, strict=True)
            if k == label
        ]
        more, count = slow_match(found, known, iou, size)
        pairs, objects = pairs + more, objects + count
    if not objects:
        return None
    right, points = 0, []
    for n, (_, good) in enumerate(sorted(pairs, key=lambda pair: -pair[0]), start=1):
        right += good
        points.append((right / objects, right / n))
    total = 0.0
    for step in range(101):
        total += max([p for r, p in points if r >= step / 100 - 1e-12], default=0.0)
    return 100 * total / 101


def mean(values):
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else math.nan


def scene(seed, columns, images=4):
    """Random truth and detections that miss, invent, shift and confuse; all scores differ."""
    rng = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=rng)  # noqa: E731
    detections, targets = [], []
    for _ in range(images):
        m = int(rand(1) * 8)
        boxes = torch.cat([rand(m, 2) * 200 + 60, 10 + rand(m, 2) * 110], 1)
        boxes = torch.cat([boxes, rand(m, 1) * 3 - 1.5], 1)
        labels = (rand(m) * 3).long()
        shifted = boxes + torch.randn(m, 5, generator=rng) * torch.tensor([4.0, 4.0, 4.0, 4.0, 0.1])
        shifted = torch.cat([shifted, shifted[: m // 2] + 3.0], 0)
        shifted[:, 2:4].clamp_(min=5)
        guess = torch.cat([labels, labels[: m // 2]])
        guess = torch.where(rand(len(guess)) < 0.2, (guess + 1) % 3, guess)
        if columns == 4:
            boxes, shifted = (
                torch.cat([b[:, :2] - b[:, 2:4] / 2, b[:, :2] + b[:, 2:4] / 2], 1) for b in (boxes, shifted)
            )
        targets.append(Targets(boxes, labels, rand(m) < 0.2))
        detections.append(Detections(shifted, rand(len(shifted)), guess))
    return detections, targets


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_the_slow_statement(seed, columns):
    detections, targets = scene(seed, columns)
    scores = evaluate_coco(detections, targets, CLASSES)

    def slow(ious, size="all", labels=(0, 1, 2)):
        return mean([slow_ap(detections, targets, k, iou, size) for iou in ious for k in labels])

    assert scores.ap == pytest.approx(slow(IOUS), abs=1e-6, nan_ok=True)
    assert scores.ap50 == pytest.approx(slow([0.5]), abs=1e-6, nan_ok=True)
    assert scores.ap75 == pytest.approx(slow([0.75]), abs=1e-6, nan_ok=True)
    for size in "sml":
        assert getattr(scores, f"ap_{size}") == pytest.approx(slow(IOUS, size), abs=1e-6, nan_ok=True), size
    for k, name in enumerate(CLASSES):
        row = scores.per_class[name]
        assert row["ap"] == pytest.approx(slow(IOUS, labels=[k]), abs=1e-6, nan_ok=True)
        assert row["objects"] == sum(int(((t.labels == k) & ~t.ignore).sum()) for t in targets)
        curve = sum(scores.curves[name]) / 101 * 100
        assert curve == pytest.approx(row["ap50"], abs=1e-6, nan_ok=True)


def boxes_in_a_row(count, columns=4):
    x = torch.arange(count, dtype=torch.float32) * 20
    zero = torch.zeros_like(x)
    if columns == 4:
        return torch.stack([x, zero, x + 10, zero + 10], 1)
    return torch.stack([x, zero, zero + 12, zero + 6, zero + 0.5], 1)


def perfect(targets):
    return [Detections(t.boxes, torch.linspace(0.9, 0.5, len(t)), t.labels) for t in targets]


def nothing(targets):
    return [Detections(t.boxes[:0], torch.zeros(0), t.labels[:0]) for t in targets]


@pytest.mark.parametrize("columns", [4, 5])
def test_perfect_detections_score_100_and_none_score_0(columns):
    targets = [Targets(boxes_in_a_row(5, columns), torch.tensor([0, 1, 0, 1, 1])), Targets.empty(columns=columns)]
    full, none = evaluate_coco(perfect(targets), targets, CLASSES), evaluate_coco(nothing(targets), targets, CLASSES)
    assert (full.ap, full.ap50, full.ap_s, full.ar) == pytest.approx((100, 100, 100, 100))
    assert (none.ap, none.ap50, none.ap_s, none.ar) == (0, 0, 0, 0)
    assert math.isnan(full.ap_m)
    assert math.isnan(full.per_class["car"]["ap"])


@pytest.mark.parametrize("images", [0, 2])
def test_without_any_object_scores_are_nan(images):
    targets = [Targets.empty() for _ in range(images)]
    found = [Detections(boxes_in_a_row(1), torch.ones(1), torch.zeros(1, dtype=torch.int64))] * images
    scores = evaluate_coco(found, targets, CLASSES)
    assert all(math.isnan(value) for value in scores.summary().values())
    assert scores.per_class["ship"]["objects"] == 0


@pytest.mark.parametrize("columns", [4, 5])
def test_more_than_a_hundred_objects_count(columns):
    targets = [Targets(boxes_in_a_row(300, columns), torch.zeros(300, dtype=torch.int64))]
    assert evaluate_coco(perfect(targets), targets, CLASSES).ap == pytest.approx(100)
    assert evaluate_coco(perfect(targets), targets, CLASSES, max_dets=150).ar == pytest.approx(50)


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize(("side", "size"), [(31.0, "s"), (33.0, "m"), (95.0, "m"), (97.0, "l")])
def test_sizes_part_at_32_and_96_pixels(columns, side, size):
    box = torch.tensor([[50.0, 50.0, side, side, 0.4]])
    if columns == 4:
        box = torch.tensor([[50.0, 50.0, 50.0 + side, 50.0 + side]])
    targets = [Targets(box, torch.zeros(1, dtype=torch.int64))]
    scores = evaluate_coco(perfect(targets), targets, CLASSES)
    known = {name for name in "sml" if not math.isnan(getattr(scores, f"ap_{name}"))}
    assert known == {size}
    assert getattr(scores, f"ap_{size}") == pytest.approx(100)


@pytest.mark.parametrize("columns", [4, 5])
def test_ignored_objects_neither_count_nor_punish(columns):
    boxes = boxes_in_a_row(3, columns)
    targets = [Targets(boxes, torch.zeros(3, dtype=torch.int64), torch.tensor([False, True, True]))]
    found = [Detections(boxes[:2], torch.tensor([0.5, 0.9]), torch.zeros(2, dtype=torch.int64))]
    scores = evaluate_coco(found, targets, CLASSES)
    assert scores.ap == pytest.approx(100)
    assert scores.per_class["ship"]["objects"] == 1


def test_evaluator_over_batches_equals_one_call():
    detections, targets = scene(7, 4)
    evaluator = CocoEvaluator(CLASSES)
    evaluator.update(detections[:3], targets[:3])
    evaluator.update(detections[3:], targets[3:])
    assert evaluator.compute().as_dict() == evaluate_coco(detections, targets, CLASSES).as_dict()
    assert math.isnan(CocoEvaluator(CLASSES).compute().ap)


def test_evaluator_keeps_no_graph():
    boxes = boxes_in_a_row(1).requires_grad_()
    evaluator = CocoEvaluator(CLASSES)
    evaluator.update([Detections(boxes * 2, torch.ones(1), torch.zeros(1, dtype=torch.int64))], [Targets.empty()])
    assert not evaluator.detections[0].boxes.requires_grad


def test_scores_survive_json():
    detections, targets = scene(3, 4)
    scores = evaluate_coco(detections, targets, [*CLASSES, "harbour"])
    text = json.dumps(scores.as_dict(), allow_nan=False)
    again = CocoScores.from_dict(json.loads(text))
    assert again.summary() == pytest.approx(scores.summary(), nan_ok=True)
    assert again.per_class["ship"] == scores.per_class["ship"]
    assert math.isnan(again.curves["harbour"][0])


def test_nothing_is_printed(capfd):
    detections, targets = scene(1, 4)
    evaluate_coco(detections, targets, CLASSES)
    assert capfd.readouterr() == ("", "")


ONE = torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("detections", "targets", "message"),
    [
        ([], [Targets.empty()], "0 images of detections but 1 of truth"),
        (
            [Detections(boxes_in_a_row(2), torch.ones(2), torch.tensor([0, 5]))],
            [Targets.empty("a.png")],
            "image 'a.png' (number 0), detection 1: label 5 is outside the 3 classes",
        ),
        (
            [Detections(boxes_in_a_row(1), torch.ones(1), ONE)],
            [Targets(boxes_in_a_row(1), ONE - 1)],
            "image number 0, object 0: label -1 is outside",
        ),
        (
            [Detections(boxes_in_a_row(1) * math.nan, torch.ones(1), ONE)],
            [Targets.empty()],
            "detection 0: the box or score is not finite",
        ),
        (
            [Detections(boxes_in_a_row(1, 5), torch.ones(1), ONE)],
            [Targets(boxes_in_a_row(1), ONE)],
            "detections have 5 box columns, the truth 4",
        ),
    ],
)
def test_bad_input_gives_one_clear_line(detections, targets, message):
    with pytest.raises(DataError) as caught:
        evaluate_coco(detections, targets, CLASSES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
