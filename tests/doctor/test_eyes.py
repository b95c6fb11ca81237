"""A teacher that sees only what it was trained on."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skystill.boxes.nms import Selection
from skystill.distillation.hearing import hearings
from skystill.doctor import eyes
from skystill.doctor.eyes import Sight
from skystill.structures import Batch, Detections, Targets

BOXES = torch.tensor([[4.0, 4, 20, 20], [30, 30, 60, 50]])


class Picky:
    """Finds the objects in images that pass its test, and nothing in others."""

    classes, in_chans = ("ship",), 3

    def __init__(self, likes: Callable[[Tensor], bool]) -> None:
        self.likes = likes
        self.scale = 1.0

    def eval(self) -> "Picky":
        return self

    def predict(self, images: Tensor, how: Selection) -> list[Detections]:
        boxes = BOXES * self.scale if self.likes(images) else BOXES[:0]
        return [Detections(boxes, torch.ones(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64))]


def batches(count: int = 3, boxes: Tensor = BOXES) -> list[Batch]:
    """Images whose bands differ: red is bright."""
    images = torch.full((1, 3, 64, 64), 0.5)
    images[:, 0], images[:, 2] = 0.9, 0.1
    truth = Targets(boxes, torch.zeros(len(boxes), dtype=torch.int64), name="a.png")
    return [Batch(images, [truth], [(64, 64)]) for _ in range(count)]


def patient(teacher: Picky, noted: float | None = None, monkeypatch: Any = None) -> Any:
    recipe = SimpleNamespace(
        teacher=SimpleNamespace(weights=["t.safetensors"], scale=teacher.scale),
        trainer=SimpleNamespace(max_dets=100),
    )
    if monkeypatch is not None:
        notes = {} if noted is None else {"val": {"ap": noted}}
        monkeypatch.setattr(eyes, "notes_of", lambda path: notes)
    return SimpleNamespace(
        recipe=recipe,
        teachers=[teacher],
        student=teacher,
        hearings=hearings((("ship",), "hbb"), [(("ship",), "hbb")], None, []),
        judge=("val", range(40)),
        window=None,
    )


@pytest.mark.parametrize(
    ("likes", "name"),
    [
        (lambda x: x.max() > 1 and x.min() >= 0, "values in 0..255"),
        (lambda x: x.min() < 0 and x.min() >= -1 and x.max() <= 1, "values in -1..1"),
        (lambda x: x.min() >= 0 and x.max() <= 1 and x[:, 2].mean() > x[:, 0].mean(), "bands in reverse order"),
        (lambda x: x.min() < -1, "ImageNet's mean and deviation taken out"),
    ],
)
def test_the_form_that_fits_is_told(likes: Callable[[Tensor], bool], name: str) -> None:
    teacher = Picky(likes)
    whole = patient(teacher)
    sight = eyes.see(whole, 0, batches())
    assert sight == Sight(0.0, 0.0, 6, 0)
    found = eyes.taste(whole, 0, sight, batches())
    assert found.state == "red"
    assert f"AP50 0.0 on bands as they come in 0..1, 100.0 with {name}" in found.says


@pytest.mark.parametrize(
    ("straight", "reverse", "state"),
    [
        (72.3, 87.8, "red"),  # not 1.25 times as good, but less than half of what was missing is left
        (41.7, 60.7, "red"),
        (6.0, 9.5, "red"),
        (60.0, 66.0, "yellow"),
        (60.0, 62.9, "green"),
    ],
)
def test_a_form_that_is_ahead_is_never_said_to_fit_less(
    straight: float, reverse: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eyes, "see", lambda patient, number, few, change: Sight(0.0, reverse, 99))
    said = eyes.taste(patient(Picky(bool)), 0, Sight(0.0, straight, 99), batches())
    assert said.state == state
    assert f"{straight:.1f}" in said.says
    assert f"{reverse:.1f}" in said.says


@pytest.mark.parametrize(
    ("matrix", "calls"),
    [
        ([[1, 9, 0, 0], [8, 2, 0, 5], [0, 0, 9, 0], [3, 3, 3, 0]], {"ship": "boat", "boat": "ship"}),
        ([[0, 9, 0, 0], [0, 0, 9, 0], [9, 0, 0, 0], [0, 0, 0, 0]], {"ship": "boat", "boat": "plane", "plane": "ship"}),
        ([[1, 9, 0, 0], [2, 8, 0, 0], [0, 0, 9, 0], [0, 0, 0, 0]], {}),  # ships look like boats to it: confused
        ([[0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 9, 0], [0, 0, 0, 0]], {}),  # too few to say
        ([[9, 0, 0, 9], [0, 9, 0, 9], [0, 0, 9, 0], [9, 9, 9, 0]], {}),
    ],
)
def test_classes_that_go_by_one_anothers_names(matrix: list[list[int]], calls: dict[str, str]) -> None:
    assert eyes.misnamed(np.array(matrix), ("ship", "boat", "plane")) == calls


@pytest.mark.parametrize(("objects", "ap50", "state"), [(6, 8.8, "yellow"), (30, 8.8, "red"), (6, 88.0, "red")])
def test_few_objects_prove_no_other_form_by_chance(
    objects: int, ap50: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {True: Sight(1.0, 1.9, objects), False: Sight(3.0, ap50, objects)}
    monkeypatch.setattr(eyes, "see", lambda patient, number, sample, change=None: seen[change is None])
    assert eyes.taste(patient(Picky(lambda x: True)), 0, seen[True], batches()).state == state


def test_a_teacher_that_does_not_mind_is_left_alone() -> None:
    teacher = Picky(lambda x: True)
    whole = patient(teacher)
    sight = eyes.see(whole, 0, batches())
    assert (sight.ap, sight.ap50) == (pytest.approx(100), pytest.approx(100))
    assert eyes.taste(whole, 0, sight, batches()).state == "green"


def test_of_a_teacher_that_finds_nothing_no_form_can_be_told() -> None:
    whole = patient(Picky(lambda x: False))
    found = eyes.taste(whole, 0, eyes.see(whole, 0, batches()), batches())
    assert (found.state, "no form can be told to fit" in found.says) == ("yellow", True)


def test_grey_images_have_no_order_of_bands() -> None:
    teacher = Picky(lambda x: bool(x[:, 0].eq(0.5).all()))
    grey = [Batch(torch.full((1, 3, 64, 64), 0.5), b.targets, b.sizes) for b in batches()]
    whole = patient(teacher)
    assert "reverse" not in eyes.taste(whole, 0, eyes.see(whole, 0, grey), grey).says


def test_boxes_of_an_enlarged_image_are_told_in_the_images_pixels() -> None:
    teacher = Picky(lambda x: x.shape[-1] == 128)
    teacher.scale = 2.0
    whole = patient(teacher)
    assert eyes.see(whole, 0, batches()).ap == pytest.approx(100)


@pytest.mark.parametrize(
    ("sight", "noted", "state", "words"),
    [
        (Sight(40.0, 70.0, 9), None, "green", "AP 40.0, AP50 70.0 on 8 of 40 val images"),
        (Sight(40.0, 70.0, 9), 44.0, "green", "(saved with 44.0)"),
        (Sight(12.0, 30.0, 20), 44.0, "red", "but it was saved with AP 44.0"),
        (Sight(12.0, 30.0, 19), 44.0, "yellow", "but it was saved with AP 44.0"),
        (Sight(2.0, 6.0, 9), None, "yellow", "little to teach"),
        (Sight(0.0, 0.0, 0), 44.0, "yellow", "no object"),
        (Sight(0.0, 0.0, 9, 0), None, "red", "finds nothing at all"),
        (Sight(0.1, 0.4, 20), None, "red", "hardly anything right. Is it trained"),
        (Sight(0.1, 0.4, 19), None, "yellow", "little to teach"),
        (Sight(30.0, 50.0, 9, 9, {"ship": "boat", "boat": "ship"}), None, "red", "it calls ship boat, boat ship. Give"),
    ],
)
def test_accuracy(sight: Sight, noted: float | None, state: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = eyes.accuracy(patient(Picky(bool), noted, monkeypatch), 0, sight, 8)
    assert found.state == state
    assert words in found.says


def test_variants_are_what_they_are_called() -> None:
    x = torch.rand(2, 3, 4, 4)
    found = {name: change(x) for name, change in eyes.variants(3).items()}
    torch.testing.assert_close(found["values in 0..255"] / 255, x)
    torch.testing.assert_close((found["values in -1..1"] + 1) / 2, x)
    torch.testing.assert_close(found["bands in reverse order"][:, 0], x[:, 2])
    standard = found["ImageNet's mean and deviation taken out"]
    torch.testing.assert_close(standard[:, 1], (x[:, 1] - 0.456) / 0.224)
    assert set(eyes.variants(1)) == {"values in 0..255", "values in -1..1"}


def test_the_sample_is_spread_and_fits_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Picky(lambda x: True)
    whole = patient(teacher)
    monkeypatch.setattr(eyes, "_one", lambda patient, index: index)
    times = iter([0.0, 1.0])  # a look takes a second
    monkeypatch.setattr(eyes.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(eyes, "see", lambda *_: None)
    assert eyes.sample(whole, 0) == [0, 10, 20, 30]  # 4 at least, 5 looks at each


def test_a_teacher_of_one_size_is_shown_windows_around_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Targets(torch.tensor([[150.0, 90, 170, 110]]), torch.zeros(1, dtype=torch.int64), name="a.png")
    image = torch.rand(3, 128, 192)
    whole = patient(Picky(lambda images: True), monkeypatch=monkeypatch)
    whole.judge, whole.multiple, whole.device = ("val", [(image, truth)]), 32, torch.device("cpu")
    assert eyes._one(whole, 0).images.shape == (1, 3, 128, 192)
    whole.window = 64
    batch = eyes._one(whole, 0)
    assert batch.images.shape == (1, 3, 64, 64)
    x1, y1 = (int(v) for v in batch.targets[0].boxes[0, :2])
    assert batch.images[0, :, y1 : y1 + 20, x1 : x1 + 20].equal(image[:, 90:110, 150:170])
    assert eyes._one(whole, 0).images.equal(batch.images)
    said = eyes.accuracy(whole, 0, Sight(50.0, 60.0, 1), 1).says
    assert "on windows of 64 px of 1 of 1 val images" in said
