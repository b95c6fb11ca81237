"""wrap finds the family of a model, and says what it lacks."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models import detection, resnet18

import skystill
from skystill.detectors.torchvision import TorchvisionDetector
from skystill.errors import ConfigError

MakeModel = Callable[..., nn.Module]


def test_a_subclass_is_of_its_parents_family(make_model: MakeModel) -> None:
    class Mine(detection.FCOS):  # type: ignore[misc]
        """As users derive."""

    model = make_model("fcos")
    model.__class__ = Mine
    detector = skystill.wrap(model, classes=["a", "b", "c"])
    assert isinstance(detector, TorchvisionDetector)
    assert detector.classes == ("a", "b", "c")
    assert detector.model is model


def test_what_cannot_be_wrapped_is_told_in_one_line(make_model: MakeModel) -> None:
    fcos = make_model("fcos")
    for model, arguments, message in (
        (resnet18(), {}, r"torchvision\.models\.resnet\.ResNet is of no family.*features"),
        (nn.Linear(1, 1), {}, "Linear is of no family"),
        (fcos, {"kind": "obb"}, "upright boxes"),
        (fcos, {"classes": "ship"}, "Give a list of names"),
        (fcos, {"classes": []}, "Give a list of names"),
        (fcos, {"features": {"backbone": 8}}, "features without predict"),
        (skystill.wrap(fcos, ["a", "b", "c"]), {}, "is a skystill detector already"),
        (fcos, {"classes": ["__background__", "a", "b"]}, r"names the background, .*Give a, b\."),
        (detection.fcos_resnet50_fpn, {}, "fcos_resnet50_fpn is what builds a model. Call it"),
        (detection.FCOS, {}, "FCOS is what builds a model"),
        (nn.DataParallel(fcos), {}, r"DataParallel is around the model\..*model\.module"),
        (torch.compile(fcos), {}, r"is around the model\..*model\._orig_mod"),
        ("yolo11n.pt", {}, "yolo11n.pt: a path is no model. Load the model first"),
        (Path("y.onnx"), {}, "y.onnx: a path is no model. A recipe's teacher.weights takes ONNX files"),
        (SimpleNamespace(predict=len, classes=()), {}, r"teaches as a function: wrap\(detector\.predict"),
        (3, {}, "a int is no torch.nn.Module"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            skystill.wrap(model, **({"classes": ["a", "b", "c"]} | arguments))  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
