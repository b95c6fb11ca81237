"""VOC scores against a slow re-statement and cases worked out by hand."""

import json
import math

import numpy as np
import pytest
import torch

from skystill.errors import DataError
from skystill.evaluation.voc import all_points, eleven_points, evaluate_voc
from skystill.structures import Detections, Targets

CLASSES = ["ship", "plane"]


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def slow_voc(detections, targets, label, threshold):
    """(ap07, ap12) by going through all detections of the set one by one, as the development kit does."""
    rows = []
    for image, seen in enumerate(detections):
        for score, box, k in zip(seen.scores.tolist(), seen.boxes.tolist(), seen.labels.tolist(), strict=True):
            if k == label:
                rows.append((score, image, box))
    objects = sum(
        k == label and not ignore
        for t in targets
        for k, ignore in zip(t.labels.tolist(), t.ignore.tolist(), strict=True)
    )
    taken, outcome = set(), []
    for _, image, box in sorted(rows, key=lambda row: -row[0]):
        best, best_iou = None, -1.0
        for g, other in enumerate(targets[image].boxes.tolist()):
            if targets[image].labels[g] == label and iou(box, other) > best_iou:
                best, best_iou = g, iou(box, other)
        if best is None or best_iou < threshold:
            outcome.append(0)
        elif targets[image].ignore[best]:
            continue
        else:
            outcome.append(0 if (image, best) in taken else 1)
            taken.add((image, best))
    points = [(sum(outcome[:n]), sum(outcome[:n]) / n) for n in range(1, len(outcome) + 1)]
    ap07 = sum(max([p for f, p in points if f * 10 >= t * objects], default=0) for t in range(11)) / 11
    ap12 = sum(max([p for f, p in points if f >= n], default=0) for n in range(1, objects + 1)) / objects
    return 100 * ap07, 100 * ap12


def scene(seed):
    rng = torch.Generator().manual_seed(seed)
    detections, targets = [], []
    for _ in range(5):
        corner = torch.rand(7, 2, generator=rng) * 60
        boxes = torch.cat([corner, corner + 15 + torch.rand(7, 2, generator=rng) * 20], 1)
        labels = (torch.rand(7, generator=rng) * 2).long()
        moved = torch.cat([boxes + torch.randn(7, 4, generator=rng) * 3, boxes[:3] + 1])
        guess = torch.cat([labels, labels[:3]])
        targets.append(Targets(boxes, labels, torch.rand(7, generator=rng) < 0.3))
        detections.append(Detections(moved, torch.rand(10, generator=rng), guess))
    return detections, targets


@pytest.mark.parametrize("threshold", [0.5, 0.7])
@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_the_slow_statement(seed, threshold):
    detections, targets = scene(seed)
    scores = evaluate_voc(detections, targets, CLASSES, iou=threshold)
    slow = [slow_voc(detections, targets, k, threshold) for k in range(2)]
    for row, (ap07, ap12) in zip(scores.per_class.values(), slow, strict=True):
        assert row["ap07"] == pytest.approx(ap07)
        assert row["ap12"] == pytest.approx(ap12)
    assert scores.map07 == pytest.approx((slow[0][0] + slow[1][0]) / 2)
    assert scores.map12 == pytest.approx((slow[0][1] + slow[1][1]) / 2)


def test_curve_by_hand():
    # right, wrong, right of two objects: precision 1, 1/2, 2/3; recall 1/2, 1/2, 1
    found, precision = np.array([1, 1, 2]), np.array([1, 1 / 2, 2 / 3])
    assert all_points(found, precision, 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert eleven_points(found, precision, 2) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_a_recall_of_three_tenths_reaches_its_point():
    # 3 / 10 < 0.1 * 3 in floating point; the step must still count
    assert eleven_points(np.array([1, 2, 3]), np.ones(3), 10) == pytest.approx(4 / 11)


@pytest.mark.parametrize("columns", [4, 5])
def test_edges(columns):
    boxes = torch.tensor([[0.0, 0, 10, 10], [40, 40, 60, 60]])
    if columns == 5:
        boxes = torch.tensor([[5.0, 5, 10, 8, 0.3], [50, 50, 20, 10, -1.0]])
    zeros = torch.zeros(2, dtype=torch.int64)
    perfect = [Detections(boxes, torch.tensor([0.2, 0.9]), zeros)]
    nothing = [Detections(boxes[:0], torch.zeros(0), zeros[:0])]
    truth = [Targets(boxes, zeros)]
    assert evaluate_voc(perfect, truth, CLASSES).map12 == pytest.approx(100)
    assert evaluate_voc(perfect, truth, CLASSES).map07 == pytest.approx(100)
    assert evaluate_voc(nothing, truth, CLASSES).map12 == 0
    difficult = [Targets(boxes, zeros, torch.tensor([False, True]))]
    assert evaluate_voc(perfect, difficult, CLASSES).map12 == pytest.approx(100)
    empty = evaluate_voc(perfect, [Targets.empty(columns=columns)], CLASSES)
    assert math.isnan(empty.map12)
    assert json.loads(json.dumps(empty.as_dict(), allow_nan=False))["per_class"]["ship"]["ap07"] is None
    assert math.isnan(evaluate_voc([], [], CLASSES).map07)


def test_lists_of_another_length_are_refused():
    with pytest.raises(DataError, match="1 images of detections but 0 of truth"):
        evaluate_voc([Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))], [], CLASSES)
