"""A function as a teacher: it teaches every student by what it finds, and by nothing else."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import skystill
from skystill.boxes.nms import Selection
from skystill.detectors.blackbox import BlackBox
from skystill.distillation.methods import make_method
from skystill.errors import ConfigError
from skystill.structures import Detections, Targets

CLASSES = ("ship", "plane", "car")
MakeDetector = Callable[..., skystill.Detector]
Scene = tuple[Tensor, list[Targets]]
FOUND = Detections(
    torch.tensor([[5.0, 7, 39, 36], [32, 27, 60, 62], [0, 0, 9, 9]]),
    torch.tensor([0.9, 0.7, 0.1]),
    torch.tensor([0, 1, 2]),
)
NONE = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def oracle(images: Tensor) -> list[Detections]:
    """Finds the same in every image but the last."""
    return [FOUND] * (len(images) - 1) + [NONE]


@pytest.mark.parametrize("student", ["gfl", "ssdlite", "fasterrcnn", "rtdetr", "detr"])
def test_it_teaches_every_student(make_detector: MakeDetector, scene: Scene, student: str) -> None:
    if student in ("rtdetr", "detr"):
        pytest.importorskip("transformers")
    images, targets = scene
    pupil = make_detector(student)
    own = set(pupil(images, targets).losses)
    distiller = skystill.Distiller(pupil, skystill.wrap(oracle, CLASSES), skystill.LTD(ccd=0))
    losses = distiller(images, targets)
    second = {"roi_sem", "roi_loc"} if student == "fasterrcnn" else set()
    assert set(losses) == own | {"sem", "loc"} | second
    assert losses["sem"] > 0
    assert losses["loc"] > 0
    before = torch.stack([losses["sem"], losses["loc"]]).sum()
    optimizer = torch.optim.AdamW(distiller.parameters(), 2e-3)
    for _ in range(14):
        optimizer.zero_grad()
        terms = distiller(images, targets)
        torch.stack([terms["sem"], terms["loc"]]).sum().backward()
        optimizer.step()
    assert torch.stack([terms["sem"], terms["loc"]]).sum() < before


def test_peers_that_compare_predictions_take_it_too(make_detector: MakeDetector, scene: Scene) -> None:
    distiller = skystill.Distiller(make_detector("gfl"), skystill.wrap(oracle, CLASSES), make_method("bckd"))
    assert distiller(*scene)["bckd_sem"] > 0


@pytest.mark.parametrize("method", ["ltd", "pkd", "ltd_released", "pkd+bckd"])
def test_methods_that_compare_features_are_refused(make_detector: MakeDetector, method: str) -> None:
    with pytest.raises(ConfigError, match="black box without features") as caught:
        skystill.Distiller(make_detector("gfl"), skystill.wrap(oracle, CLASSES), make_method(method))
    assert "\n" not in str(caught.value)


def test_it_is_measured_as_any_detector() -> None:
    teacher = skystill.wrap(oracle, CLASSES)
    images = torch.rand(2, 3, 64, 64)
    found = teacher.predict(images, Selection(score=0.05, keep=2))
    assert torch.equal(found[0].boxes, FOUND.boxes[:2])
    assert len(found[1]) == 0
    scores, boxes = teacher.raw(images)
    assert scores.shape == (2, 3, 3)
    assert torch.equal(scores[0].amax(1), FOUND.scores)
    assert torch.equal(boxes[0], FOUND.boxes)
    assert scores[1].sum() == 0


def test_refusals_are_one_line(make_detector: MakeDetector, scene: Scene) -> None:
    images, targets = scene
    wrong_label = Detections(FOUND.boxes, FOUND.scores, FOUND.labels + 1)
    oriented = Detections(torch.zeros(1, 5), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    for call, word in (
        (lambda: skystill.wrap(oracle, CLASSES)(images, targets), "only teach"),
        (lambda: skystill.wrap(lambda images: [FOUND], CLASSES).predict(images), "1 answers to 2 images"),
        (lambda: skystill.wrap(lambda images: [(1, 2)] * 2, CLASSES).predict(images), "gave a list of tuple; give"),
        (lambda: skystill.wrap(lambda images: [wrong_label] * 2, CLASSES).predict(images), "beyond its 3 classes"),
        (lambda: skystill.wrap(lambda images: [oriented] * 2, CLASSES).predict(images), "hbb ones are"),
        (lambda: skystill.wrap(oracle, CLASSES).config(), "built again"),
        (lambda: skystill.wrap(3, CLASSES), "no torch.nn.Module"),  # type: ignore[arg-type]
        (lambda: skystill.wrap(oracle, CLASSES, features={"a": 8}), "no layers"),
        (lambda: skystill.Distiller(skystill.wrap(oracle, CLASSES), make_detector("gfl"), skystill.LTD()), "black box"),
    ):
        with pytest.raises(ConfigError, match=word) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_best_are_kept_in_whatever_order_a_function_gives_them() -> None:
    backwards = Detections(FOUND.boxes.flip(0), FOUND.scores.flip(0), FOUND.labels.flip(0))
    box = skystill.wrap(lambda images: [backwards] * len(images), CLASSES)
    found = box.predict(torch.rand(1, 3, 64, 64), Selection(score=0.05, keep=2))[0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.labels.tolist() == [0, 1]


def test_smaller_images_are_padded_to_the_one_size_that_it_takes() -> None:
    seen: list[Tensor] = []

    def fixed(images: Tensor) -> list[Detections]:
        seen.append(images)
        return [FOUND] * len(images)

    box = BlackBox(fixed, CLASSES, size=(64, 96))
    assert len(box.found(torch.ones(1, 3, 32, 64))[0]) == 3
    assert seen[0].shape == (1, 3, 64, 96)
    assert seen[0].sum() == 3 * 32 * 64
    with pytest.raises(ConfigError, match=r"images of 64x96 pixels at most, not 96x96\. Set data\.crop: 64"):
        box.found(torch.ones(1, 3, 96, 96))
