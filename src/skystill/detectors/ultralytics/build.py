"""Makes ultralytics' models from plain values, without a download, and finds the values of a model that is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from skystill.detectors.ultralytics.config import NAME, UltralyticsConfig
from skystill.detectors.ultralytics.model import UltralyticsDetector
from skystill.errors import ConfigError


def from_config(classes: Sequence[str], architecture: UltralyticsConfig) -> UltralyticsDetector:
    """A new detector with random weights. Errors: ConfigError when ultralytics is not installed or lacks the model."""
    if not classes:
        raise ConfigError("a detector needs at least one class.")
    model = build(architecture, len(classes))
    model.names = dict(enumerate(classes))
    return UltralyticsDetector(model, classes, partial(replace, architecture))


def from_model(model: nn.Module, classes: Sequence[str]) -> UltralyticsDetector:
    """A user's own YOLO or DetectionModel as a detector; it is trained in place, and takes the names of the classes
    where it has only numbers. What ultralytics froze for a checkpoint learns again, if nothing else does.

    Errors: ConfigError when it is no detect model, was fused, or has other classes.
    """
    network = _network(model)
    _check_classes(network, classes)
    network.names = dict(enumerate(classes))
    if not any(p.requires_grad for p in network.parameters()):
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(".dfl" not in name)  # the numbers of the bins, a constant
    return UltralyticsDetector(network, classes, partial(recognise, network))


def build(architecture: UltralyticsConfig, outputs: int) -> Any:
    """ultralytics' DetectionModel with that many classes, from random weights."""
    tasks = _library("nn.tasks")
    defaults = _library("utils").DEFAULT_CFG_DICT
    name = f"{architecture.model}.yaml"
    plan = {**_plan(architecture), "nc": outputs, "yaml_file": name}
    model = tasks.DetectionModel(plan, ch=architecture.in_chans, nc=outputs, verbose=False)
    model.args, model.task = {**defaults, "model": name, "task": "detect"}, "detect"
    if architecture.end2end:
        model.end2end = True
    return model


def recognise(model: Any) -> UltralyticsConfig:
    """The values from which `build` makes this architecture again.

    Errors: ConfigError when it is none of ultralytics' own by the name that it carries.
    """
    name = Path(str(model.yaml.get("yaml_file", ""))).stem
    if NAME.fullmatch(name):
        end2end = name.startswith("yolo26") and bool(model.end2end)
        config = UltralyticsConfig(name, model.yaml.get("channels", 3), end2end)
        if _signature(build(config, model.model[-1].nc)) == _signature(model):
            return config
    raise ConfigError(
        f"this {type(model).__name__} is none that ultralytics ships by name, so a skystill file cannot say how to "
        "build it again. Save it in ultralytics' own format instead."
    )


def _library(module: str) -> Any:
    """A module of ultralytics.

    It is imported offline: it would ask name servers whether there is a network, and report what it does. What it sets
    in the environment, a single thread among it, is taken back. Errors: ConfigError.
    """
    before = dict(os.environ)
    os.environ["YOLO_OFFLINE"] = "1"
    try:
        return import_module(f"ultralytics.{module}")
    except ImportError as error:
        raise ConfigError(
            f"YOLO models need ultralytics (AGPL-3.0): {error}. Run `pip install 'skystill[ultralytics]'`."
        ) from None
    finally:
        os.environ.clear()
        os.environ.update(before)


def _plan(architecture: UltralyticsConfig) -> dict[str, Any]:
    """What ultralytics ships under that name, by the file itself: by a name alone it would also look around it."""
    match = NAME.fullmatch(architecture.model)
    assert match is not None
    utils = _library("utils")
    found = sorted(Path(utils.__file__).parents[1].glob(f"cfg/models/*/{match[1]}{match[3] or ''}.yaml"))
    if not found:
        raise ConfigError(f"this ultralytics has no {architecture.model}. Choose another size or none of -p2 and -p6.")
    return {**utils.YAML.load(found[0]), "scale": match[2]}


def _signature(model: nn.Module) -> dict[str, Any]:
    """Names and kinds of the parts, names and shapes of the weights."""
    kinds = {name: type(part).__name__ for name, part in model.named_modules()}
    return kinds | {k: tuple(v.shape) for k, v in model.state_dict().items()}


def _network(model: Any) -> Any:
    """The DetectionModel of what a user gives. Errors: ConfigError when there is none, or it is fused."""
    tasks, head = _library("nn.tasks"), _library("nn.modules.head")
    network = model if isinstance(model, tasks.BaseModel) else getattr(model, "model", None)
    if not isinstance(network, tasks.DetectionModel) or type(network.model[-1]) is not head.Detect:
        what = type(network).__name__ if isinstance(network, nn.Module) else f"{type(model).__name__} of {network}"
        raise ConfigError(
            f"ultralytics' {what} is no detect model that skystill knows. Give a model of the task detect, e.g. "
            "YOLO('yolo11n.yaml'), or wrap it by its layers: features, predict and loss."
        )
    if network.is_fused():
        raise ConfigError("the model was fused for inference, and cannot learn. Wrap it before it predicts or exports.")
    return network


def _check_classes(network: Any, classes: Sequence[str]) -> None:
    outputs = network.model[-1].nc
    if len(classes) != outputs:
        raise ConfigError(
            f"{len(classes)} classes do not fit a head of {outputs}. Give its {outputs} classes, or build "
            f"DetectionModel('yolo11n.yaml', nc={len(classes)})."
        )
    own = [str(network.names[i]) for i in range(outputs)]
    if own == [str(i) for i in range(outputs)]:  # ultralytics' stand-ins
        return
    for index, (theirs, given) in enumerate(zip(own, classes, strict=True)):
        if theirs != given:
            raise ConfigError(
                f"the model calls class {index} {theirs!r}, and classes says {given!r}. Give its own names in its own "
                "order, list(model.names.values()), or set model.names."
            )
