"""QFL, DFL and GIoU written out place by place, from the papers' equations, in Python numbers."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from skystill.boxes.atss import atss
from skystill.detectors.gfl.loss import distribution_focal_loss, gfl_loss, quality_focal_loss
from skystill.structures import Dense, Targets

STRIDES = torch.tensor([8.0] * 64 + [16.0] * 16 + [32.0] * 4)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slow_qfl(logit: float, quality: float) -> float:
    p = sigmoid(logit)
    return -(abs(quality - p) ** 2) * ((1 - quality) * math.log(1 - p) + quality * math.log(p))


def slow_dfl(logits: list[float], distance: float) -> float:
    left = math.floor(distance)
    whole = math.log(sum(math.exp(v) for v in logits))
    near, far = logits[left] - whole, logits[left + 1] - whole
    return -((left + 1 - distance) * near + (distance - left) * far)


def slow_ious(a: list[float], b: list[float]) -> tuple[float, float]:
    """IoU and GIoU."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0.0) * max(h, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return common / union, common / union - (hull - union) / hull


def slow_gfl(dense: Dense, targets: list[Targets]) -> dict[str, float]:
    assert dense.edges is not None
    n = dense.edges.shape[-1] - 1
    qfl = giou = dfl = weights = positives = 0.0
    for b, target in enumerate(targets):
        real = [i for i in range(len(target)) if not target.ignore[i]]
        owner = atss(dense.places, dense.levels, target.boxes[real]).object.tolist()
        for p, place in enumerate(dense.places.tolist()):
            cx, cy = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
            logits = dense.logits[b, p].tolist()
            quality = [0.0] * len(logits)
            if owner[p] >= 0:
                truth = target.boxes[real[owner[p]]].tolist()
                iou, g = slow_ious(dense.boxes[b, p].tolist(), truth)
                quality[int(target.labels[real[owner[p]]])] = iou
                weight = max(sigmoid(v) for v in logits)
                stride = float(STRIDES[p])
                edges = [cx - truth[0], cy - truth[1], truth[2] - cx, truth[3] - cy]
                for e, pixels in enumerate(edges):
                    bins = min(max(pixels / stride, 0.0), n - 0.01)
                    dfl += weight * slow_dfl(dense.edges[b, p, e].tolist(), bins) / 4
                giou += weight * (1 - g)
                weights += weight
                positives += 1
            elif any(
                x1 < cx < x2 and y1 < cy < y2
                for (x1, y1, x2, y2), skip in zip(target.boxes.tolist(), target.ignore.tolist(), strict=True)
                if skip
            ):
                continue
            qfl += sum(slow_qfl(v, q) for v, q in zip(logits, quality, strict=True))
    total = weights or 1.0
    return {"qfl": qfl / max(positives, 1), "dfl": 0.25 * dfl / total, "giou": 2 * giou / total}


def close(got: dict[str, Tensor], expected: dict[str, float]) -> None:
    assert {k: v.item() for k, v in got.items()} == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_three_terms_are_the_papers(make_dense: Callable[..., Dense], two_images: list[Targets]) -> None:
    dense = make_dense(0)
    close(gfl_loss(dense, two_images, STRIDES), slow_gfl(dense, two_images))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), bins=st.sampled_from([5, 9]))
def test_any_truth_ignored_objects_and_few_bins(make_dense: Callable[..., Dense], seed: int, bins: int) -> None:
    gen = torch.Generator().manual_seed(seed)
    targets = []
    for _ in range(2):
        corner = torch.rand(4, 2, generator=gen) * 50
        boxes = torch.cat([corner, corner + 4 + torch.rand(4, 2, generator=gen) * 40], 1)
        labels = torch.randint(3, (4,), generator=gen)
        targets.append(Targets(boxes, labels, torch.rand(4, generator=gen) < 0.4))
    dense = make_dense(seed, bins=bins)
    close(gfl_loss(dense, targets, STRIDES), slow_gfl(dense, targets))


def test_odd_truths_give_finite_losses_and_gradients(
    make_dense: Callable[..., Dense], odd_truths: dict[str, Targets]
) -> None:
    for name, target in odd_truths.items():
        dense = make_dense(1, batch=1)
        logits, edges = dense.logits.requires_grad_(), dense.edges.requires_grad_()  # type: ignore[union-attr]
        losses = gfl_loss(dense, [target], STRIDES)
        close(losses, slow_gfl(dense, [target]))
        sum(losses.values(), torch.zeros(())).backward()
        # Every head parameter must get a gradient, or distributed training waits for it for ever.
        assert logits.grad is not None, name
        assert edges.grad is not None, name
        assert logits.grad.isfinite().all(), name
        assert edges.grad.isfinite().all(), name


def test_without_objects_only_the_background_is_taught(make_dense: Callable[..., Dense]) -> None:
    dense = make_dense(2, batch=1)
    losses = gfl_loss(dense, [Targets.empty()], STRIDES)
    assert losses["dfl"] == 0
    assert losses["giou"] == 0
    assert losses["qfl"].item() == pytest.approx(
        sum(slow_qfl(v, 0.0) for v in dense.logits.flatten().tolist()), rel=1e-4
    )


def test_an_ignored_object_is_neither_truth_nor_background(make_dense: Callable[..., Dense]) -> None:
    dense = make_dense(3, batch=1)
    whole = Targets(torch.tensor([[-1.0, -1.0, 65.0, 65.0]]), torch.tensor([0]), torch.tensor([True]))
    assert {k: v.item() for k, v in gfl_loss(dense, [whole], STRIDES).items()} == {"qfl": 0.0, "dfl": 0.0, "giou": 0.0}


def test_doubling_the_batch_changes_nothing(make_dense: Callable[..., Dense], two_images: list[Targets]) -> None:
    dense = make_dense(4)
    assert dense.edges is not None
    doubled = replace(
        dense,
        logits=dense.logits.repeat(2, 1, 1),
        boxes=dense.boxes.repeat(2, 1, 1),
        edges=dense.edges.repeat(2, 1, 1, 1),
    )
    once = gfl_loss(dense, two_images, STRIDES)
    close(gfl_loss(doubled, two_images * 2, STRIDES), {k: v.item() for k, v in once.items()})


def test_perfect_predictions_cost_nothing() -> None:
    assert quality_focal_loss(torch.tensor([30.0, -30.0]), torch.tensor([1.0, 0.0])).tolist() == [0.0, 0.0]
    spike = torch.full((1, 9), -50.0)
    spike[0, 3] = 50.0
    assert distribution_focal_loss(spike, torch.tensor([3.0])).item() == pytest.approx(0, abs=1e-6)
