"""Costs of small networks whose operations and weights are known by hand."""

import json
import math
import platform
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from skystill.boxes.nms import Selection
from skystill.detectors.base import Detector
from skystill.evaluation import cost
from skystill.evaluation.cost import count_flops, count_parameters, measure_cost, to_batch


class Tiny(Detector):
    """One convolution that says one place per cell."""

    family = "tiny"
    classes = ("ship", "plane")
    kind = "hbb"
    in_chans = 3

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        self.frozen = nn.BatchNorm2d(2).eval()
        self.seen = []

    def forward(self, images, targets=None):
        raise NotImplementedError

    def config(self):
        return {}

    def raw(self, images):
        self.seen.append((tuple(images.shape), self.training, float(images.max())))
        scores = self.conv(images).flatten(2).mT.sigmoid()
        return scores, torch.tensor([0.0, 0, 4, 4]).expand(len(images), scores.shape[1], 4)


def test_flops_count_a_multiply_add_as_two():
    image = torch.zeros(1, 8, 10, 12)
    cells = 10 * 12
    assert count_flops(nn.Conv2d(8, 16, 3, padding=1), image) == 2 * cells * 16 * 8 * 9
    assert count_flops(nn.Conv2d(8, 8, 3, padding=1, groups=8), image) == 2 * cells * 8 * 9
    assert count_flops(nn.Conv2d(8, 16, 3, padding=1, groups=4), image) == 2 * cells * 16 * 2 * 9
    assert count_flops(nn.Conv2d(8, 8, 3, padding=1, stride=2), image) == 2 * (5 * 6) * 8 * 8 * 9
    assert count_flops(lambda x: nn.functional.linear(x[0, :, :, 0].T, torch.zeros(5, 8)), image) == 2 * 10 * 8 * 5


def test_flops_of_a_deformable_convolution_are_those_of_a_plain_one():
    image, weight, offset = torch.zeros(1, 4, 8, 8), torch.zeros(6, 4, 3, 3), torch.zeros(1, 18, 8, 8)
    flops = count_flops(lambda x: torchvision.ops.deform_conv2d(x, offset, weight, padding=1), image)
    assert flops == count_flops(nn.Conv2d(4, 6, 3, padding=1), image)


def test_shared_weights_count_once_and_buffers_do_not():
    shared = nn.Linear(3, 5)
    assert count_parameters(nn.Sequential(shared, nn.BatchNorm1d(5), nn.Identity(), shared)) == 20 + 10


def test_to_batch():
    image = np.zeros((2, 3, 4), dtype=np.uint8)
    image[1, 2, 3] = 255
    batch = to_batch(image, "cpu")
    assert (batch.shape, batch.dtype, float(batch[0, 3, 1, 2]), float(batch.sum())) == (
        (1, 4, 2, 3),
        torch.float32,
        1,
        1,
    )


def test_cost_of_a_known_detector():
    detector = Tiny().train()
    detector.frozen.eval()
    image = np.full((16, 20, 3), 255, dtype=np.uint8)
    result = measure_cost(detector, image, Selection(score=0.99), runs=4, warmup=1)
    assert result.parameters == 54 + 4
    assert result.gflops == pytest.approx(2 * 16 * 20 * 54 / 1e9)
    assert (result.height, result.width, result.runs, result.device) == (16, 20, 4, "cpu")
    for step in (result.pre, result.model, result.post, result.total):
        assert 0 < step.p50 <= step.p95
    assert result.total.p50 >= max(result.pre.p50, result.model.p50, result.post.p50)
    assert set(detector.seen) == {((1, 3, 16, 20), False, 1.0)}
    assert detector.training
    assert not detector.frozen.training
    again = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert again["fps"] == pytest.approx(1000 / result.total.p50)
    assert again["model"]["p95"] == result.model.p95


def test_each_step_is_timed_apart(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(cost, "_now", lambda device: next(clock) ** 2 / 1000)
    result = measure_cost(Tiny(), np.zeros((8, 8, 3), dtype=np.uint8), runs=1, warmup=0)
    # the clock shows 0, 1, 4, 9 milliseconds
    assert (result.pre.p50, result.model.p50, result.post.p50, result.total.p50) == pytest.approx((1, 3, 5, 9))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries give freed memory back themselves")
def test_memory_counts_a_run_that_reuses_what_was_freed_before() -> None:
    for _ in range(2):  # the first makes glibc take such blocks from its heap from now on
        freed = [torch.ones(2**16) for _ in range(256)]
        above = torch.ones(2**16)
        del freed
    peak = cost._peak_memory(lambda: [torch.ones(2**16) for _ in range(256)], nn.Identity(), torch.device("cpu"))
    assert peak / 2**20 == pytest.approx(64, rel=0.1)
    assert above[0] == 1


@pytest.mark.skipif(math.isnan(cost._peak_memory(lambda: None, nn.Identity(), torch.device("cpu"))), reason="no /proc")
def test_memory_holds_weights_and_the_peak_of_a_run():
    weights = nn.Linear(1024, 1024, bias=False)  # 4 MiB
    peak = cost._peak_memory(lambda: torch.ones(64, 1024, 1024).sum(), weights, torch.device("cpu")) / 2**20
    assert 4 + 250 < peak < 4 + 300


@pytest.mark.parametrize("disturbed", [0.0, 900.0])
def test_one_disturbed_run_does_not_move_the_peak(monkeypatch, disturbed):
    growths = iter([300.0, 310.0, disturbed, 290.0, 305.0])
    monkeypatch.setattr(cost, "_growth", lambda run, device: next(growths))
    peak = cost._peak_memory(lambda: None, nn.Linear(5, 1, bias=False), torch.device("cpu"))
    assert 4 * 5 + 290 < peak < 4 * 5 + 310


def test_memory_is_nan_where_the_system_does_not_tell(monkeypatch):
    def refuse(self, text):
        raise OSError

    monkeypatch.setattr(Path, "write_text", refuse)
    result = measure_cost(Tiny(), np.zeros((8, 8, 3), dtype=np.uint8), runs=1, warmup=0)
    assert math.isnan(result.memory_mib)
    assert result.as_dict()["memory_mib"] is None
