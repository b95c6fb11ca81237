"""A set predictor of the transformers library as a Detector: its own losses train it, its own queries are distilled.

B batch, Q queries, K classes, C channels, H W cells of a level.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from skystill.detectors.base import Detector
from skystill.detectors.checks import check_sides, class_names
from skystill.detectors.modes import watched
from skystill.detectors.transformers.config import BASES, MODELS, TransformersConfig
from skystill.errors import ConfigError, did_you_mean
from skystill.structures import Knowledge, Output, Queries, Targets


class TransformersDetector(Detector):
    """One of transformers' set predictors and what skystill needs beside it.

    model: the library's own; its state_dict is as the library writes it, and `model.save_pretrained` saves it. Its
    pyramid is what its encoder hands to the decoder, where that is a map of each level.
    """

    family: ClassVar[str] = "transformers"
    free_size: ClassVar[bool] = False
    unexportable: ClassVar[str] = "skystill does not export set predictors; transformers' own exporters do"

    def __init__(self, model: nn.Module, classes: Sequence[str]) -> None:
        super().__init__()
        kind = _kind(model)
        self.model: Any = model
        self.classes, self.kind = class_names(classes), "hbb"
        _check_classes(self.model.config, self.classes)
        first = next(m for m in self.backbone.modules() if isinstance(m, nn.Conv2d))
        self.in_chans = first.in_channels
        # Deformable DETR halves its coarsest level once more.
        self.multiple = 64 if kind == "deformable_detr" else 32
        mean, std = MODELS[kind] or ((0.0,), (1.0,))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    @property
    def backbone(self) -> nn.Module:
        """The convolutional network under the encoder."""
        found: nn.Module = self.model.model.backbone.model
        within = getattr(found, "_backbone", None)  # timm's own network in the library's wrapper
        return within if isinstance(within, nn.Module) else found

    def check(self, images: Tensor, targets: Sequence[Targets] | None = None) -> None:
        """See Detector. The encoder adds maps of several strides, which must meet."""
        super().check(images, targets)
        check_sides(images, self.multiple)

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """See Detector. The knowledge holds the last decoder layer's queries, without those for denoising."""
        self.check(images, targets)
        with watched(self._projections) as projected:
            labels = None if targets is None else [_label(t, images.shape[2:]) for t in targets]
            told = self.model(pixel_values=(images - self.mean) / self.std, labels=labels)
        pyramid = _maps(told.encoder_last_hidden_state, [level for levels in projected for level in levels])
        strides = tuple(2 ** round(math.log2(images.shape[2] / level.shape[2])) for level in pyramid)
        queries = self._queries(told, images)
        losses = {} if targets is None else _terms(told, self.model.config)
        return Output(losses, Knowledge(pyramid, strides, queries=queries))

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, Q, K) and boxes (B, Q, 4) in pixels of all queries."""
        self.check(images)
        queries = self._queries(self.model(pixel_values=(images - self.mean) / self.std), images)
        return queries.scores(), queries.boxes

    @property
    def nms(self) -> bool:
        """A set predictor finds every object once, so that overlaps are left alone."""
        return False

    def config(self) -> dict[str, Any]:
        """The library's own configuration, as far as it differs from the default."""
        own = json.loads(self.model.config.to_json_string(use_diff=True))
        model = own.pop("model_type")
        for name in ("transformers_version", "architectures", "dtype", "_name_or_path", "id2label", "label2id"):
            own.pop(name, None)
        return asdict(TransformersConfig(model=model, config=own, in_chans=self.in_chans))

    def _queries(self, told: Any, images: Tensor) -> Queries:
        count = self.model.config.num_queries
        height, width = images.shape[2:]
        boxes = box_convert(told.pred_boxes[:, -count:].float(), "cxcywh", "xyxy")
        boxes = boxes * boxes.new_tensor([width, height, width, height])
        logits = told.logits[:, -count:]
        return Queries(logits, boxes, "softmax" if logits.shape[2] == len(self.classes) + 1 else "sigmoid")

    @property
    def _projections(self) -> list[nn.Module]:
        """What makes the maps (B, C, H, W) that enter a flat encoder, from which the shapes of its levels are known."""
        single = getattr(self.model.model, "input_projection", None)
        return list(getattr(self.model.model, "input_proj", [] if single is None else [single]))


def build(config: TransformersConfig, classes: Sequence[str]) -> nn.Module:
    """The library's model. Errors: ConfigError when the library is missing, or refuses this."""
    try:
        from transformers import AutoConfig, AutoModelForObjectDetection
    except ImportError as error:
        raise ConfigError(
            f"this detector needs the library transformers ({error}). Run pip install 'skystill[transformers]'."
        ) from error
    labels = dict(enumerate(classes))
    names = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    model, base = BASES.get(config.base, (config.model, {}))
    wanted: dict[str, Any] = {**base, **config.config}
    if not config.pretrained:
        _check_fields(AutoConfig.for_model(model), config.config)
    elif config.pretrained.count("/") != 1 and not Path(config.pretrained).is_dir():  # the hub's names have one
        raise ConfigError(f"pretrained {config.pretrained!r} is no folder. Give one that save_pretrained wrote.")
    auto: Any = AutoModelForObjectDetection
    found: nn.Module
    try:
        if config.pretrained:
            # safetensors alone: the library's older files are pickles, which could run code.
            found = auto.from_pretrained(
                config.pretrained, **wanted, **names, ignore_mismatched_sizes=True, use_safetensors=True
            )
            return found
        if config.in_chans != 3:
            wanted = _with_bands(wanted, model, config.in_chans)
        found = auto.from_config(AutoConfig.for_model(model, **wanted, **names))
        _open_norms(found)
        return found
    except (OSError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"transformers cannot build {config.backbone}: {said}") from error


