"""A YOLO as ONNX: the same detections, by a head that needs no NMS."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import skystill
from skystill.deployment.export import _set_header, to_onnx
from skystill.deployment.parity import check_parity
from skystill.deployment.runtime import OnnxDetector, file_header

# Every kind of layer that YOLO11 and YOLO26 have, once or twice.
BACKBONE = [
    [-1, 1, "Conv", [32, 3, 4]],
    [-1, 1, "Conv", [64, 3, 2]],
    [-1, 1, "C3k2", [64, True]],
    [-1, 1, "Conv", [64, 3, 2]],
    [-1, 1, "SPPF", [64, 5, 3, True]],
    [-1, 1, "C2PSA", [64]],
]
HEAD = [
    [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
    [[-1, 2], 1, "Concat", [1]],
    [-1, 1, "C3k2", [64, False]],
    [[8, 5], 1, "Detect", ["nc"]],
]


def test_an_exported_model_detects_the_same(settle: Callable[[nn.Module], nn.Module]) -> None:
    pytest.importorskip("onnxruntime")
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    plan = {"nc": 3, "scales": {"n": [0.5, 0.5, 64]}, "scale": "n", "backbone": BACKBONE, "head": HEAD, "end2end": True}
    model = settle(tasks.DetectionModel(plan, nc=3, verbose=False))
    model.end2end = True  # type: ignore[assignment]
    detector = skystill.wrap(model, ("ship", "plane", "car")).eval()
    for parameter in detector.parameters():
        parameter.data.clamp_(min=-2)  # else nothing is detected
    exported = to_onnx(detector, None)
    _set_header(exported, file_header(detector, None, skystill.__version__))
    file = OnnxDetector(exported.SerializeToString())
    assert not file.nms
    images = [torch.rand(b, 3, *s) for s in ((64, 128), (192, 64)) for b in (1, 2)]
    assert check_parity(detector, file, images).detections > 100
    crowd = torch.tensor([[[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 10.0]]])
    for one in (detector, file):
        assert len(one.select(torch.full((1, 2, 3), 0.5), crowd)[0]) == 6
