"""Small detectors and small knowledge that many tests share, on one thread, whatever cores the machine has."""

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from skystill.boxes.obb import le90
from skystill.detectors.gfl import GFL, GFLConfig
from skystill.kinds import BoxKind
from skystill.structures import Dense, Knowledge, Targets
from skystill.testing import scenes

torch.set_num_threads(1)

# ultralytics keeps its settings apart from the user's, asks no name server, and installs nothing.
_SETTINGS = tempfile.TemporaryDirectory(prefix="skystill-ultralytics-")
os.environ |= {"YOLO_CONFIG_DIR": _SETTINGS.name, "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_VERBOSE": "0"}

CLASSES = ("ship", "plane", "car")


@pytest.fixture
def make_gfl() -> Callable[..., GFL]:
    """make_gfl(seed=0, classes=..., **fields of GFLConfig): a detector that takes milliseconds, in eval mode."""

    def make(seed: int = 0, classes: Sequence[str] = CLASSES, **fields: Any) -> GFL:
        small: dict[str, Any] = {
            "backbone": "mobilenetv3_small_050",
            "levels": (3, 5),
            "neck_channels": 32,
            "head_channels": 32,
            "head_depth": 1,
            "convs": "depthwise",
            "norm": "bn",
        }
        torch.manual_seed(seed)
        return GFL(classes, GFLConfig(**(small | fields))).eval()

    return make


@pytest.fixture
def cells() -> Callable[..., Tensor]:
    """cells(side, stride, scale=8): square anchors (n, 4) of one level of a square image, by two plain loops."""

    def make(side: int, stride: int, scale: float = 8.0) -> Tensor:
        rows = []
        for y in range(side // stride):
            for x in range(side // stride):
                cx, cy, half = (x + 0.5) * stride, (y + 0.5) * stride, scale * stride / 2
                rows.append([cx - half, cy - half, cx + half, cy + half])
        return torch.tensor(rows)

    return make


@pytest.fixture
def make_dense(cells: Callable[..., Tensor]) -> Callable[..., Dense]:
    """make_dense(seed, batch, classes, side, strides, bins, kind): random predictions on a real grid."""

    def make(
        seed: int,
        batch: int = 2,
        classes: int = 3,
        side: int = 64,
        strides: Sequence[int] = (8, 16, 32),
        bins: int = 17,
        kind: BoxKind = "hbb",
    ) -> Dense:
        gen = torch.Generator().manual_seed(seed)
        grids = [cells(side, s) for s in strides]
        places = torch.cat(grids)
        n = len(places)
        centre = (places[:, :2] + places[:, 2:]) / 2
        reach = torch.rand(batch, n, 4, generator=gen) * 24 + 1
        boxes = torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], -1)
        logits = torch.randn(batch, n, classes, generator=gen) * 2 - 1
        edges = torch.randn(batch, n, 4 if kind == "hbb" else 5, bins, generator=gen) * 2
        if kind == "obb":
            theta = torch.rand(batch, n, 1, generator=gen) * math.pi
            boxes = le90(torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, reach[..., :2], theta], -1))
        return Dense(logits, boxes, edges, places, tuple(len(g) for g in grids))

    return make


@pytest.fixture
def make_knowledge(make_dense: Callable[..., Dense]) -> Callable[..., Knowledge]:
    """make_knowledge(seed, channels=8, batch=2, side=64, strides=(8, 16, 32), kind="hbb"): random features and
    predictions."""

    def make(
        seed: int,
        channels: int = 8,
        batch: int = 2,
        side: int = 64,
        strides: Sequence[int] = (8, 16, 32),
        kind: BoxKind = "hbb",
    ) -> Knowledge:
        gen = torch.Generator().manual_seed(seed + 1000)
        pyramid = tuple(torch.randn(batch, channels, side // s, side // s, generator=gen) for s in strides)
        return Knowledge(pyramid, tuple(strides), make_dense(seed, batch, side=side, strides=strides, kind=kind))

    return make


@pytest.fixture
def two_images() -> list[Targets]:
    """Truth for two 64 px images: three objects of different size, then one."""
    return [
        Targets(
            torch.tensor([[4.0, 6.0, 40.0, 37.0], [30.0, 28.0, 61.0, 63.0], [50.0, 3.0, 58.0, 12.0]]),
            torch.tensor([0, 1, 2]),
            name="first",
        ),
        Targets(torch.tensor([[13.0, 9.0, 34.0, 45.0]]), torch.tensor([1]), name="second"),
    ]


@pytest.fixture
def two_turned_images() -> list[Targets]:
    """The same of oriented boxes: a long one, a square and a small one near the seam of the angle; then one."""
    return [
        Targets(
            torch.tensor([[20.0, 22.0, 42.0, 13.0, 0.6], [45.0, 46.0, 24.0, 24.0, 0.3], [54.0, 8.0, 12.0, 7.0, 1.57]]),
            torch.tensor([0, 1, 2]),
            name="first",
        ),
        Targets(torch.tensor([[24.0, 27.0, 36.0, 20.0, -1.5]]), torch.tensor([1]), name="second"),
    ]


@pytest.fixture
def odd_truths() -> dict[str, Targets]:
    """The truths that break detectors, each for one 64 px image."""
    return scenes.odd_truths(len(CLASSES), (64, 64))
