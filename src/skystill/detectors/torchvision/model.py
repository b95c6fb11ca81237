"""What torchvision's detectors have in common: normalisation, pyramid, strides, truth in their own form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.detectors.base import Detector
from skystill.detectors.checks import class_names
from skystill.detectors.modes import norms_told
from skystill.detectors.torchvision.config import TorchvisionConfig
from skystill.errors import ConfigError
from skystill.structures import Targets

_FAR = 2048  # side of the image on which strides are measured, large enough for cells at stride 512


class TorchvisionDetector(Detector):
    """A torchvision model and what skystill needs beside it.

    model: torchvision's own; its state_dict is as torchvision writes it. names, strides: of each level, fine to coarse;
    strides in pixels a cell.
    offset: the output of the first class, 1 where output 0 is the background. architecture: gives the values that build
    the model again.
    """

    family: ClassVar[str] = "torchvision"
    needs_background: ClassVar[bool] = True

    def __init__(self, model: nn.Module, classes: Sequence[str], architecture: Callable[[], TorchvisionConfig]) -> None:
        super().__init__()
        self.model: Any = model
        self.classes, self.kind = class_names(classes), "hbb"
        self._architecture = architecture
        self.offset = self._offset(outputs_of(model))
        first = next(m for m in model.get_submodule("backbone").modules() if isinstance(m, nn.Conv2d))
        self.in_chans = first.in_channels
        self.mean: Tensor
        self.std: Tensor
        transform: Any = model.transform
        self.register_buffer("mean", torch.tensor(transform.image_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(transform.image_std).view(1, -1, 1, 1), persistent=False)
        self.names, self.strides, self.least = _layout(model.get_submodule("backbone"), self.in_chans, transform)
        self.multiple = max(32, self.strides[-1])

    @property
    def backbone(self) -> nn.Module:
        """The network under the pyramid, and under SSD's extra layers: what may be frozen or filled with weights."""
        under: nn.Module = self.model.backbone
        found: Any = getattr(under, "body", getattr(under, "features", under))
        return found if isinstance(found, nn.Module) else under

    def config(self) -> dict[str, Any]:
        """The architecture as plain values. Errors: ConfigError for a model that torchvision has no builder for."""
        return asdict(self._architecture())

    def _offset(self, outputs: int) -> int:
        if named := [name for name in self.classes if name.strip("_").lower() == "background"]:
            rest = ", ".join(name for name in self.classes if name not in named)
            raise ConfigError(
                f"classes names the background, {named[0]!r}, which torchvision counts by itself. Give {rest}."
            )
        if outputs == len(self.classes) + 1:
            return 1
        if outputs == len(self.classes) and not self.needs_background:
            return 0
        fitting = f"{outputs - 1}" if self.needs_background else f"{outputs - 1} or {outputs}"
        raise ConfigError(
            f"{len(self.classes)} classes do not fit a head of {outputs} outputs, of which torchvision takes the first "
            f"for background. Give {fitting} classes, or build the model with num_classes={len(self.classes) + 1}."
        )

    def features(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Normalised images, and the maps that the head sees, fine to coarse, by torchvision's names."""
        self.check(images)
        images = (images - self.mean) / self.std
        lack = [max(0, self.least - side) for side in images.shape[2:]]
        if any(lack):
            images = F.pad(images, (0, lack[1], 0, lack[0]))
        with norms_told(images):
            maps = self.model.backbone(images)
        return images, _by_name(maps)

    def truth(self, targets: list[Targets]) -> list[dict[str, Tensor]]:
        """Targets as torchvision's losses take them. Ignored objects are left out, so they count as background."""
        counted = [t.counted() for t in targets]
        return [{"boxes": t.boxes.float(), "labels": t.labels + self.offset} for t in counted]


def outputs_of(model: Any) -> int:
    """How many classes a model's head tells apart, its background included where it has one."""
    if hasattr(model, "roi_heads"):
        return int(model.roi_heads.box_predictor.cls_score.out_features)
    head = model.head.classification_head
    return int(head.num_columns if hasattr(head, "num_columns") else head.num_classes)


def _layout(backbone: nn.Module, bands: int, transform: Any) -> tuple[tuple[str, ...], tuple[int, ...], int]:
    """Names and strides of a backbone's levels, and a side from which on images go through it.

    It runs on the meta device: shapes alone, no arithmetic.
    """
    shadow = copy.deepcopy(backbone).to("meta").eval()

    def sides(side: int) -> dict[str, int]:
        maps = shadow(torch.empty(1, bands, side, side, device="meta"))
        return {name: level.shape[2] for name, level in _by_name(maps).items()}

    found = sides(_FAR)
    names, strides = tuple(found), tuple(round(_FAR / side) for side in found.values())
    designed_for = max(transform.fixed_size or (0,))
    for least in sorted({32, 64, 128, 256, 512, 1024, designed_for} - {0}):
        try:
            sides(least)
        except RuntimeError:  # a convolution without padding that is larger than its map
            continue
        return names, strides, least
    return names, strides, _FAR


def _by_name(maps: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    """A backbone of one level gives a map, of several a dict."""
    return {"0": maps} if isinstance(maps, Tensor) else maps
