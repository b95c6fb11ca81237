"""What is said of a file of predictions, from what its images tell."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from skystill.data.dataset import DetectionDataset
from skystill.distillation.hearing import hearings
from skystill.distillation.predictions import PredictionsTeacher
from skystill.doctor import predictions
from skystill.structures import Detections, Targets

BOXES = torch.tensor([[10.0, 10, 50, 40], [60, 60, 90, 90]])
TEACHER = PredictionsTeacher("found.json", ("ship",))


def found(shift: float, count: int = 2) -> Detections:
    return Detections(BOXES[:count] + shift, torch.full((count,), 0.9), torch.zeros(count, dtype=torch.int64))


def patient(*images: Detections, labelled: int = 99, objects: int = 2) -> Any:
    """Images that hold two objects each, and what was told of them."""
    truths = [
        Targets(BOXES[:objects], torch.zeros(objects, dtype=torch.int64), labelled=i < labelled, told=seen)
        for i, seen in enumerate(images)
    ]
    data = object.__new__(DetectionDataset)
    data._targets = truths
    return SimpleNamespace(
        data=SimpleNamespace(datasets={"train": data}, classes=("ship",)),
        recipe=SimpleNamespace(trainer=SimpleNamespace(max_dets=100)),
        hearings=hearings((("ship",), "hbb"), [(("ship",), "hbb")], None, []),
    )


def test_images_in_which_nothing_was_found_are_counted() -> None:
    said = predictions.coverage(patient(found(0), found(0), found(0, 0)), TEACHER)
    assert (said.state, said.says) == ("green", "found.json: 4 detections in 2 of 3 training images, nothing in 1")
    said = predictions.coverage(patient(found(0), found(0, 0), found(0, 0)), TEACHER)
    assert said.state == "yellow"
    assert "nothing in the other 2. Is it of all of these images?" in said.says


@pytest.mark.parametrize(("shift", "state", "ap"), [(0.0, "green", "AP 100.0"), (25.0, "yellow", "AP 0.0")])
def test_boxes_are_held_against_the_truth_of_labelled_images(shift: float, state: str, ap: str) -> None:
    said = predictions.accuracy(patient(found(shift), found(shift), found(300), labelled=2), 0, TEACHER)
    assert said.state == state
    assert f"found.json: {ap}, " in said.says
    assert "on 2 train images" in said.says


def test_without_objects_nothing_is_judged() -> None:
    said = predictions.accuracy(patient(found(0), objects=0), 0, TEACHER)
    assert (said.state, "was not judged" in said.says) == ("yellow", True)


def test_scores_that_are_none_are_told() -> None:
    silent = Detections(BOXES, torch.full((2,), 0.01), torch.zeros(2, dtype=torch.int64))
    said = predictions.accuracy(patient(silent, silent), 0, TEACHER)
    assert (said.state, "no detection scores 0.05 or more" in said.says) == ("red", True)


def test_boxes_that_are_nowhere_right_in_many_images_are_refused() -> None:
    said = predictions.accuracy(patient(*[found(25.0)] * 10), 0, TEACHER)
    assert (said.state, "hardly anything right. Are its boxes" in said.says) == ("red", True)
