"""Makes torchvision's models from plain values, without a download, and finds the values of a model that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from skystill.detectors.torchvision.config import FIXED, RESNETS, TorchvisionConfig
from skystill.detectors.torchvision.light import LIGHT, Pyramid
from skystill.detectors.torchvision.model import TorchvisionDetector, outputs_of
from skystill.detectors.torchvision.onestage import FCOSDetector, RetinaNetDetector, SSDDetector
from skystill.detectors.torchvision.twostage import FasterRCNNDetector
from skystill.errors import ConfigError

WRAPPERS: dict[type[nn.Module], type[TorchvisionDetector]] = {
    detection.RetinaNet: RetinaNetDetector,
    detection.FCOS: FCOSDetector,
    detection.FasterRCNN: FasterRCNNDetector,
    detection.ssd.SSD: SSDDetector,
}


def from_config(classes: Sequence[str], architecture: TorchvisionConfig) -> TorchvisionDetector:
    """A new detector with random weights."""
    if not classes:
        raise ConfigError("a detector needs at least one class.")
    model = build(architecture, len(classes) + int(architecture.background))
    return _wrapper(model)(model, classes, partial(replace, architecture))


def from_model(model: nn.Module, classes: Sequence[str]) -> TorchvisionDetector:
    """A user's own model as a detector; it is trained in place. Errors: ConfigError when the classes do not fit."""
    return _wrapper(model)(model, classes, partial(recognise, model))


def _wrapper(model: nn.Module) -> type[TorchvisionDetector]:
    found = WRAPPERS.get(type(model)) or next((w for k, w in WRAPPERS.items() if _is(model, k)), None)
    if found is None:
        raise ConfigError(
            f"torchvision's {type(model).__name__} is no detector that skystill knows; it knows RetinaNet, FCOS, "
            "FasterRCNN and SSD. Wrap it by its layers: give features, predict and loss."
        )
    return found


