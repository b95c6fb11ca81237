"""Export writes a file that detects the same and needs no other file, or one line and nothing."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import skystill
from skystill.cli import export as cli
from skystill.deployment import export as room
from skystill.deployment.export import export_onnx, proof_batches
from skystill.deployment.runtime import OnnxDetector
from skystill.detectors.gfl import GFL
from skystill.errors import ConfigError, DataError, WeightsError


def test_any_size_and_batch_give_pytorchs_numbers(depthwise: Path, any_size: Path) -> None:
    reference, exported = skystill.load(depthwise), OnnxDetector(any_size)
    for shape in [(1, 3, 32, 32), (3, 3, 64, 160), (2, 3, 192, 96)]:
        images = torch.rand(shape, generator=torch.Generator().manual_seed(7))
        with torch.no_grad():
            scores, boxes = reference.raw(images)
        got_scores, got_boxes = exported.raw(images)
        torch.testing.assert_close(got_scores, scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(got_boxes, boxes, atol=1e-2, rtol=1e-4)


def test_one_size_takes_any_batch(dense: Path, one_size: Path) -> None:
    images = torch.rand(3, 3, 128, 160, generator=torch.Generator().manual_seed(7))
    exported = OnnxDetector(one_size)
    with torch.no_grad():
        scores, boxes = skystill.load(dense).raw(images)
    assert exported.size == (128, 160)
    torch.testing.assert_close(exported.raw(images)[0], scores, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(exported.raw(images)[1], boxes, atol=1e-2, rtol=1e-4)


def test_the_file_tells_what_a_runtime_needs(any_size: Path) -> None:
    model = onnx.load(any_size)
    onnx.checker.check_model(model)
    assert [i.name for i in model.graph.input] == ["images"]
    assert [o.name for o in model.graph.output] == ["scores", "boxes"]
    header = json.loads({p.key: p.value for p in model.metadata_props}["skystill"])
    assert header["classes"] == ["ship", "plane"]
    assert (header["kind"], header["in_chans"], header["multiple"], header["size"]) == ("hbb", 3, 32, None)
    assert header["selection"]["score"] == 0.05
    assert header["version"] == skystill.__version__
    assert header["parity"]["detections"] > 100
    assert header["parity"]["score_gap"] < 1e-3


def test_the_file_holds_no_path_and_no_source_of_this_machine(any_size: Path) -> None:
    data = any_size.read_bytes()
    package = str(Path(skystill.__file__).parent).encode()
    assert package not in data
    assert b"site-packages" not in data
    assert b"def forward" not in data


def test_nothing_but_the_file_is_written(any_size: Path) -> None:
    assert [p.name for p in any_size.parent.iterdir()] == ["any.onnx"]


def test_other_weights_are_refused_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, depthwise: Path, any_size: Path, make_tiny: Callable[..., GFL], tmp_path: Path
) -> None:
    """The graph is that of `depthwise`, the weights are of another seed: as if the exporter had gone wrong."""
    weights = skystill.save(make_tiny(5, "depthwise", "bn"), tmp_path / "other.safetensors")
    monkeypatch.setattr(room, "to_onnx", lambda detector, size: onnx.load(any_size))
    with pytest.raises(ConfigError, match=r"export refused: on image number 0 .* lacks .* detection of class") as error:
        export_onnx(weights, tmp_path / "out" / "other.onnx")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.rglob("*")] == ["other.safetensors"]


def test_one_changed_weight_is_refused(
    monkeypatch: pytest.MonkeyPatch, depthwise: Path, any_size: Path, photos: Path, tmp_path: Path
) -> None:
    """A bias of one class that is off by 0.1, as a bad quantisation would make it."""

    def bent(detector: Any, size: Any) -> Any:
        model = onnx.load(any_size)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("head.cls.bias"):
                values = onnx.numpy_helper.to_array(tensor).copy()
                values[1] += 0.1
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
                return model
        raise AssertionError("the bias has another name")

    monkeypatch.setattr(room, "to_onnx", bent)
    with pytest.raises(ConfigError, match="export refused"):
        export_onnx(depthwise, tmp_path / "bent.onnx", images=photos)
    assert not list(tmp_path.iterdir())


def test_a_failed_export_keeps_the_older_file(
    monkeypatch: pytest.MonkeyPatch, any_size: Path, make_tiny: Callable[..., GFL], tmp_path: Path, photos: Path
) -> None:
    weights = skystill.save(make_tiny(5, "depthwise", "bn"), tmp_path / "a.safetensors")
    (tmp_path / "a.onnx").write_bytes(b"older")
    monkeypatch.setattr(room, "to_onnx", lambda detector, size: onnx.load(any_size))
    with pytest.raises(ConfigError, match="export refused"):
        export_onnx(weights, images=photos)
    assert (tmp_path / "a.onnx").read_bytes() == b"older"


def test_one_line_comes_before_the_long_part(
    monkeypatch: pytest.MonkeyPatch, depthwise: Path, any_size: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def exporter(detector: Any, size: Any) -> Any:
        said.append(capsys.readouterr().err)
        return onnx.load(any_size)

    monkeypatch.setattr(room, "to_onnx", exporter)
    export_onnx(depthwise, tmp_path / "a.onnx")
    assert re.fullmatch(rf"{re.escape(str(depthwise))}: .* may take a minute\n", said[0])
    assert capsys.readouterr() == ("", "")
    with pytest.raises(DataError):
        export_onnx(depthwise, tmp_path / "b.onnx", images="/nowhere/at/all")
    assert len(said) == 1
    assert capsys.readouterr() == ("", "")


def test_nothing_to_compare_is_an_error(
    monkeypatch: pytest.MonkeyPatch, make_tiny: Callable[..., GFL], any_size: Path, photos: Path, tmp_path: Path
) -> None:
    silent = make_tiny(0, "depthwise", "bn")
    torch.nn.init.constant_(silent.head.cls.bias, -30.0)  # type: ignore[arg-type]
    weights = skystill.save(silent, tmp_path / "silent.safetensors")

    def silence(detector: Any, size: Any) -> Any:
        model = onnx.load(any_size)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("head.cls.bias"):
                values = onnx.numpy_helper.to_array(tensor) * 0 - 30
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setattr(room, "to_onnx", silence)
    with pytest.raises(ConfigError, match=r"no detection at all to compare\. Give images that show objects"):
        export_onnx(weights, images=photos)
    assert [p.name for p in tmp_path.iterdir()] == ["silent.safetensors"]


def test_proof_covers_sizes_sides_and_a_batch(make_tiny: Callable[..., GFL], photos: Path) -> None:
    detector = make_tiny(0, "depthwise", "bn")
    shapes = [tuple(b.shape) for b in proof_batches(detector, None, photos)]
    assert shapes == [(1, 3, 96, 128), (1, 3, 96, 96), (1, 3, 96, 96), (1, 3, 128, 64), (2, 3, 128, 128)]
    fixed = [tuple(b.shape) for b in proof_batches(detector, (64, 96), photos)]
    assert fixed == [(1, 3, 64, 96)] * 4 + [(2, 3, 64, 96)]
    synthetic = [tuple(b.shape) for b in proof_batches(detector, None, None)]
    assert (1, 3, 512, 384) in synthetic
    assert synthetic[-1] == (2, 3, 512, 512)


@pytest.mark.parametrize(
    ("arguments", "kind", "line"),
    [
        ({"out": "x.pt"}, ConfigError, r"must end in \.onnx"),
        ({"size": (100, 64)}, ConfigError, "multiples of 32. Give --size '\[128, 64\]'"),
        ({"size": (0, 64)}, ConfigError, "Give --size '\[32, 64\]'"),
        ({"images": "/nowhere/at/all"}, DataError, "no image there"),
    ],
)
def test_faults(depthwise: Path, tmp_path: Path, arguments: dict[str, Any], kind: type[Exception], line: str) -> None:
    with pytest.raises(kind, match=line) as error:
        export_onnx(depthwise, **({"out": tmp_path / "x.onnx"} | arguments))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_exported_file_is_not_exported_again(any_size: Path) -> None:
    with pytest.raises(ConfigError, match="is exported already"):
        export_onnx(any_size)


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        export_onnx(tmp_path / "none.safetensors")


def test_missing_library(monkeypatch: pytest.MonkeyPatch, depthwise: Path, photos: Path) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(room, "import_module", absent)
    with pytest.raises(ConfigError, match=r"pip install 'skystill\[deploy\]'"):
        export_onnx(depthwise, images=photos)


def test_bands_without_synthetic_scenes(tmp_path: Path, make_tiny: Callable[..., GFL]) -> None:
    detector = make_tiny(0, "depthwise", "bn")
    detector.in_chans = 4
    with pytest.raises(ConfigError, match="takes 4; give images with --images"):
        list(proof_batches(detector, None, None))


def test_the_command_tells_what_was_compared(
    monkeypatch: pytest.MonkeyPatch, any_size: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "export_onnx", lambda *arguments: any_size)
    assert cli.export(Path("tiny.safetensors")) == any_size
    said = capsys.readouterr().out
    assert "2 classes, images of any size" in said
    assert re.search(r"the same \d{3,} detections as PyTorch on 6 images", said)
