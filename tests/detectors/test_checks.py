"""What would train on nonsense without an error is refused in one line."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import skystill
from skystill.detectors.checks import (
    check_found,
    check_images,
    check_pixels,
    check_range,
    check_sides,
    check_targets,
    class_names,
)
from skystill.errors import ConfigError, SkystillError
from skystill.structures import Detections, Targets

MakeDetector = Callable[..., skystill.Detector]
CLASSES = ("ship", "plane")
UPRIGHT, ORIENTED = [1.0, 2.0, 9.0, 12.0], [5.0, 7.0, 8.0, 4.0, 0.3]


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(SkystillError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def truth(*boxes: Sequence[float], labels: Sequence[int] | None = None, name: str = "") -> Targets:
    return Targets(torch.tensor(boxes), torch.tensor(labels or [0] * len(boxes)), name=name)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("ship", "is 'ship'"),
        ((), "is ()"),
        (["a", "b", "a"], "names 'a' twice"),
        ([0, 1], "is [0, 1]"),
        (2, "is 2"),
        ({0: "a", 1: "b"}, "is a dict. Give its names alone"),
    ],
)
def test_names_of_classes(classes: Any, words: str) -> None:
    assert words in refused(lambda: class_names(classes))
    assert words in refused(lambda: skystill.create("gfl_mnv3s", classes))
    assert class_names(["b", "a"]) == ("b", "a")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(3, 32, 32), "(3, 32, 32); give (B, C, H, W)"),
        (torch.rand(0, 3, 32, 32), "at least one"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "torch.uint8; give floats in 0..1, e.g. images / 255"),
        (torch.rand(1, 4, 32, 32), "4 bands but the detector takes 3"),
    ],
)
def test_images(images: Tensor, words: str, make_detector: MakeDetector) -> None:
    assert words in refused(lambda: check_images(images, 3))
    detector = make_detector("gfl").eval()
    for call in (detector, detector.raw, detector.predict):
        assert words in refused(lambda call=call: call(images))  # type: ignore[misc]


def test_values_far_from_0_to_1() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert "give them in 0..1, images / 255" in refused(lambda: check_range(images * 255))
    assert "without mean and std" in refused(lambda: check_range((images - 0.45) / 0.225))
    check_range(images * 1.2 - 0.1)  # as after a photometric change


def test_sides_where_maps_must_meet(make_detector: MakeDetector) -> None:
    check_sides(torch.rand(1, 3, 64, 96), 32)
    words = "96 x 97 px and the detector takes multiples of 32"
    assert words in refused(lambda: check_sides(torch.rand(1, 3, 97, 96), 32))


@pytest.mark.parametrize(
    ("targets", "kind", "words"),
    [
        ([truth(UPRIGHT)], "hbb", "2 image(s) came with 1 of Targets"),
        ([{}, {}], "hbb", "2 image(s) came with 2 of dict"),
        ([truth(UPRIGHT), truth(UPRIGHT, [9, 2, 1, 12], name="b.png")], "hbb", "image b.png, object 1: box [9.0, 2.0"),
        ([Targets.empty(), truth([1, 2, 9, float("nan")])], "hbb", "image 1, object 0: box [1.0, 2.0, 9.0, nan]"),
        ([Targets.empty(), truth(UPRIGHT, labels=[2])], "hbb", "label 2 is none of the 2 classes"),
        ([truth(UPRIGHT, labels=[-1]), Targets.empty()], "hbb", "image 0, object 0: label -1"),
        ([truth(ORIENTED), truth([5, 7, -8, 4, 0])], "obb", "image 1, object 0: box [5.0, 7.0, -8.0"),
        ([Targets.empty(), truth(UPRIGHT, name="b.png")], "obb", "the truth of image b.png is upright"),
        ([Targets.empty(), truth(ORIENTED)], "hbb", "the truth of image 1 is oriented"),
    ],
)
def test_truth_that_does_not_fit(targets: list[Any], kind: Any, words: str) -> None:
    assert words in refused(lambda: check_targets(targets, 2, CLASSES, kind))


def test_truth_that_fits() -> None:
    check_targets([truth(UPRIGHT, labels=[1]), Targets.empty()], 2, CLASSES, "hbb")
    check_targets([truth(ORIENTED), Targets.empty(columns=4)], 2, CLASSES, "obb")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((torch.tensor([UPRIGHT]), torch.tensor([0.0])), "the labels of image 'a.png' are torch.float32"),
        ((torch.tensor([UPRIGHT]), torch.tensor([0, 1])), "1 boxes but 2 labels"),
        ((torch.tensor([UPRIGHT]), [0]), "the labels of image 'a.png' are a list; give a tensor"),
        ((torch.tensor([UPRIGHT]).numpy(), torch.tensor([0])), "boxes of image 'a.png' are a ndarray; give a tensor"),
        ((torch.tensor([UPRIGHT[:3]]), torch.tensor([0])), "are (1, 3); give (M, 4) or (M, 5)"),
        ((torch.tensor([UPRIGHT]), torch.tensor([0]), torch.zeros(2, dtype=torch.bool)), "1 boxes but 2 ignore flags"),
    ],
)
def test_what_is_no_truth_at_all(parts: tuple[Any, ...], words: str) -> None:
    assert words in refused(lambda: Targets(*parts, name="a.png"))


def test_boxes_as_shares_of_the_image_are_told_from_pixels() -> None:
    shares = truth([0.1, 0.2, 0.4, 0.5], [0.5, 0.5, 1.0, 0.9])
    assert "all 2 boxes lie within one pixel" in refused(lambda: check_pixels([Targets.empty(), shares]))
    check_pixels([shares, truth(UPRIGHT)])
    check_pixels([truth([0.0, 0.0, 0.5, 0.9])])  # a sliver at the edge of a crop
    check_pixels([Targets.empty()])


def test_images_that_do_not_meet_the_weights(make_gfl: Any) -> None:
    detector = make_gfl()
    for images, words in (
        (np.zeros((1, 3, 64, 64)), "the images are a ndarray; give a tensor"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.float64), "are torch.float64 and the detector's weights torch.float32"),
        (torch.zeros(1, 3, 64, 64, device="meta"), "the images are on meta, the detector on cpu"),
    ):
        assert words in refused(partial(detector.check, images))
        assert words in refused(partial(detector.predict, images))
    with torch.autocast("cpu", torch.bfloat16):
        detector.check(torch.zeros(1, 3, 64, 64, dtype=torch.bfloat16))


def test_predicting_moves_nothing_in_a_detector_that_trains(make_gfl: Any) -> None:
    detector = make_gfl().train()
    frozen = next(m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    detector.predict(torch.rand(2, 3, 64, 64))
    assert detector.training
    assert not frozen.training
    assert all(value.equal(before[name]) for name, value in detector.state_dict().items())


def found(
    boxes: Sequence[Sequence[float]] = (UPRIGHT,), scores: Sequence[float] = (0.5,), labels: Sequence[float] = (0,)
) -> Detections:
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (torch.zeros(1), "gave a Tensor; give a list of skystill.Detections"),
        ([(1, 2)], "gave a list of tuple;"),
        ([], "gave 0 answers to 1 images"),
        ([found([ORIENTED])], "gave boxes (1, 5); hbb ones are (x1, y1, x2, y2)"),
        ([found(scores=[0.5, 0.4])], "gave 1 boxes, scores (2,)"),
        ([found(labels=[0.0])], "labels (1,) of torch.float32"),
        ([found(labels=[2])], "a label beyond its 2 classes"),
        ([found(scores=[87.0])], "scores of 87 to 87; give them in 0..1"),
        ([found(scores=[float("nan")])], "scores of nan"),
        ([found([[9, 2, 1, 12.0]])], "gave the box [9.0, 2.0, 1.0, 12.0]"),
    ],
)
def test_answers_that_are_none(answer: Any, words: str) -> None:
    assert refused(lambda: check_found(answer, 1, CLASSES, "hbb", "the black box")).startswith("the black box gave")
    assert words in refused(lambda: check_found(answer, 1, CLASSES, "hbb", "the black box"))
    images = torch.rand(1, 3, 64, 64)
    network = torch.nn.Conv2d(3, 4, 8, 8)
    watched = skystill.wrap(torch.nn.Sequential(network), CLASSES, features={"0": 8}, predict=lambda m, i: answer)
    for detector in (skystill.wrap(lambda images: answer, CLASSES), watched):
        for call in (detector, detector.raw, detector.predict):
            assert words in refused(lambda call=call: call(images))  # type: ignore[misc]


def test_answers_that_fit() -> None:
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    check_found([found(), nothing], 2, CLASSES, "hbb", "the black box")


def test_a_distiller_looks_before_it_learns(make_detector: MakeDetector) -> None:
    student, teacher = make_detector("gfl"), make_detector("gfl")
    distiller = skystill.Distiller(student, teacher, "ltd_plus")
    images = [torch.rand(3, 64, 64)]
    assert "images is a list" in refused(lambda: distiller([], []))
    assert "1 image(s) came with 0 of nothing" in refused(lambda: distiller(images, []))
    assert "images / 255" in refused(lambda: distiller([images[0] * 255], [truth(UPRIGHT)]))
    losses = distiller(images, [truth(UPRIGHT)])
    assert all(term.isfinite() for term in losses.values())
    with pytest.raises(ConfigError, match="method 'pdk'"):
        skystill.Distiller(student, teacher, "pdk")
    with pytest.raises(ConfigError, match=r"method is 3\. Give a method"):
        skystill.Distiller(student, teacher, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"levels": 5}, "levels 5: give the first and the last"),
        ({"levels": [3]}, "levels (3,)"),
        ({"neck_channels": "64"}, "neck_channels '64': give a whole number, 1 or more."),
        ({"reg_max": 0}, "reg_max 0"),
        ({"head_depth": -1}, "head_depth -1"),
        ({"anchor_scale": 0}, "anchor_scale 0"),
    ],
)
def test_an_architecture_of_no_sense(settings: dict[str, Any], words: str) -> None:
    assert words in refused(lambda: skystill.create("gfl_mnv3s", CLASSES, **settings))
