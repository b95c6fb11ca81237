"""Any module as a detector: name the layers whose maps are features, and say how it predicts and learns.

detector = skystill.wrap(
    model,
    classes=["ship", "plane"],
    features={"layer2": 8, "layer3": 16},
    predict=lambda model, images: [skystill.Detections(...) for each image],
    loss=lambda model, images, targets: {"loss": ...},
)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

from torch import Tensor, nn

from skystill.detectors.blackbox import Finder
from skystill.detectors.checks import class_names
from skystill.detectors.modes import watched
from skystill.errors import ConfigError
from skystill.kinds import BoxKind
from skystill.structures import Detections, Knowledge, Output, Targets

Predict = Callable[[Any, Tensor], list[Detections]]
Loss = Callable[[Any, Tensor, list[Targets]], dict[str, Tensor]]


class GenericDetector(Finder):
    """A module whose layers are watched while its own functions run.

    features: names of layers (as in `model.named_modules()`) that give maps (B, C, H, W), with their strides in pixels.
    predict: function of (model, images) that gives each image's detections; images are (B, C, H, W) in 0..1. loss:
    function of (model, images, targets) that gives weighted terms by name; a detector without it can only teach. Both
    run every layer once.
    """

    family: ClassVar[str] = "generic"
    asked: ClassVar[str] = "predict"

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str],
        features: Mapping[str, int],
        predict: Predict,
        loss: Loss | None = None,
        kind: BoxKind = "hbb",
        in_chans: int = 3,
        multiple: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(features, Mapping) or not features:
            raise ConfigError(f"features is {features!r}. Give layers with their strides, e.g. {{'layer2': 8}}.")
        _check_names(model, features)
        for name, stride in features.items():
            if not isinstance(stride, int) or stride < 1:
                raise ConfigError(f"features: the stride of {name!r} is {stride!r}. Give pixels, 1 or more, e.g. 8.")
        self.model = model
        self.classes, self.kind, self.in_chans = class_names(classes), kind, in_chans
        ordered = sorted(features.items(), key=lambda item: item[1])
        self.layers, self.strides = tuple(n for n, _ in ordered), tuple(s for _, s in ordered)
        self.multiple = multiple or max(32, self.strides[-1])
        self._predict, self._loss = predict, loss

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """The losses when targets are given, else detections; both with the knowledge of what the layers gave."""
        self.check(images, targets)
        with watched([self.model.get_submodule(name) for name in self.layers]) as seen:
            if targets is None:
                found = self.found(images)
                return Output({}, Knowledge(self._pyramid(seen, images), self.strides, detections=found), found)
            if self._loss is None:
                raise ConfigError(
                    "this detector was wrapped without a loss, so it can only teach. Give wrap(loss=...)."
                )
            losses = self._loss(self.model, images, targets)
            if not isinstance(losses, dict) or not all(isinstance(term, Tensor) for term in losses.values()):
                what = f"a {type(losses).__name__}"
                raise ConfigError(f"loss gave {what}; give terms by name, e.g. {{'loss': ...}}, each a tensor.")
            return Output(losses, Knowledge(self._pyramid(seen, images), self.strides))

    def _pyramid(self, seen: list[list[Any]], images: Tensor) -> tuple[Tensor, ...]:
        for name, outputs, stride in zip(self.layers, seen, self.strides, strict=True):
            if len(outputs) != 1:
                raise ConfigError(f"layer {name!r} ran {len(outputs)} times in a step. Name one that runs once.")
            if not isinstance(outputs[0], Tensor) or outputs[0].ndim != 4:
                what = list(outputs[0].shape) if isinstance(outputs[0], Tensor) else type(outputs[0]).__name__
                raise ConfigError(f"layer {name!r} gives {what}. Name one that gives maps (B, C, H, W).")
            found, wanted = outputs[0].shape[2], -(-images.shape[2] // stride)
            if found not in (wanted, images.shape[2] // stride):
                raise ConfigError(
                    f"layer {name!r} has {found} rows for {images.shape[2]} px, and stride {stride} makes {wanted}. "
                    f"Its stride is about {round(images.shape[2] / found)}."
                )
        return tuple(outputs[0] for outputs in seen)

    def _ask(self, images: Tensor) -> list[Detections]:
        return self._predict(self.model, images)

    def config(self) -> dict[str, Any]:
        """Refused with ConfigError: no file can say how to build any module."""
        raise ConfigError(
            f"a wrapped {type(self.model).__name__} cannot be built again from a file. "
            "Save detector.model.state_dict() instead."
        )


def _check_names(model: nn.Module, features: Mapping[str, int]) -> None:
    names = [name for name, _ in model.named_modules() if name]
    for name in features:
        if name not in names:
            near = get_close_matches(name, names, 3, 0.4)
            mend = f"Near names are {', '.join(near)}." if near else f"The first layers are {', '.join(names[:5])}."
            raise ConfigError(f"features: {type(model).__name__} has no layer {name!r}. {mend}")
