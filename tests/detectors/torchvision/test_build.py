"""Architectures as plain values: what torchvision's builders make, made again without them, and files of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import detection, resnet18

import skystill
from skystill.detectors.torchvision import PRESETS, TorchvisionConfig
from skystill.detectors.torchvision.build import build, recognise
from skystill.detectors.weights import create, load, read_header, save
from skystill.errors import ConfigError, WeightsError

BUILDERS = {
    "retinanet": "retinanet_resnet50_fpn",
    "retinanet_v2": "retinanet_resnet50_fpn_v2",
    "fcos": "fcos_resnet50_fpn",
    "fasterrcnn": "fasterrcnn_resnet50_fpn",
    "fasterrcnn_v2": "fasterrcnn_resnet50_fpn_v2",
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_is_what_torchvisions_builder_makes(name: str) -> None:
    with torch.device("meta"):
        ours = build(TorchvisionConfig(name), 5)  # type: ignore[arg-type]
        theirs = getattr(detection, BUILDERS[name])(weights=None, weights_backbone=None, num_classes=5)
    assert repr(ours) == repr(theirs)  # every layer with its sizes, in order, and the normalisation
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    generators = [getattr(m, "rpn", m).anchor_generator for m in (ours, theirs)]
    assert generators[0].sizes == generators[1].sizes


def test_a_pretrained_kind_of_model_is_recognised() -> None:
    wanted = TorchvisionConfig("fcos", "resnet18", frozen_norms=0.0, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    with torch.device("meta"):
        found = recognise(build(wanted, 4))
    assert found == wanted


def test_what_is_loaded_detects_what_was_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    path = save(skystill.wrap(own, ["ship", "plane"]), tmp_path / "m.safetensors")
    assert read_header(path)["family"] == "torchvision"
    assert read_header(path)["config"]["model"] == "ssdlite"
    again = load(path)
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        for a, b in zip(again.raw(image), skystill.wrap(own, ["ship", "plane"]).raw(image), strict=True):
            assert torch.equal(a, b)
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in own.state_dict().items())  # type: ignore[union-attr,operator]


def test_a_preset_takes_other_bands_and_settings() -> None:
    detector = create("tv_ssdlite", ["ship"], in_chans=1, mean=[0.4], std=[0.2]).eval()
    assert detector.in_chans == 1
    assert detector.model.transform.image_mean == [0.4]  # type: ignore[union-attr]
    assert detector.raw(torch.rand(1, 1, 96, 96))[0].shape[2] == 1
    assert isinstance(detector.get_submodule("backbone"), nn.Module)


def test_a_model_of_ones_own_is_not_written_to_a_file(make_model: Callable[..., nn.Module], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none that torchvision's builders make.*model\.state_dict") as caught:
        save(skystill.wrap(make_model("ssdlite"), ("a", "b", "c")), tmp_path / "m.safetensors")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "ssdlite", "backbone": "resnet18"}, "ssdlite has its own, mobilenet_v3_large"),
        ({"model": "fcos", "backbone": "resnet19"}, "'resnet19' is unknown to fcos; choose resnet18"),
        ({"model": "yolo"}, "model 'yolo' is unknown; choose retinanet"),
        ({"model": "ssd300", "background": False}, "ssd300 needs its background"),
    ],
)
def test_values_that_make_no_model_are_told(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TorchvisionConfig(**fields)  # type: ignore[arg-type]


def test_backbone_weights_that_do_not_exist_are_told() -> None:
    with pytest.raises(WeightsError, match="no package ships its weights"):
        create("tv_ssdlite", ["ship"], backbone_weights="package")


def test_a_backbone_takes_torchvisions_own_weights(tmp_path: Path) -> None:
    state = resnet18().state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    backbone = create("tv_fcos_r18", ["ship"], str(tmp_path / "resnet18.pth")).get_submodule("backbone")
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


def test_presets_differ_and_are_named_by_their_family() -> None:
    assert all(name.startswith("tv_") for name in PRESETS)
    assert len(set(PRESETS.values())) == len(PRESETS)
