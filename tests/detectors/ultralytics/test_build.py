"""YOLOs by name, files of them, and what is refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import skystill
from skystill.detectors.ultralytics import PRESETS, UltralyticsConfig
from skystill.detectors.weights import create, load, read_header, save
from skystill.errors import ConfigError

MakeModel = Callable[..., nn.Module]


def test_a_preset_is_what_ultralytics_builds_and_its_file_loads(tmp_path: Path) -> None:
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    for preset in ("ul_yolo11n", "ul_yolo26n"):
        torch.manual_seed(0)
        detector = create(preset, ["ship", "plane"]).eval()
        torch.manual_seed(0)
        theirs = tasks.DetectionModel(f"{PRESETS[preset].model}.yaml", nc=2, verbose=False).eval()
        assert repr(theirs) == repr(detector.model)
        assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in detector.model.state_dict().items())  # type: ignore[union-attr, operator]
        path = save(detector, tmp_path / "m.safetensors")
        assert read_header(path)["config"] == {"model": PRESETS[preset].model, "in_chans": 3, "end2end": False}
        again, image = load(path), torch.rand(1, 3, 96, 64)
        assert again.classes == ("ship", "plane")
        for a, b in zip(again.raw(image), detector.raw(image), strict=True):
            assert torch.equal(a, b)


def test_a_wrapped_model_is_saved_by_the_name_that_ultralytics_gave_it(tmp_path: Path) -> None:
    yolo = pytest.importorskip("ultralytics").YOLO("yolo26n.yaml")
    classes = [f"kind {i}" for i in range(80)]
    detector = skystill.wrap(yolo, classes)
    assert list(yolo.names.values()) == classes
    yolo.model.end2end = True
    again = load(save(detector, tmp_path / "m.safetensors"))
    assert again.config() == {"model": "yolo26n", "in_chans": 3, "end2end": True}
    assert not again.nms


def test_a_preset_takes_other_bands_and_another_model() -> None:
    pytest.importorskip("ultralytics")
    detector = create("ul_yolo11n", ["ship"], in_chans=1, model="yolo26n-p2", end2end=True).eval()
    assert detector(torch.rand(1, 1, 64, 64)).knowledge.strides == (4, 8, 16, 32)
    assert not detector.nms
    with pytest.raises(ConfigError, match="3 bands but the detector takes 1"):
        detector(torch.rand(1, 3, 64, 64))


def test_a_model_of_ones_own_is_not_written_to_a_file(make_model: MakeModel, tmp_path: Path) -> None:
    detector = skystill.wrap(make_model("yolo11"), ("ship", "plane", "car"))
    with pytest.raises(ConfigError, match=r"none that ultralytics ships.*own format instead"):
        save(detector, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "/tmp/evil"}, "'/tmp/evil' is unknown; choose"),
        ({"model": "yolo11"}, "'yolo11' is unknown"),
        ({"model": "yolo11n-seg"}, "'yolo11n-seg' is unknown"),
        ({"model": "yolo11n", "end2end": True}, "yolo11n has no one-to-one head"),
    ],
)
def test_names_and_combinations_that_do_not_exist(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        UltralyticsConfig(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_cannot_be_wrapped_is_told_in_one_line(make_model: MakeModel) -> None:
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    three, model = ["a", "b", "c"], make_model("yolo11")
    named = make_model("yolo11")
    named.names = {0: "ship", 1: "plane", 2: "car"}  # type: ignore[assignment]
    absent = create("ul_yolo11n", three).model
    for wrong, classes, message in (
        (tasks.SegmentationModel("yolo11n-seg.yaml", nc=3, verbose=False), three, "SegmentationModel is no detect"),
        (tasks.PoseModel("yolo11n-pose.yaml", nc=3, verbose=False), three, "PoseModel is no detect model"),
        (tasks.OBBModel("yolo26n-obb.yaml", nc=3, verbose=False), three, "OBBModel is no detect model"),
        (tasks.ClassificationModel("yolo11n-cls.yaml", nc=3, verbose=False), three, "ClassificationModel is no"),
        (model, ["a", "b"], r"2 classes do not fit a head of 3.*DetectionModel\('yolo11n.yaml', nc=2\)"),
        (named, ["plane", "ship", "car"], "class 0 'ship', and classes says 'plane'"),
        (absent.fuse(verbose=False), three, "was fused for inference"),  # type: ignore[union-attr, operator]
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            skystill.wrap(wrong, classes)
        assert "\n" not in str(caught.value)
    assert named.names == {0: "ship", 1: "plane", 2: "car"}
    with pytest.raises(ConfigError, match="upright boxes"):
        skystill.wrap(model, three, kind="obb")


def test_a_batch_too_small_for_batch_norm_is_told(make_model: MakeModel) -> None:
    detector = skystill.wrap(make_model("yolo11"), ("a", "b", "c")).train()
    with pytest.raises(ConfigError, match=r"1 image of 32 x 32 px\. Give a batch of 2 or more") as caught:
        detector(torch.rand(1, 3, 32, 32))
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ultralytics", "ultralytics.nn.tasks"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'skystill\[ultralytics\]'") as caught:
        create("ul_yolo11n", ["ship"])
    assert "\n" not in str(caught.value)


def test_a_preset_needs_no_network_writes_nothing_here_and_leaves_the_environment(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    (tmp_path / "here").mkdir()
    code = (
        "import os, socket\n"
        "def refuse(*_): raise RuntimeError('network')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "import skystill\n"
        "before = dict(os.environ)\n"
        "detector = skystill.create('ul_yolo11n', ['ship'])\n"
        "assert dict(os.environ) == before\n"
        "print(detector.strides)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "YOLO_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "here", env=environment, capture_output=True, text=True
    )
    assert done.stdout.endswith("(8, 16, 32)\n"), done.stderr
    assert not list((tmp_path / "here").iterdir())
