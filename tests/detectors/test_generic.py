"""Any module as a detector, by the names of its layers."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import skystill
from skystill.boxes.nms import Selection
from skystill.errors import ConfigError
from skystill.structures import Detections, Targets

MakeDetector = Callable[..., skystill.Detector]
Scene = tuple[Tensor, list[Targets]]


class Net(nn.Module):
    """Layers that a user may name rightly or wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 6, 3, 2, 1))
        self.unused = nn.Identity()
        self.pair = nn.MaxPool2d(2, return_indices=True)
        self.head = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.body(images)
        self.pair(x)
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def nothing(model: nn.Module, images: Tensor) -> list[Detections]:
    model(images)
    empty = torch.zeros(0)
    return [Detections(empty.view(0, 4), empty, empty.long()) for _ in images]


def test_forward_shows_what_the_layers_gave(make_detector: MakeDetector, scene: Scene) -> None:
    images, targets = scene
    detector = make_detector("generic").eval()
    output = detector(images)
    assert output.knowledge.strides == (8, 16, 32)
    x = detector.model.body.stem(images)  # type: ignore[union-attr]
    for level, layer in zip(output.knowledge.pyramid, ("layer1", "layer2", "layer3"), strict=True):
        x = detector.model.body.get_submodule(layer)(x)  # type: ignore[union-attr]
        assert torch.equal(level, x)
    assert output.losses == {}
    assert output.knowledge.detections is output.detections
    losses = detector(images, targets).losses
    assert losses.keys() == {"count"}
    assert losses["count"].requires_grad


def test_layers_are_ordered_by_stride_whatever_the_order_of_names() -> None:
    detector = skystill.wrap(Net(), ["a", "b"], features={"body.1": 8, "body.0": 4}, predict=nothing)
    knowledge = detector(torch.rand(1, 3, 64, 64)).knowledge
    assert knowledge.strides == (4, 8)
    assert [p.shape[1] for p in knowledge.pyramid] == [4, 6]


def test_predict_keeps_the_threshold_and_the_longest_list(make_detector: MakeDetector, scene: Scene) -> None:
    detector = make_detector("generic").eval()
    (every, _) = detector.predict(scene[0], Selection(score=0.0))
    assert len(every) == 1
    assert len(detector.predict(scene[0], Selection(score=1.0))[0]) == 0
    assert len(detector.predict(scene[0], Selection(score=0.0, keep=0))[0]) == 0
    scores, boxes = detector.raw(scene[0])
    assert scores.shape == (2, 1, 3)
    assert float(scores[0].max()) == float(every.scores[0])
    assert torch.equal(boxes[0], every.boxes)


def test_no_hook_stays_behind(make_detector: MakeDetector, scene: Scene) -> None:
    detector = make_detector("generic")
    detector(*scene)
    assert not any(m._forward_hooks for m in detector.modules())
    again = copy.deepcopy(detector)
    assert torch.equal(again(*scene).losses["count"], detector(*scene).losses["count"])
    torch.save(detector.model.state_dict(), io.BytesIO())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, r"features is {}. Give layers with their strides"),
        ({"bodi.1": 8}, "Net has no layer 'bodi.1'. Near names are body.1"),
        ({"unused": 8}, "'unused' ran 0 times"),
        ({"head": 8}, r"'head' gives \[1, 2\]. Name one that gives maps"),
        ({"pair": 16}, "'pair' gives tuple"),
        ({"body.1": 16}, "'body.1' has 8 rows for 64 px, and stride 16 makes 4. Its stride is about 8"),
    ],
)
def test_a_wrong_layer_is_told(features: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        skystill.wrap(Net(), ["a", "b"], features=features, predict=nothing)(torch.rand(1, 3, 64, 64))
    assert "\n" not in str(caught.value)


def test_without_a_loss_it_can_only_teach(make_detector: MakeDetector, scene: Scene) -> None:
    teacher = skystill.wrap(Net(), ["ship", "plane", "car"], features={"body.1": 8}, predict=nothing)
    with pytest.raises(ConfigError, match=r"can only teach. Give wrap\(loss"):
        teacher(*scene)
    student = make_detector("fcos")
    losses = skystill.Distiller(student, teacher, skystill.LTD(sem=0, loc=0))(*scene)
    assert losses["ccd"].isfinite()


def test_what_it_cannot_do_is_told_in_one_line(make_detector: MakeDetector, tmp_path: object) -> None:
    detector = make_detector("generic")
    with pytest.raises(ConfigError, match=r"wrapped Counter cannot be built again.*model\.state_dict"):
        skystill.save(detector, f"{tmp_path}/x.safetensors")
    with pytest.raises(ConfigError, match=r"layers of the student but not its head. Use .*ltd with sem 0") as caught:
        skystill.Distiller(detector, make_detector("gfl"), skystill.LTD())
    assert "\n" not in str(caught.value)
