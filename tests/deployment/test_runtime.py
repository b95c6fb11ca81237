"""Detectors from files: one surface, clear lines for wrong files and wrong images."""

import ast
import sys
from pathlib import Path

import onnx
import pytest
import torch

from skystill import deployment
from skystill.boxes.nms import Selection
from skystill.deployment.runtime import OnnxDetector, _existing, open_detector
from skystill.errors import ConfigError, WeightsError


def test_both_kinds_of_file_detect_alike(depthwise: Path, any_size: Path) -> None:
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    one, other = open_detector(depthwise), open_detector(any_size)
    assert one.classes == other.classes == ("ship", "plane")
    assert (one.kind, one.in_chans, one.multiple) == (other.kind, other.in_chans, other.multiple)
    for a, b in zip(one.predict(images), other.predict(images), strict=True):
        assert len(a) > 3
        torch.testing.assert_close(b.boxes, a.boxes, atol=1e-2, rtol=1e-4)
        torch.testing.assert_close(b.scores, a.scores, atol=1e-5, rtol=1e-4)
        assert torch.equal(a.labels, b.labels)


def test_thresholds_come_from_the_file_unless_given(any_size: Path) -> None:
    images = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    detector = OnnxDetector(any_size)
    detector.selection = Selection(score=0.05, keep=2)
    assert len(detector.predict(images)[0]) == 2
    assert len(detector.predict(images, Selection(score=0.05))[0]) > 2


def test_bytes_and_threads(any_size: Path) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    memory = OnnxDetector(any_size.read_bytes(), threads=1)
    assert torch.equal(memory.raw(images)[0], OnnxDetector(any_size, threads=1).raw(images)[0])


def test_wrong_images(any_size: Path, one_size: Path) -> None:
    with pytest.raises(ConfigError, match=r"the images have 1 bands but .*any\.onnx takes 3"):
        OnnxDetector(any_size).raw(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ConfigError, match="multiples of 32, not 64x65"):
        OnnxDetector(any_size).raw(torch.zeros(1, 3, 64, 65))
    with pytest.raises(ConfigError, match="takes 128x160 pixels, not 160x128"):
        OnnxDetector(one_size).raw(torch.zeros(1, 3, 160, 128))


def test_wrong_files(tmp_path: Path, any_size: Path) -> None:
    with pytest.raises(ConfigError, match=r"detector.pt: not a detector's file"):
        open_detector(tmp_path / "detector.pt")
    with pytest.raises(WeightsError, match="no such file"):
        open_detector(tmp_path / "none.onnx")
    with pytest.raises(WeightsError, match="no such weights file"):
        open_detector(tmp_path / "none.safetensors")
    (tmp_path / "cut.onnx").write_bytes(any_size.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"cut.onnx: not a readable ONNX file"):
        open_detector(tmp_path / "cut.onnx")
    foreign = onnx.load(any_size)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(WeightsError, match=r"foreign.onnx: has no skystill header"):
        open_detector(tmp_path / "foreign.onnx")


@pytest.mark.parametrize("name", ["cuda", "gpu", "cuda:1", "mps"])
def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch, depthwise: Path, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    kind = "MPS" if name == "mps" else "CUDA"
    with pytest.raises(ConfigError, match=rf"^device '{name}': no {kind} device here\. Give --device cpu\.$"):
        open_detector(depthwise, name)


@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:x", "cuda:-1", "cuda:", "cpux", ""])
def test_a_device_that_is_none(depthwise: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^device '{name}' is unknown\. Give --device cpu or --device cuda\.$"):
        open_detector(depthwise, name)


def test_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with two, as far as that can be said without one."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, device in [("gpu", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("gpu:0", "cuda:0"), ("cpu", "cpu")]:
        assert _existing(name) == torch.device(device)
    with pytest.raises(
        ConfigError, match=r"^device 'gpu:2': the last CUDA device here is cuda:1\. Give --device cuda:1\.$"
    ):
        _existing("gpu:2")


def test_an_exported_file_runs_on_the_cpu_alone(any_size: Path) -> None:
    assert isinstance(open_detector(any_size, torch.device("cpu")), OnnxDetector)
    for name in ("cuda", "nonsense"):
        with pytest.raises(ConfigError, match=rf"^device '{name}': any\.onnx runs on the CPU\. Give --device cpu, or"):
            open_detector(any_size, name)


def test_missing_library(monkeypatch: pytest.MonkeyPatch, any_size: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'skystill\[deploy\]'"):
        OnnxDetector(any_size)


def test_optional_libraries_are_imported_inside_functions() -> None:
    folder = Path(deployment.__file__).parent
    files = sorted(folder.glob("*.py"))
    assert {"export.py", "parity.py", "runtime.py"} <= {f.name for f in files}
    for file in files:
        for node in ast.parse(file.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.startswith("onnx")], f"{file.name} line {node.lineno}"