def _open_norms(model: nn.Module) -> None:
    """Batch norms of a model that starts from random weights let through what they get, as those of its authors do.

    The library draws their weights around 0 with deviation 0.01, which pretrained weights replace: without them every
    layer passes on a hundredth, and the encoder's maps, near 0.001, hardly learn.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.ones_(module.weight)


def _check_fields(default: Any, given: Mapping[str, Any]) -> None:
    """Refuses fields that the library's configuration does not have, which it would keep and never read."""
    ours = {name for _, base in BASES.values() for name in base}  # some it takes and keeps under another name
    for name in given:
        if name not in ours and not hasattr(default, name):
            close = did_you_mean(name, default.to_dict())
            raise ConfigError(f"config: {name!r} is no field of transformers' {type(default).__name__}.{close}")


def _with_bands(wanted: dict[str, Any], model: str, bands: int) -> dict[str, Any]:
    """The configuration of a model that sees `bands` bands."""
    from transformers import AutoConfig

    backbone = AutoConfig.for_model(model, **wanted).backbone_config.to_dict()
    backbone["num_channels"] = bands
    if "stem_channels" in backbone:
        backbone["stem_channels"] = [bands, *backbone["stem_channels"][1:]]
    return {**wanted, "backbone_config": backbone}


def _kind(model: nn.Module) -> str:
    """The model's name in MODELS. Errors: ConfigError for models of other tasks or families."""
    found = str(getattr(getattr(model, "config", None), "model_type", ""))
    if found not in MODELS or not type(model).__name__.endswith("ForObjectDetection"):
        raise ConfigError(
            f"transformers' {type(model).__name__} is none of the detectors that skystill knows, which are the "
            f"...ForObjectDetection of {', '.join(MODELS)}. Give wrap(features=..., predict=..., loss=...)."
        )
    return found


def _check_classes(config: Any, classes: tuple[str, ...]) -> None:
    """Refuses another number of classes, and other names than the model has; names what the library left nameless."""
    if config.num_labels != len(classes):
        raise ConfigError(
            f"{len(classes)} classes do not fit a model of {config.num_labels} labels. Build it with "
            f"num_labels={len(classes)}."
        )
    own = [str(config.id2label[i]) for i in range(config.num_labels)]
    if own == [f"LABEL_{i}" for i in range(len(own))]:
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: i for i, name in enumerate(classes)}
    elif own != list(classes):
        what = "in another order" if sorted(own) == sorted(classes) else "others"
        raise ConfigError(
            f"the model's labels are {what}: {', '.join(own):.200}. Give these, or set model.config.id2label first."
        )


def _label(target: Targets, size: torch.Size) -> dict[str, Tensor]:
    """Truth as the library takes it. Ignored objects are left out, so they count as background."""
    counted = target.counted()
    height, width = size
    boxes = counted.boxes.float() / counted.boxes.new_tensor([width, height, width, height])
    return {"class_labels": counted.labels, "boxes": box_convert(boxes, "xyxy", "cxcywh").clamp(0, 1)}


def _maps(encoded: Any, projected: list[Tensor]) -> tuple[Tensor, ...]:
    """(B, C, H_l, W_l), fine to coarse: as the encoder gives them, or cut from its flat sequence (B, sum H W, C)."""
    if not isinstance(encoded, Tensor):
        return tuple(encoded)
    sizes = [tuple(level.shape[2:]) for level in projected]
    parts = torch.split(encoded, [h * w for h, w in sizes], 1)
    return tuple(p.transpose(1, 2).reshape(len(p), -1, *size) for p, size in zip(parts, sizes, strict=True))


def _terms(told: Any, config: Any) -> dict[str, Tensor]:
    """The library's loss by name, summed over decoder layers and denoising; their sum is its `loss`.

    RT-DETR and D-FINE tell weighted terms, the others plain ones beside figures that are no loss.
    """
    weighted = getattr(config, "weight_loss_bbox", None) is not None
    plain = {
        "ce": 1.0,
        "bbox": getattr(config, "bbox_loss_coefficient", 0.0),
        "giou": getattr(config, "giou_loss_coefficient", 0.0),
    }
    found: dict[str, Tensor] = {}
    for name, value in told.loss_dict.items():
        short = re.sub(r"(_aux|_dn)?_\d+$", "", name.removeprefix("loss_"))
        if weighted or short in plain:
            value = value if weighted else plain[short] * value
            found[short] = found.get(short, torch.zeros_like(value)) + value
    return found