def _is(model: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether it is of that kind and not one that needs masks or keypoints to learn."""
    return isinstance(model, kind) and not isinstance(model, detection.MaskRCNN | detection.KeypointRCNN)


def build(architecture: TorchvisionConfig, outputs: int) -> nn.Module:
    """torchvision's model with that many classes, its background included, from random weights."""
    light = LIGHT.get(architecture.model)
    model: nn.Module
    if light is None:
        model = BUILDERS[architecture.model](architecture.backbone, outputs)
    else:
        model = light(Pyramid(architecture.backbone, architecture.width, architecture.in_chans), outputs)
    if architecture.frozen_norms is not None:
        _freeze_norms(model.get_submodule("backbone"), architecture.frozen_norms)
    if architecture.in_chans != 3 and light is None:
        take_bands(model, architecture.in_chans)
    transform: Any = model.transform
    for values, name in ((architecture.mean, "image_mean"), (architecture.std, "image_std")):
        setattr(transform, name, _per_band(values or getattr(transform, name), architecture.in_chans))
    return model


def _fpn(backbone: str, first: int, extra: nn.Module | None = None, norm: Any = None) -> BackboneWithFPN:
    """A ResNet with a pyramid of 256 channels over layer `first` to layer 4, all of it in training."""
    body = torchvision.models.get_model(backbone, weights=None)
    width = body.fc.in_features // 8
    layers = range(first, 5)
    returned = {f"layer{k}": str(k - first) for k in layers}
    return BackboneWithFPN(body, returned, [width * 2 ** (k - 1) for k in layers], 256, extra, norm)


def _retinanet(backbone: str, outputs: int) -> Any:
    return detection.RetinaNet(_fpn(backbone, 2, LastLevelP6P7(256, 256)), outputs)


def _retinanet_v2(backbone: str, outputs: int) -> Any:
    widest = 2048 if backbone not in ("resnet18", "resnet34") else 512
    body = _fpn(backbone, 2, LastLevelP6P7(widest, 256))
    sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    head = RetinaNetHead(256, 9, outputs, norm_layer=partial(nn.GroupNorm, 32))
    head.regression_head._loss_type = "giou"
    return detection.RetinaNet(body, outputs, anchor_generator=anchors, head=head)


def _fcos(backbone: str, outputs: int) -> Any:
    return detection.FCOS(_fpn(backbone, 2, LastLevelP6P7(256, 256)), outputs)


def _fasterrcnn(backbone: str, outputs: int) -> Any:
    return detection.FasterRCNN(_fpn(backbone, 1), outputs)


def _fasterrcnn_v2(backbone: str, outputs: int) -> Any:
    head = FastRCNNConvFCHead((256, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d)
    body = _fpn(backbone, 1, norm=nn.BatchNorm2d)
    return detection.FasterRCNN(body, outputs, rpn_head=RPNHead(256, 3, conv_depth=2), box_head=head)


def _own(name: str, _: str, outputs: int) -> Any:
    return getattr(detection, name)(weights=None, weights_backbone=None, num_classes=outputs)


BUILDERS: dict[str, Callable[[str, int], Any]] = {
    "retinanet": _retinanet,
    "retinanet_v2": _retinanet_v2,
    "fcos": _fcos,
    "fasterrcnn": _fasterrcnn,
    "fasterrcnn_v2": _fasterrcnn_v2,
    "fasterrcnn_mobilenet": partial(_own, "fasterrcnn_mobilenet_v3_large_fpn"),
    "ssdlite": partial(_own, "ssdlite320_mobilenet_v3_large"),
    "ssd300": partial(_own, "ssd300_vgg16"),
}


def _freeze_norms(module: nn.Module, eps: float) -> None:
    """Batch norms become constants; a frozen one has no count of batches, so its state differs."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps))
        else:
            _freeze_norms(child, eps)


def take_bands(model: nn.Module, bands: int) -> None:
    """The backbone's first convolution takes that many bands, from random weights."""
    name, old = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        bands,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)


def _per_band(values: Sequence[float], bands: int) -> list[float]:
    """When there are not as many numbers as bands, their mean serves every band."""
    return list(values) if len(values) == bands else [sum(values) / len(values)] * bands


def recognise(model: nn.Module) -> TorchvisionConfig:
    """The values from which `build` makes this architecture again.

    Errors: ConfigError when none of torchvision's builders makes it.
    """
    outputs, wanted = outputs_of(model), _signature(model)
    transform: Any = model.transform
    frozen = next((m.eps for m in model.modules() if isinstance(m, FrozenBatchNorm2d)), None)
    for config in _candidates(model):
        config = replace(
            config,
            in_chans=len(transform.image_mean),
            frozen_norms=frozen,
            mean=tuple(transform.image_mean),
            std=tuple(transform.image_std),
        )
        with torch.device("meta"):
            if _signature(build(config, outputs)) == wanted:
                return config
    raise ConfigError(
        f"this {type(model).__name__} is none that torchvision's builders make, so a skystill file cannot say how to "
        "build it again. Save detector.model.state_dict() instead."
    )


def _candidates(model: nn.Module) -> Iterator[TorchvisionConfig]:
    names = {"RetinaNet": "retinanet", "FCOS": "fcos", "FasterRCNN": "fasterrcnn", "SSD": "ssd"}
    start = names.get(type(model).__name__, "?")
    for name in (n for n in BUILDERS if n.startswith(start)):
        for backbone in ("",) if name in FIXED else RESNETS:
            yield TorchvisionConfig(name, backbone)  # type: ignore[arg-type]


def _signature(model: nn.Module) -> tuple[dict[str, Any], Any]:
    """Names and shapes of the weights, and what shapes the anchors."""
    anchors: Any = model.rpn.anchor_generator if isinstance(model, detection.FasterRCNN) else model.anchor_generator
    told = tuple(repr(getattr(anchors, key, None)) for key in ("sizes", "aspect_ratios", "scales", "steps"))
    return {k: tuple(v.shape) for k, v in model.state_dict().items()}, told
