"""Detectors from files, with one surface for both kinds: .safetensors by PyTorch, .onnx by ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from skystill.boxes.nms import Selection, select_batch
from skystill.detectors.weights import load, read_header
from skystill.errors import ConfigError, WeightsError
from skystill.kinds import BoxKind
from skystill.structures import Detections

HEADER_KEY = "skystill"  # of the ONNX file's metadata


class Predictor(Protocol):
    """What both kinds of detector offer for inference."""

    classes: tuple[str, ...]
    kind: BoxKind
    in_chans: int
    multiple: int

    @property
    def nms(self) -> bool:
        """Whether what `raw` gives holds an object more than once."""
        ...

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) in 0..1 and boxes (B, N, 4|5) in pixels of images (B, C, H, W) in 0..1."""
        ...

    def select(self, scores: Tensor, boxes: Tensor, how: Selection | None = None) -> list[Detections]:
        """Detections of each image from what `raw` returned."""
        ...

    def predict(self, images: Tensor, how: Selection | None = None) -> list[Detections]:
        """Detections of each image of (B, C, H, W) in 0..1."""
        ...


class OnnxDetector:
    """A detector that `skystill export` wrote, on the CPU by ONNX Runtime.

    classes, kind, in_chans, multiple: as of a Detector. size: the one (height, width) that it takes, or None when it
    takes any multiples. selection: thresholds used unless others are given. header: all that the file says of itself.

    source: the file, or its bytes. threads: CPU threads, 0 for ONNX Runtime's choice.
    Raises ConfigError when onnxruntime is not installed, WeightsError when the file is missing or not ours.
    """

    def __init__(self, source: str | Path | bytes, threads: int = 0) -> None:
        self.name = "an exported detector" if isinstance(source, bytes) else str(source)
        self._session = _open_session(source, self.name, threads)
        self.header = _read_header(self._session, self.name)
        self.classes: tuple[str, ...] = tuple(self.header["classes"])
        self.kind: BoxKind = self.header["kind"]
        self.in_chans: int = self.header["in_chans"]
        self.multiple: int = self.header["multiple"]
        size = self.header["size"]
        self.size: tuple[int, int] | None = None if size is None else (size[0], size[1])
        self.selection = Selection(**self.header["selection"])
        self.nms: bool = self.header.get("nms", True)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) in 0..1 and boxes (B, N, 4|5) in pixels at every place, for images (B, C, H, W) in 0..1."""
        self._check(images)
        scores, boxes = self._session.run(["scores", "boxes"], {"images": images.detach().cpu().float().numpy()})
        return torch.from_numpy(scores), torch.from_numpy(boxes)

    def select(self, scores: Tensor, boxes: Tensor, how: Selection | None = None) -> list[Detections]:
        """Detections of each image from what `raw` returned."""
        return select_batch(scores, boxes, how or self.selection, self.nms)

    def predict(self, images: Tensor, how: Selection | None = None) -> list[Detections]:
        """Detections of each image of (B, C, H, W) in 0..1."""
        return self.select(*self.raw(images), how)

    def _check(self, images: Tensor) -> None:
        bands, height, width = images.shape[1:]
        if bands != self.in_chans:
            raise ConfigError(f"the images have {bands} bands but {self.name} takes {self.in_chans}; choose the bands.")
        if self.size is not None and (height, width) != self.size:
            raise ConfigError(
                f"{self.name} takes {self.size[0]}x{self.size[1]} pixels, not {height}x{width}. "
                "Pad or resize the images, or export without --size."
            )
        if height % self.multiple or width % self.multiple:
            raise ConfigError(
                f"{self.name} takes sides that are multiples of {self.multiple}, not {height}x{width}. Pad the images."
            )


def open_detector(path: str | Path, device: torch.device | str = "cpu") -> Predictor:
    """The detector of a .safetensors file (on `device`) or an .onnx file (on the CPU), ready to predict.

    device: cpu, cuda (or gpu, as the trainer calls it), cuda:1 or mps; cpu alone for .onnx.
    Raises ConfigError for another suffix or a device that is not there, WeightsError for a missing or damaged file.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        there = _existing(str(device))  # before the file is read, which takes longer
        detector: Predictor = load(path).to(there)
        return detector
    if path.suffix == ".onnx":
        if str(device) != "cpu":
            raise ConfigError(
                f"device {str(device)!r}: {path.name} runs on the CPU. Give --device cpu, or the .safetensors."
            )
        return OnnxDetector(path)
    raise ConfigError(f"{path}: not a detector's file. Give the .safetensors of training or the .onnx of export.")


def device_of(detector: Predictor) -> torch.device:
    """Where it runs."""
    return next(detector.parameters()).device if isinstance(detector, torch.nn.Module) else torch.device("cpu")


def own_score(detector: Predictor, path: str | Path) -> float | None:
    """The score from which on the detections of the detector of a file are best kept: that of its best F1 on
    validation, see `evaluation.operating`. None where it was never validated."""
    if isinstance(detector, OnnxDetector):
        value = detector.header.get("score")
    else:
        value = ((read_header(path)["notes"].get("val") or {}).get("best_f1") or {}).get("score")
    return None if value is None else float(value)


def _existing(name: str) -> torch.device:
    kind, _, number = name.replace("gpu", "cuda", 1).partition(":")
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if kind not in counts or (":" in name and not number.isdecimal()):
        raise ConfigError(f"device {name!r} is unknown. Give --device cpu or --device cuda.")
    if counts[kind] == 0:
        raise ConfigError(f"device {name!r}: no {kind.upper()} device here. Give --device cpu.")
    if int(number or 0) >= counts[kind]:
        last = f"{kind}:{counts[kind] - 1}"
        raise ConfigError(f"device {name!r}: the last {kind.upper()} device here is {last}. Give --device {last}.")
    return torch.device(f"{kind}:{int(number)}" if number else kind)


def file_header(detector: Predictor, size: tuple[int, int] | None, version: str) -> dict[str, Any]:
    """What an exported file says of itself, as plain values: all that OnnxDetector needs beside the network."""
    return {
        "classes": list(detector.classes),
        "kind": detector.kind,
        "in_chans": detector.in_chans,
        "multiple": detector.multiple,
        "size": None if size is None else list(size),
        "input": "images: float32 (batch, bands, height, width) in 0..1, zeros where padded at the right and bottom",
        "output": "scores (batch, places, classes) in 0..1; boxes (batch, places, 4 or 5) in pixels; no NMS yet",
        "selection": asdict(Selection()),
        "nms": detector.nms,
        "version": version,
    }


def _open_session(source: str | Path | bytes, name: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f"{name}: needs ONNX Runtime. Run `pip install 'skystill[deploy]'`.") from None
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise WeightsError(f"{name}: no such file. Write it with `skystill export`.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime raises kinds of its own without a common base
        raise WeightsError(f"{name}: not a readable ONNX file, or truncated. Export it again.") from error


def _read_header(session: Any, name: str) -> dict[str, Any]:
    metadata = session.get_modelmeta().custom_metadata_map
    if HEADER_KEY not in metadata:
        raise WeightsError(
            f"{name}: has no skystill header, so its classes and outputs are unknown. `skystill export` writes one; a "
            "model from elsewhere teaches as a function (skystill.wrap) or by a predictions file."
        )
    header: dict[str, Any] = json.loads(metadata[HEADER_KEY])
    return header
