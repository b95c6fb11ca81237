"""TASD's losses written out place by place, class by class, edge by edge, bin by bin."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.distillation.ltd.losses import (
    box_imitation_loss,
    check_bins,
    edge_certainty,
    localization_loss,
    semantic_loss,
)
from skystill.errors import ConfigError
from skystill.structures import Dense

MakeDense = Callable[..., Dense]


@pytest.fixture
def pair(make_dense: MakeDense) -> tuple[Dense, Dense, Tensor]:
    region = torch.rand(2, 84, generator=torch.Generator().manual_seed(9)) < 0.2
    return make_dense(1), make_dense(2), region


def softmax(values: list[float], tau: float = 1.0) -> list[float]:
    powers = [math.exp(v / tau) for v in values]
    return [p / sum(powers) for p in powers]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def spots(region: Tensor) -> list[tuple[int, int]]:
    return [(b, p) for b, p in region.nonzero().tolist()]


def test_semantics_by_hand(pair: tuple[Dense, Dense, Tensor]) -> None:
    student, teacher, region = pair
    total = norm = 0.0
    for b, p in spots(region):
        scores = [sigmoid(z) for z in teacher.logits[b, p].tolist()]
        norm += max(scores)
        for z, p_t in zip(student.logits[b, p].tolist(), scores, strict=True):
            p_s = sigmoid(z)
            total -= abs(p_t - p_s) * (p_t * math.log(p_s) + (1 - p_t) * math.log(1 - p_s))
    assert norm > 1
    assert semantic_loss(student, teacher, region).item() == pytest.approx(total / norm, rel=1e-4)


def test_background_is_heard_by_its_weight(pair: tuple[Dense, Dense, Tensor]) -> None:
    student, teacher, region = pair
    inside = semantic_loss(student, teacher, region)
    norm = sum(max(sigmoid(z) for z in teacher.logits[b, p].tolist()) for b, p in spots(region))
    outside = 0.0
    for b, p in spots(~region):
        for z_s, z_t in zip(student.logits[b, p].tolist(), teacher.logits[b, p].tolist(), strict=True):
            p_s, p_t = sigmoid(z_s), sigmoid(z_t)
            outside -= abs(p_t - p_s) * (p_t * math.log(p_s) + (1 - p_t) * math.log(1 - p_s))
    heard = semantic_loss(student, teacher, region, background=0.3)
    assert heard.item() == pytest.approx(inside.item() + 0.3 * outside / norm, rel=1e-4)
    nowhere = torch.zeros_like(region)
    assert semantic_loss(student, teacher, nowhere) == 0
    assert semantic_loss(student, teacher, nowhere, background=1.0) > 0


def test_semantics_of_softmax_heads_by_hand(pair: tuple[Dense, Dense, Tensor]) -> None:
    student, teacher, region = pair
    student, teacher = replace(student, activation="softmax"), replace(teacher, activation="softmax")
    total = norm = 0.0
    for b, p in spots(region):
        z_s, z_t = student.logits[b, p].tolist(), teacher.logits[b, p].tolist()
        norm += max(softmax(z_t)[:-1])
        total += 9 * kl(softmax(z_t, 3.0), softmax(z_s, 3.0))
    assert semantic_loss(student, teacher, region, tau=3.0).item() == pytest.approx(total / norm, rel=1e-4)


def test_localization_by_hand(pair: tuple[Dense, Dense, Tensor]) -> None:
    student, teacher, region = pair
    assert student.edges is not None
    assert teacher.edges is not None
    weights, divergences = [], []
    for b, p in spots(region):
        for e in range(4):
            d_s, d_t = student.edges[b, p, e].tolist(), teacher.edges[b, p, e].tolist()
            weights.append(1 + sum(q * math.log(q) for q in softmax(d_t)) / math.log(len(d_t)))
            divergences.append(100 * kl(softmax(d_t, 10.0), softmax(d_s, 10.0)))
    mean = sum(weights) / len(weights)
    total = sum(w / mean * d for w, d in zip(weights, divergences, strict=True))
    expected = total / len(spots(region))
    assert localization_loss(student, teacher, region).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("swap", [False, True])
def test_a_longer_distribution_counts_its_far_end_as_the_last_common_bin(make_dense: MakeDense, swap: bool) -> None:
    long, short = make_dense(1, bins=9), make_dense(2, bins=6)
    region = torch.zeros(2, 84, dtype=torch.bool)
    region[1, 7] = True
    assert long.edges is not None
    assert short.edges is not None
    total, certainties = 0.0, []
    for one, other in zip(long.edges[1, 7].tolist(), short.edges[1, 7].tolist(), strict=True):
        folded = [*one[:5], math.log(sum(math.exp(z) for z in one[5:]))]
        d_s, d_t = (other, folded) if swap else (folded, other)
        p = softmax(d_t)
        certainties.append((1 + sum(a * math.log(a) for a in p) / math.log(6), kl(softmax(d_t, 10), softmax(d_s, 10))))
    mean = sum(c for c, _ in certainties) / 4
    total = sum(c / mean * 100 * gap for c, gap in certainties)
    sides = (short, long) if swap else (long, short)
    assert localization_loss(*sides, region).item() == pytest.approx(total, rel=1e-3)


def test_oriented_heads_of_other_lengths_are_told(make_dense: MakeDense) -> None:
    check_bins(make_dense(1, bins=9), make_dense(2, bins=6))
    check_bins(make_dense(1, kind="obb"), make_dense(2, kind="obb"))
    with pytest.raises(ConfigError, match=r"has 9 bins, the teacher's 6\. Give both the same reg_max"):
        check_bins(make_dense(1, bins=9, kind="obb"), make_dense(2, bins=6, kind="obb"))


def test_box_imitation_by_hand(pair: tuple[Dense, Dense, Tensor]) -> None:
    student, teacher, region = pair
    total = norm = 0.0
    for b, p in spots(region):
        s, t = student.boxes[b, p].tolist(), teacher.boxes[b, p].tolist()
        w, h = min(s[2], t[2]) - max(s[0], t[0]), min(s[3], t[3]) - max(s[1], t[1])
        common = max(w, 0.0) * max(h, 0.0)
        union = (s[2] - s[0]) * (s[3] - s[1]) + (t[2] - t[0]) * (t[3] - t[1]) - common
        hull = (max(s[2], t[2]) - min(s[0], t[0])) * (max(s[3], t[3]) - min(s[1], t[1]))
        weight = max(sigmoid(z) for z in teacher.logits[b, p].tolist())
        total += weight * (1 - common / union + (hull - union) / hull)
        norm += weight
    assert box_imitation_loss(student, teacher, region).item() == pytest.approx(total / norm, rel=1e-4)


def test_a_spike_is_certain_and_a_flat_edge_is_not() -> None:
    spike = torch.zeros(17)
    spike[5] = 100.0
    assert edge_certainty(torch.stack([spike, torch.zeros(17)])[None]).flatten().tolist() == pytest.approx(
        [1, 0], abs=1e-5
    )


def test_uncertain_edges_are_taught_less(pair: tuple[Dense, Dense, Tensor]) -> None:
    student, teacher, region = pair
    assert teacher.edges is not None
    edges = teacher.edges.clone()
    edges[:, :, 0] *= 5.0
    edges[:, :, 1] *= 0.05
    unsure = replace(teacher, edges=edges)
    wrong = student.edges.clone().requires_grad_()  # type: ignore[union-attr]
    localization_loss(replace(student, edges=wrong), unsure, region).backward()
    assert wrong.grad is not None
    pull = wrong.grad[region].abs().mean((0, 2))
    assert pull[1] < 0.1 * pull[0]


def test_equal_predictions_cost_nothing(pair: tuple[Dense, Dense, Tensor]) -> None:
    same, _, region = pair
    soft = replace(same, activation="softmax")
    assert semantic_loss(same, same, region) == 0
    assert semantic_loss(soft, soft, region).item() == pytest.approx(0, abs=1e-6)
    assert localization_loss(same, same, region).item() == pytest.approx(0, abs=1e-5)
    assert box_imitation_loss(same, same, region).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", [semantic_loss, localization_loss, box_imitation_loss])
def test_an_empty_region_is_zero_with_a_zero_gradient(
    make_dense: MakeDense, loss: Callable[[Dense, Dense, Tensor], Tensor]
) -> None:
    student, teacher = make_dense(1), make_dense(2)
    edges = student.edges.requires_grad_()  # type: ignore[union-attr]
    student = replace(
        student, logits=student.logits.requires_grad_(), boxes=student.boxes.requires_grad_(), edges=edges
    )
    value = loss(student, teacher, torch.zeros(2, 84, dtype=torch.bool))
    value.backward()
    assert value == 0
    grads = [t.grad for t in (student.logits, student.boxes, edges) if t.grad is not None]
    assert len(grads) == 1
    assert grads[0].abs().max() == 0


@pytest.mark.parametrize("loss", [semantic_loss, localization_loss, box_imitation_loss])
def test_half_precision_predictions_give_nearly_the_same_loss(
    pair: tuple[Dense, Dense, Tensor], loss: Callable[[Dense, Dense, Tensor], Tensor]
) -> None:
    student, teacher, region = pair
    low = [
        replace(d, logits=d.logits.bfloat16(), edges=d.edges.bfloat16(), boxes=d.boxes)  # type: ignore[union-attr]
        for d in (student, teacher)
    ]
    value = loss(low[0], low[1], region)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(student, teacher, region).item(), rel=0.02)


def test_saturated_logits_stay_finite(pair: tuple[Dense, Dense, Tensor]) -> None:
    student, teacher, region = pair
    logits = (student.logits * 1e4).requires_grad_()
    edges = (student.edges * 1e4).requires_grad_()  # type: ignore[operator]
    hot = replace(student, logits=logits, edges=edges)
    loss = semantic_loss(hot, teacher, region) + localization_loss(hot, teacher, region)
    loss.backward()
    assert loss.isfinite()
    for t in (logits, edges):
        assert t.grad is not None
        assert t.grad.isfinite().all()
