"""torchvision's one-stage detectors as ONNX: the same detections, for images of one size or of any."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import skystill
from skystill.deployment.export import _set_header, to_onnx
from skystill.deployment.parity import check_parity
from skystill.deployment.runtime import OnnxDetector, file_header


@pytest.mark.parametrize(("name", "size"), [("fcos", None), ("ssdlite", (64, 128))])
def test_an_exported_model_detects_the_same(
    make_model: Callable[..., nn.Module], name: str, size: tuple[int, int] | None
) -> None:
    pytest.importorskip("onnxruntime")
    detector = skystill.wrap(make_model(name), ("ship", "plane", "car")).eval()
    for parameter in detector.parameters():
        parameter.data.clamp_(min=-2)  # else nothing is detected
    model = to_onnx(detector, size)
    _set_header(model, file_header(detector, size, skystill.__version__))
    shapes = [size] if size else [(64, 128), (192, 64)]
    parity = check_parity(
        detector, OnnxDetector(model.SerializeToString()), [torch.rand(b, 3, *s) for s in shapes for b in (1, 2)]
    )
    assert parity.detections > 100
