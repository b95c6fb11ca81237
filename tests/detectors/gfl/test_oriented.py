"""Oriented boxes as five distributions: what comes out is what went in, also at the seam and for squares."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skystill.boxes.obb import le90
from skystill.detectors.gfl.oriented import (
    angle_focal_loss,
    angle_targets,
    bin_angles,
    decode_oriented,
    linear_targets,
    read_angle,
    second_share,
)
from skystill.errors import DataError
from skystill.structures import Targets

BINS = 17


def turned(a: float, b: float, period: float) -> float:
    """How far two directions are apart, of lines that look the same after `period`."""
    return abs((a - b + period / 2) % period - period / 2)


def test_decoding_is_the_table() -> None:
    gen = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 5, BINS, generator=gen) * 2
    places = torch.tensor([[0.0, 0, 64, 64], [16, 8, 80, 72], [0, 0, 128, 128]])
    strides = torch.tensor([8.0, 8, 16])
    found = decode_oriented(logits, places, strides)[0]
    for n in range(3):
        p = [[math.exp(v) for v in row] for row in logits[0, n].tolist()]
        p = [[v / sum(row) for v in row] for row in p]
        mean = [sum(i * v for i, v in enumerate(row)) for row in p[:4]]
        stride, (x1, y1, x2, y2) = float(strides[n]), places[n].tolist()
        x = (x1 + x2) / 2 + (mean[0] - (BINS - 1) / 2) * stride
        y = (y1 + y2) / 2 + (mean[1] - (BINS - 1) / 2) * stride
        angles = [i * math.pi / BINS - math.pi / 2 for i in range(BINS)]
        z4 = sum(v * complex(math.cos(4 * a), math.sin(4 * a)) for v, a in zip(p[4], angles, strict=True))
        z2 = sum(v * complex(math.cos(2 * a), math.sin(2 * a)) for v, a in zip(p[4], angles, strict=True))
        theta = math.atan2(z4.imag, z4.real) / 4
        if (complex(math.cos(2 * theta), -math.sin(2 * theta)) * z2).real < 0:
            theta += math.pi / 2
        box = le90(torch.tensor([x, y, 2 * mean[2] * stride, 2 * mean[3] * stride, theta]))
        assert found[n].tolist() == pytest.approx(box.tolist(), abs=2e-3)


@settings(max_examples=60, deadline=None)
@given(st.floats(-math.pi / 2, math.pi / 2 - 1e-4), st.floats(1.0, 8.0))
def test_the_targets_angle_is_read_back(theta: float, ratio: float) -> None:
    box = torch.tensor([[0.0, 0.0, 10 * ratio, 10.0, theta]])
    target = angle_targets(box, BINS)
    assert float(target.sum()) == pytest.approx(1, abs=1e-5)
    assert float(target.min()) >= 0
    # Linear shares between bins of 10.6 degrees are read as circular means, hence not quite exactly.
    period = math.pi if ratio > 1.05 else math.pi / 2  # a square looks the same after a quarter turn
    assert turned(float(read_angle(target)), theta, period) < math.radians(1.5)


def test_there_is_no_seam() -> None:
    just_below = torch.tensor([[0.0, 0, 30, 10, math.pi / 2 - 1e-4]])
    just_above = torch.tensor([[0.0, 0, 30, 10, -math.pi / 2 + 1e-4]])
    assert float((angle_targets(just_below, BINS) - angle_targets(just_above, BINS)).abs().max()) < 1e-2


def test_targets_pass_smoothly_through_the_square() -> None:
    """(10.01, 10, theta) and (10, 10.01, theta) are nearly one box, though le90 names them 90 degrees apart."""
    wide = le90(torch.tensor([[0.0, 0, 10.01, 10, 0.3]]))
    tall = le90(torch.tensor([[0.0, 0, 10, 10.01, 0.3]]))
    assert abs(float(wide[0, 4] - tall[0, 4])) > 1.5
    assert float((angle_targets(wide, BINS) - angle_targets(tall, BINS)).abs().max()) < 5e-3


def test_the_second_direction_fades_with_the_shape() -> None:
    boxes = torch.tensor([[0.0, 0, w, 10, 0] for w in (10.0, 12.5, 15, 40)])
    assert second_share(boxes).tolist() == pytest.approx([0.5, 0.25, 0, 0])


def test_linear_targets_count_bins() -> None:
    box, centre = torch.tensor([[70.0, 50, 48, 16, 0.4]]), torch.tensor([[64.0, 64]])
    assert linear_targets(box, centre, torch.tensor([8.0]), 16)[0].tolist() == pytest.approx(
        [8 + 6 / 8, 8 - 14 / 8, 3, 1]
    )
    far = torch.tensor([[1000.0, -1000, 4000, 0.1, 0]])
    found = linear_targets(far, centre, torch.tensor([8.0]), 16)
    assert float(found.min()) >= 0
    assert float(found.max()) < 16


def test_angle_loss_is_least_at_its_target_and_matches_numbers() -> None:
    box = torch.tensor([[0.0, 0, 30, 10, 0.2]])
    target = angle_targets(box, BINS)
    logits = torch.linspace(-1, 1, BINS)[None]
    log_p = [float(v - torch.logsumexp(logits[0], 0)) for v in logits[0]]
    slow = -sum(t * p for t, p in zip(target[0].tolist(), log_p, strict=True))
    assert float(angle_focal_loss(logits, box)) == pytest.approx(slow, rel=1e-5)
    least = float(angle_focal_loss(target.clamp(min=1e-9).log(), box))
    assert least < slow
    entropy = -sum(t * math.log(t) for t in target[0].tolist() if t > 0)
    assert least == pytest.approx(entropy, abs=1e-4)


def test_bins_go_round_once() -> None:
    angles = bin_angles(BINS, torch.device("cpu"))
    assert float(angles[0]) == pytest.approx(-math.pi / 2)
    assert float(angles[-1] + math.pi / BINS) == pytest.approx(math.pi / 2, abs=1e-5)


def test_a_few_steps_fit_two_turned_boxes(make_gfl) -> None:
    torch.manual_seed(0)
    model = make_gfl(kind="obb").train()
    boxes = torch.tensor([[30.0, 30, 36, 12, 0.6], [44.0, 20, 24, 10, -1.2]])
    targets = [Targets(boxes, torch.tensor([0, 1]))]
    images = torch.rand(1, model.in_chans, 64, 64)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    seen = []
    for _ in range(25):
        losses = model(images, targets).losses
        assert set(losses) == {"qfl", "dfl", "kld"}
        seen.append(float(sum(losses.values()).detach()))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert seen[-1] < 0.6 * seen[0]


def test_truth_of_the_other_kind_is_refused(make_gfl) -> None:
    upright = [Targets(torch.tensor([[4.0, 4, 30, 30]]), torch.tensor([0]), name="a.png")]
    model = make_gfl(kind="obb")
    with pytest.raises(DataError, match=r"predicts oriented boxes, but the truth of image a.png is upright"):
        model(torch.rand(1, model.in_chans, 64, 64), upright)
    turned = [Targets(torch.tensor([[30.0, 30, 20, 8, 0.2]]), torch.tensor([0]), name="b.png")]
    with pytest.raises(DataError, match=r"Give data.kind hbb"):
        make_gfl()(torch.rand(1, model.in_chans, 64, 64), turned)
