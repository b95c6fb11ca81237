"""GFL with data.kind obb: the head's shapes, its file, its refusals, and a few steps that find turned objects."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from skystill.detectors.gfl import GFL
from skystill.detectors.weights import load, save
from skystill.errors import ConfigError
from skystill.evaluation.coco import evaluate_coco
from skystill.structures import Targets

BINS = 17


def test_an_oriented_detector_has_five_distributions_and_is_kept_whole(
    make_gfl: Callable[..., GFL], tmp_path: Path
) -> None:
    model = make_gfl(kind="obb")
    images = torch.rand(2, 3, 64, 96)
    dense = model(images).knowledge.dense
    assert model.kind == "obb"
    assert dense.edges.shape == (2, 126, 5, BINS)
    assert dense.boxes.shape == (2, 126, 5)
    again = load(save(model, tmp_path / "turned.safetensors"))
    assert again.kind == "obb"
    assert torch.equal(again.raw(images)[1], model.raw(images)[1])


def test_the_kind_changes_the_last_convolution_of_the_boxes_alone(make_gfl: Callable[..., GFL]) -> None:
    upright, oriented = make_gfl().state_dict(), make_gfl(kind="obb").state_dict()
    differ = {name for name in upright if upright[name].shape != oriented[name].shape}
    assert differ == {"head.reg.weight", "head.reg.bias"}
    assert upright["head.reg.weight"].shape[0] == 4 * BINS


@pytest.mark.parametrize(
    ("fields", "word"), [({"kind": "round"}, "round"), ({"kind": "obb", "reg_max": 6}, "at least 7")]
)
def test_bad_kinds_are_told_in_one_line(make_gfl: Callable[..., GFL], fields: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        make_gfl(**fields)
    assert "\n" not in str(caught.value)


def scene(boxes: Tensor, side: int = 96) -> Tensor:
    """(3, side, side): bright rectangles on dark ground."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    image = torch.full((side, side), 0.2)
    for cx, cy, w, h, theta in boxes.tolist():
        along = (x - cx) * math.cos(theta) + (y - cy) * math.sin(theta)
        across = (y - cy) * math.cos(theta) - (x - cx) * math.sin(theta)
        image[(along.abs() < w / 2) & (across.abs() < h / 2)] = 0.9
    return image.expand(3, -1, -1)


def test_a_few_steps_find_turned_objects(make_gfl: Callable[..., GFL]) -> None:
    first = torch.tensor([[30.0, 40.0, 50.0, 14.0, 1.2], [72.0, 66.0, 30.0, 16.0, -0.5]])
    second = torch.tensor([[48.0, 30.0, 60.0, 18.0, 0.4], [60.0, 74.0, 24.0, 24.0, 0.7]])
    images = torch.stack([scene(first), scene(second)])
    truth = [Targets(boxes, torch.zeros(2, dtype=torch.int64)) for boxes in (first, second)]
    model = make_gfl(classes=("bar",), kind="obb").train()
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    losses = []
    for _ in range(60):
        loss = sum(model(images, truth).losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    model.train()
    with torch.no_grad():  # in training mode: sixty steps are too few for the norms' running means
        scores = evaluate_coco(model.predict(images), truth, ("bar",))
    assert scores.ap50 > 90
    assert scores.ap75 > 50
