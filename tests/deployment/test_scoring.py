"""Scoring on a split: what an exported file of one size is given, and how much of an image may be found."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import skystill
from skystill.boxes.nms import Selection, clip_to_images
from skystill.data.module import collate
from skystill.data.transforms import pad_to
from skystill.deployment.runtime import OnnxDetector
from skystill.errors import ConfigError
from skystill.structures import Detections, Targets
from skystill.training.scoring import collect

NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
IMAGE = torch.randint(0, 255, (3, 90, 150), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def data(image: Tensor = IMAGE) -> Any:
    """As much of a DataModule as scoring asks of it: one image."""
    batches = [collate([(image, Targets.empty())])]
    return SimpleNamespace(
        config=SimpleNamespace(kind="hbb"),
        classes=("ship", "plane"),
        pad_for=lambda multiple: None,
        val_dataloader=lambda: batches,
    )


def test_a_file_of_one_size_gets_smaller_images_padded_to_it(one_size: Path, dense: Path) -> None:
    found = collect(OnnxDetector(one_size), data(), "val").detections[0]
    whole = skystill.load(dense).predict(pad_to(IMAGE[None] / 255, 128, 160))
    (wanted,) = clip_to_images(whole, [(90, 150)])
    assert len(found) == len(wanted) > 0
    torch.testing.assert_close(found.boxes, wanted.boxes, atol=0.05, rtol=0)
    large = torch.zeros(3, 200, 160, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="takes 128x160 pixels"):
        collect(OnnxDetector(one_size), data(large), "val")


@pytest.mark.parametrize(("max_dets", "keep"), [(100, 500), (500, 500), (1200, 1200)])
def test_what_may_count_is_found(max_dets: int, keep: int) -> None:
    asked = []

    def predict(images: Tensor, how: Selection) -> list[Detections]:
        asked.append(how.keep)
        return [NOTHING for _ in images]

    detector: Any = SimpleNamespace(kind="hbb", classes=("ship", "plane"), multiple=32, predict=predict)
    collect(detector, data(), "val", max_dets)
    assert asked == [keep]
