"""The confusion matrix against loops and by hand."""

import numpy as np
import pytest
import torch

from skystill.evaluation.confusion import confusion_matrix
from skystill.structures import Detections, Targets

CLASSES = ["ship", "plane", "car"]


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def slow_matrix(detections, targets, threshold, score):
    matrix = [[0] * 4 for _ in range(4)]
    for seen, truth in zip(detections, targets, strict=True):
        boxes, labels, ignore = truth.boxes.tolist(), truth.labels.tolist(), truth.ignore.tolist()
        taken = set()
        for d in sorted(range(len(seen)), key=lambda d: -float(seen.scores[d])):
            if seen.scores[d] < score:
                continue
            box, label = seen.boxes[d].tolist(), int(seen.labels[d])
            reach = [
                (iou(box, boxes[g]), g)
                for g in range(len(boxes))
                if not ignore[g] and g not in taken and iou(box, boxes[g]) >= threshold
            ]
            if reach:
                g = max(reach)[1]
                taken.add(g)
                matrix[labels[g]][label] += 1
            elif not any(ignore[g] and iou(box, boxes[g]) >= threshold for g in range(len(boxes))):
                matrix[3][label] += 1
        for g in range(len(boxes)):
            if not ignore[g] and g not in taken:
                matrix[labels[g]][3] += 1
    return np.array(matrix)


@pytest.mark.parametrize("seed", range(6))
def test_matrix_equals_the_loops(seed):
    rng = torch.Generator().manual_seed(seed)
    detections, targets = [], []
    for _ in range(6):
        corner = torch.rand(8, 2, generator=rng) * 70
        boxes = torch.cat([corner, corner + 15 + torch.rand(8, 2, generator=rng) * 20], 1)
        labels = (torch.rand(8, generator=rng) * 3).long()
        guess = (torch.rand(8, generator=rng) * 3).long()
        targets.append(Targets(boxes, labels, torch.rand(8, generator=rng) < 0.25))
        detections.append(Detections(boxes + 3 * torch.randn(8, 4, generator=rng), torch.rand(8, generator=rng), guess))
    matrix = confusion_matrix(detections, targets, CLASSES)
    assert matrix.tolist() == slow_matrix(detections, targets, 0.5, 0.3).tolist()
    assert matrix[:3].sum() == sum(len(t.counted()) for t in targets)


def test_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    truth = Targets(boxes, torch.tensor([0, 1, 2]), torch.tensor([False, False, True]))
    seen = Detections(
        torch.cat([boxes, boxes[:1], boxes[1:2]]),
        torch.tensor([0.9, 0.2, 0.8, 0.7, 0.6]),  # right, too low, on the ignored one, again, as another class
        torch.tensor([0, 1, 2, 0, 2]),
    )
    assert confusion_matrix([seen], [truth], CLASSES).tolist() == [
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
    ]


@pytest.mark.parametrize("columns", [4, 5])
def test_empty_images(columns):
    none = Detections(torch.zeros(0, columns), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert confusion_matrix([none], [Targets.empty(columns=columns)], CLASSES).sum() == 0
    box = torch.tensor([[5.0, 5, 4, 4, 0.1]]) if columns == 5 else torch.tensor([[1.0, 1, 5, 5]])
    one = Detections(box, torch.ones(1), torch.tensor([1]))
    assert confusion_matrix([one], [Targets.empty(columns=columns)], CLASSES)[3, 1] == 1
    assert confusion_matrix([none], [Targets(box, torch.tensor([2]))], CLASSES)[2, 3] == 1
