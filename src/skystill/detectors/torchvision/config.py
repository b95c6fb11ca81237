"""Everything that fixes the architecture of one of torchvision's detectors, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from skystill.errors import ConfigError

Model = Literal[
    "retinanet", "retinanet_v2", "fcos", "fasterrcnn", "fasterrcnn_v2", "fasterrcnn_mobilenet", "ssdlite", "ssd300"
]
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
FIXED = {"fasterrcnn_mobilenet": "mobilenet_v3_large", "ssdlite": "mobilenet_v3_large", "ssd300": "vgg16"}


@dataclass(frozen=True)
class TorchvisionConfig:
    """Architecture of a torchvision detector.

    model: retinanet, retinanet_v2, fcos, fasterrcnn, fasterrcnn_v2, fasterrcnn_mobilenet, ssdlite or ssd300, each as
    torchvision's builder of that name makes it. backbone: resnet18 to resnet152, under the first five; the others bring
    their own. in_chans: bands of an image. background: outputs are counted from 1, and 0 is torchvision's background;
    RetinaNet and FCOS can do without it. frozen_norms: the batch norms of the backbone are constants with this epsilon,
    as in torchvision's pretrained models. mean, std: normalisation of images in 0..1; None is the builder's.
    """

    model: Model = "fcos"
    backbone: str = ""
    in_chans: int = 3
    background: bool = True
    frozen_norms: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.model not in get_args(Model):
            raise ConfigError(f"model {self.model!r} is unknown; choose {', '.join(get_args(Model))}.")
        if not self.background and self.model.startswith(("fasterrcnn", "ssd")):
            raise ConfigError(f"{self.model} needs its background. Leave background away.")
        own = FIXED.get(self.model)
        if own is not None and self.backbone not in ("", own):
            raise ConfigError(f"backbone {self.backbone!r}: {self.model} has its own, {own}. Leave backbone away.")
        if not self.backbone:
            object.__setattr__(self, "backbone", own or "resnet50")
        if own is None and self.backbone not in RESNETS:
            raise ConfigError(f"backbone {self.backbone!r} is unknown to {self.model}; choose {', '.join(RESNETS)}.")


PRESETS: dict[str, TorchvisionConfig] = {
    "tv_retinanet_r50": TorchvisionConfig("retinanet_v2"),
    "tv_fcos_r50": TorchvisionConfig("fcos"),
    "tv_fcos_r18": TorchvisionConfig("fcos", "resnet18"),
    "tv_fasterrcnn_r50": TorchvisionConfig("fasterrcnn_v2"),
    "tv_ssdlite": TorchvisionConfig("ssdlite"),
    "tv_ssd300": TorchvisionConfig("ssd300"),
}
