"""Everything that fixes the architecture of one of torchvision's detectors, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from skystill.errors import ConfigError

Model = Literal[
    "retinanet",
    "retinanet_v2",
    "fcos",
    "fcos_light",
    "fasterrcnn",
    "fasterrcnn_v2",
    "fasterrcnn_light",
    "fasterrcnn_mobilenet",
    "ssdlite",
    "ssd300",
]
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
OVER_TIMM = ("fcos_light", "fasterrcnn_light")
FIXED = {"fasterrcnn_mobilenet": "mobilenet_v3_large", "ssdlite": "mobilenet_v3_large", "ssd300": "vgg16"}


@dataclass(frozen=True)
class TorchvisionConfig:
    """Architecture of a torchvision detector.

    model: retinanet, retinanet_v2, fcos, fasterrcnn, fasterrcnn_v2, fasterrcnn_mobilenet, ssdlite or ssd300, each as
    torchvision's builder of that name makes it; or fcos_light or fasterrcnn_light, see light.py. backbone: resnet18 to
    resnet152, under the first five; any timm model under a light one; the others bring their own. in_chans: bands of an
    image. background: outputs are counted from 1, and 0 is torchvision's background; RetinaNet and FCOS can do without
    it. frozen_norms: the batch norms of the backbone are constants with this epsilon, as in torchvision's pretrained
    models. mean, std: normalisation of images in 0..1; None is the builder's. width: channels of a light one's pyramid
    and heads, a multiple of 32.
    """

    model: Model = "fcos"
    backbone: str = ""
    in_chans: int = 3
    background: bool = True
    frozen_norms: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    width: int = 64

    def __post_init__(self) -> None:
        if self.model not in get_args(Model):
            raise ConfigError(f"model {self.model!r} is unknown; choose {', '.join(get_args(Model))}.")
        if not self.background and self.model.startswith(("fasterrcnn", "ssd")):
            raise ConfigError(f"{self.model} needs its background. Leave background away.")
        if self.width < 32 or self.width % 32:
            raise ConfigError(f"width is {self.width}. Give a multiple of 32, for the heads' norms have 32 groups.")
        if self.model in OVER_TIMM:
            if self.frozen_norms is not None:
                raise ConfigError("frozen_norms: a timm backbone keeps its norms. Set detector.freeze_norms instead.")
            object.__setattr__(self, "backbone", self.backbone or "mobilenetv3_small_100")
            return
        own = FIXED.get(self.model)
        if own is not None and self.backbone not in ("", own):
            raise ConfigError(f"backbone {self.backbone!r}: {self.model} has its own, {own}. Leave backbone away.")
        if not self.backbone:
            object.__setattr__(self, "backbone", own or "resnet50")
        if own is None and self.backbone not in RESNETS:
            raise ConfigError(f"backbone {self.backbone!r} is unknown to {self.model}; choose {', '.join(RESNETS)}.")


# EfficientNet-lite was trained on (x - 127) / 128.
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3

PRESETS: dict[str, TorchvisionConfig] = {
    "tv_retinanet_r50": TorchvisionConfig("retinanet_v2"),
    "tv_fcos_r50": TorchvisionConfig("fcos"),
    "tv_fcos_r18": TorchvisionConfig("fcos", "resnet18"),
    "tv_fasterrcnn_r50": TorchvisionConfig("fasterrcnn_v2"),
    "tv_fcos_mnv3s": TorchvisionConfig("fcos_light"),
    "tv_fasterrcnn_lite2": TorchvisionConfig(
        "fasterrcnn_light", "tf_efficientnet_lite2", mean=_LITE_MEAN, std=_LITE_STD, width=128
    ),
    "tv_ssdlite": TorchvisionConfig("ssdlite"),
    "tv_ssd300": TorchvisionConfig("ssd300"),
}
