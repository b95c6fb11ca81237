"""Make, save and load detectors. A weights file is safetensors with the architecture in its header: it never runs
code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

import skystill
from skystill.detectors.backbones import load_backbone
from skystill.detectors.base import Detector
from skystill.detectors.gfl import GFL, GFLConfig
from skystill.detectors.gfl import PRESETS as GFL_PRESETS
from skystill.detectors.torchvision import PRESETS as TORCHVISION_PRESETS
from skystill.detectors.torchvision import TorchvisionConfig
from skystill.detectors.torchvision import from_config as make_torchvision
from skystill.detectors.transformers import PRESETS as TRANSFORMERS_PRESETS
from skystill.detectors.transformers import TransformersConfig
from skystill.detectors.transformers import from_config as make_transformers
from skystill.detectors.ultralytics import PRESETS as ULTRALYTICS_PRESETS
from skystill.detectors.ultralytics import UltralyticsConfig
from skystill.detectors.ultralytics import from_config as make_ultralytics
from skystill.errors import ConfigError, WeightsError, did_you_mean
from skystill.files import whole_file

Architecture = GFLConfig | TorchvisionConfig | TransformersConfig | UltralyticsConfig

# A family's name in a file's header -> what builds a detector of (classes, architecture), and the architecture's type.
FAMILIES: dict[str, tuple[Callable[[Sequence[str], Any], Detector], type[Architecture]]] = {
    "gfl": (GFL, GFLConfig),
    "torchvision": (make_torchvision, TorchvisionConfig),
    "transformers": (make_transformers, TransformersConfig),
    "ultralytics": (make_ultralytics, UltralyticsConfig),
}
PRESETS: dict[str, Architecture] = {
    **GFL_PRESETS,
    **TORCHVISION_PRESETS,
    **TRANSFORMERS_PRESETS,
    **ULTRALYTICS_PRESETS,
}


def create(preset: str, classes: Sequence[str], backbone_weights: str = "none", **overrides: Any) -> Detector:
    """A new detector.

    preset: a name in PRESETS. classes: names in label order. backbone_weights: see `detectors.backbones`.
    overrides: fields of the preset's own config, such as GFLConfig, e.g. in_chans=1.
    Errors: ConfigError, WeightsError.
    """
    if preset not in PRESETS:
        close = did_you_mean(preset, PRESETS)
        raise ConfigError(f"preset {preset!r} is unknown; the presets are {', '.join(PRESETS)}.{close}")
    start = PRESETS[preset]
    names = {f.name for f in fields(start)}
    family = next(name for name, (_, kind) in FAMILIES.items() if isinstance(start, kind))
    if unknown := sorted(set(overrides) - names):
        raise ConfigError(f"{unknown[0]!r} is no part of a {preset}; its parts are {', '.join(sorted(names))}.")
    architecture = replace(start, **_tuples(overrides))
    detector = FAMILIES[family][0](classes, architecture)
    if backbone_weights != "none":
        load_backbone(detector.get_submodule("backbone"), architecture.backbone, backbone_weights)
    return detector


def save(detector: Detector, path: str | Path, notes: dict[str, Any] | None = None, half: bool = False) -> Path:
    """Writes the detector alone: weights and, in the header, architecture, classes and version.

    notes: plain values kept in the header (scores, say). half: store floats in 16 bits (loading brings them back to
    32). The file appears whole or not at all. Errors: ConfigError for notes that JSON cannot hold, WeightsError for a
    path that cannot be written.
    """
    path = Path(path)
    header = {
        "family": detector.family,
        "config": detector.config(),
        "classes": list(detector.classes),
        "kind": detector.kind,
        "version": skystill.__version__,
        "notes": notes or {},
    }
    try:
        text = json.dumps(header)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"notes: {error}. Give numbers, texts, lists and dicts, such as tensor.item().") from error
    state: dict[str, Tensor] = {}
    for key, value in detector.state_dict().items():
        kept = (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        # Weights that a model uses under two names are written under both: safetensors takes no shared memory.
        state[key] = kept.clone() if any(kept.data_ptr() == other.data_ptr() for other in state.values()) else kept
    try:
        with whole_file(path) as part:
            # save_file would make the file private, whatever the umask says.
            part.write_bytes(serialize(state, metadata={"skystill": text}))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error
    return path


def read_header(path: str | Path) -> dict[str, Any]:
    """What a weights file says of itself: family, config, classes, kind, version, notes."""
    path = Path(path)
    if refusal := _of_others(path):
        raise WeightsError(f"{path}: {refusal}")
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file. Train one with `skystill train`.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a safetensors file, or truncated. Copy or train it again.") from error
    if "skystill" not in metadata:
        raise WeightsError(
            f"{path}: has no skystill header, so its architecture is unknown. Use a file that skystill wrote."
        )
    try:
        header: dict[str, Any] = json.loads(metadata["skystill"])
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: its skystill header is damaged. Copy or train it again.") from error
    if lacking := sorted({"family", "config", "classes", "version"} - set(header)):
        raise WeightsError(f"{path}: its skystill header lacks {lacking[0]!r}. Copy or train it again.")
    if header["family"] not in FAMILIES:
        raise WeightsError(f"{path}: detector family {header['family']!r} is unknown; update skystill.")
    return header


def _of_others(path: Path) -> str:
    """What a file or folder of other tools is, and how it comes in; empty for what may be ours."""
    keep = "skystill.save(skystill.wrap(model, names), 'model.safetensors')"
    if (path / "student.safetensors").is_file():
        return "is the folder of a run. Give student.safetensors in it."
    if path.is_dir():
        return f"is a folder. A model that transformers saved so: load it there, then {keep}."
    if path.suffix == ".ckpt" and (weights := _weights_of_run(path.parent.parent)) is not None:
        return f"is a checkpoint, from which a run goes on with --resume. Give the run's weights, {weights}."
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".pkl"):
        return f"such files can run code, so skystill opens none. Load the model where it comes from, then {keep}."
    if path.suffix == ".onnx":
        return (
            "an exported detector has no layers to train. It predicts and teaches: `skystill predict`, teacher.weights."
        )
    return ""


def _weights_of_run(folder: Path) -> Path | None:
    """The weights in the folder of a run; None where there are none, or it is no run's."""
    files = (folder / name for name in ("student.safetensors", "best.safetensors"))
    return next((file for file in files if file.is_file()), None)


def load(path: str | Path) -> Detector:
    """The detector of a weights file, in eval mode. Every tensor must match; errors: WeightsError."""
    header = read_header(path)
    build, config_type = FAMILIES[header["family"]]
    try:
        config = config_type(**_tuples(header["config"]))
    except TypeError as error:
        raise WeightsError(
            f"{path}: written by skystill {header['version']}, whose architecture this one lacks."
        ) from error
    detector = build(header["classes"], config)
    with safe_open(path, "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no mapping
    own = detector.state_dict()
    for key in sorted(set(own) | set(state)):
        if key not in state or key not in own or state[key].shape != own[key].shape:
            raise WeightsError(
                f"{path}: tensor {key!r} does not fit the architecture in its own header; the file is damaged."
            )
    detector.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})
    return detector.eval()


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Lists, as YAML and JSON give them, to the tuples of a frozen config."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
