"""From a user's own model to a Detector: `skystill.wrap` finds the family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import isfunction
from pathlib import Path

from torch import nn

from skystill.detectors.base import Detector
from skystill.detectors.blackbox import Ask, BlackBox
from skystill.detectors.checks import class_names
from skystill.detectors.generic import GenericDetector, Loss, Predict
from skystill.errors import ConfigError
from skystill.kinds import BoxKind

# Where a model's class is written -> our file for that family, which has `from_model(model, classes)`. It is imported
# only for such a model, and the foreign library is loaded by then.
FOREIGN: dict[str, str] = {
    "torchvision.models.detection": "skystill.detectors.torchvision",
    "transformers": "skystill.detectors.transformers",
    "ultralytics": "skystill.detectors.ultralytics",
}


def wrap(
    model: nn.Module | Ask,
    classes: Sequence[str],
    features: Mapping[str, int] | None = None,
    predict: Predict | None = None,
    loss: Loss | None = None,
    kind: BoxKind = "hbb",
    in_chans: int = 3,
    multiple: int | None = None,
) -> Detector:
    """A model of any library as a Detector, to be trained, distilled and evaluated as any other.

    The model is used in place: its parameters are trained, and `detector.model.state_dict()` is its own. classes: names
    in label order, without background. The other arguments are for a model of no known family: features names layers
    and their strides, predict is a function of (model, images) and loss of (model, images, targets); see
    `skystill.detectors.generic`. multiple: image sides are multiples of it, by default of the coarsest stride. A plain
    function from images to detections becomes a teacher of which nothing else is known, see `detectors.blackbox`.

    >>> model = torchvision.models.detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    >>> student = skystill.wrap(model, classes=["ship", "plane"])

    Errors: ConfigError when the family is unknown, classes do not fit the model, or a layer does not exist.
    """
    if isinstance(model, Detector):
        raise ConfigError(f"this {type(model).__name__} is a skystill detector already. Use it as it is.")
    class_names(classes)
    if not isinstance(model, nn.Module):
        if refusal := _no_function(model, features is not None):
            raise ConfigError(refusal)
        return BlackBox(model, classes, kind, in_chans, multiple or 32)
    if features is not None:
        if predict is None:
            raise ConfigError("features without predict. Give predict=, a function of (model, images) -> [Detections].")
        return GenericDetector(model, classes, features, predict, loss, kind, in_chans, multiple)
    if type(model).__module__.startswith("torch."):  # DataParallel and its kin, and what torch.compile gives
        for inner in ("module", "_orig_mod"):
            if isinstance(getattr(model, inner, None), nn.Module):
                raise ConfigError(f"a {type(model).__name__} is around the model. Give what is in it: model.{inner}.")
    home = next((home for start, home in FOREIGN.items() if _comes_from(model, start)), None)
    if home is None:
        raise ConfigError(
            f"{type(model).__module__}.{type(model).__name__} is of no family that skystill knows. Give features "
            "({layer: stride}), predict and, to train it, loss."
        )
    if kind != "hbb":
        raise ConfigError(f"as skystill knows it, a {type(model).__name__} predicts upright boxes. Leave kind at hbb.")
    detector: Detector = import_module(home).from_model(model, classes)
    return detector


def _no_function(model: object, layers: bool) -> str:
    """Why this is neither a module nor a function that can teach; empty where it can. layers: such are named."""
    name = getattr(model, "__name__", type(model).__name__)
    if isinstance(model, str | Path):
        kind = "A recipe's teacher.weights takes ONNX files" if str(model).endswith(".onnx") else "Load the model first"
        return f"{model}: a path is no model. {kind}, and skystill.load takes files that skystill wrote."
    builds = isfunction(model) and str(model.__module__).startswith("torchvision.models.detection")
    if isinstance(model, type) or builds:
        return f"{name} is what builds a model. Call it, and give what it returns."
    if not callable(model) and hasattr(model, "predict") and hasattr(model, "classes"):
        return f"a {name} is no torch.nn.Module. It teaches as a function: wrap(detector.predict, detector.classes)."
    if not callable(model) or layers:
        return (
            f"a {name} is no torch.nn.Module, so it has no layers. Give the module, or a function from images "
            "(B, C, H, W) to detections, alone."
        )
    return ""


def _comes_from(model: nn.Module, start: str) -> bool:
    """Whether its class, or one that it is derived from, is written in that package."""
    return any(f"{kind.__module__}.".startswith(f"{start}.") for kind in type(model).__mro__)
