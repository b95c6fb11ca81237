"""The GFL detector: timm backbone, feature pyramid, quality and distribution head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import timm
import torch
from torch import Tensor

from skystill.detectors.base import Detector
from skystill.detectors.checks import class_names
from skystill.detectors.gfl.config import GFLConfig
from skystill.detectors.gfl.head import Head
from skystill.detectors.gfl.loss import gfl_loss
from skystill.detectors.gfl.neck import Neck
from skystill.detectors.modes import norms_told
from skystill.errors import ConfigError
from skystill.structures import HeadView, Knowledge, Output, Targets


class GFL(Detector):
    """Generalized Focal Loss detector (Li et al., NeurIPS 2020, arXiv 2006.04388) for horizontal or oriented boxes, as
    the architecture's `kind` says.

    >>> model = GFL(("ship", "plane"), GFLConfig("mobilenetv3_small_100", levels=(3, 5), neck_channels=64))
    >>> detections = model.eval().predict(torch.rand(1, 3, 256, 256))
    """

    family: ClassVar[str] = "gfl"

    def __init__(self, classes: Sequence[str], architecture: GFLConfig) -> None:
        super().__init__()
        self.classes, self.kind, self.in_chans = class_names(classes), architecture.kind, architecture.in_chans
        self.architecture = architecture
        self.multiple = max(32, architecture.strides[-1])
        first, last = architecture.levels
        try:
            self.backbone = timm.create_model(
                architecture.backbone,
                features_only=True,
                out_indices=tuple(range(first - 1, min(last, 5))),
                in_chans=architecture.in_chans,
            )
        except (RuntimeError, AssertionError, IndexError) as error:
            raise ConfigError(
                f"backbone {architecture.backbone!r}: {error}. List names with timm.list_models()."
            ) from error
        channels: list[int] = self.backbone.feature_info.channels()  # type: ignore[operator, union-attr]
        self.neck = Neck(channels, architecture)
        self.head = Head(architecture, len(self.classes))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", _per_band(architecture.mean, self.in_chans), persistent=False)
        self.register_buffer("std", _per_band(architecture.std, self.in_chans), persistent=False)

    def knowledge(self, images: Tensor) -> Knowledge:
        """Pyramid and dense predictions for images (B, C, H, W) in 0..1."""
        self.check(images)
        with norms_told(images):
            pyramid = self.neck(self.backbone((images - self.mean) / self.std))
            dense, maps = self.head.run(pyramid)
        return Knowledge(pyramid, self.architecture.strides, dense, head=replace(self.head_view(), maps=maps))

    def head_view(self) -> HeadView:
        """The middle of the head, before the last layer of its towers."""
        return HeadView((self.head.middle_width,) * 2, self.head.finish)

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """Losses "qfl", "dfl", "giou" ("kld" for oriented boxes) when targets are given, and the knowledge; see
        `Output`."""
        self.check(images, targets)
        knowledge = self.knowledge(images)
        losses: dict[str, Tensor] = {}
        if targets is not None:
            assert knowledge.dense is not None
            losses = gfl_loss(knowledge.dense, targets, self.place_strides(knowledge.dense.levels, images.device))
        return Output(losses, knowledge)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) and boxes (B, N, 4|5) at every place."""
        dense = self.knowledge(images).dense
        assert dense is not None
        return dense.scores(), dense.boxes

    def place_strides(self, levels: tuple[int, ...], device: torch.device) -> Tensor:
        """(N,) pixels of each place's cell."""
        strides = torch.tensor(self.architecture.strides, dtype=torch.float32, device=device)
        return strides.repeat_interleave(torch.tensor(levels, device=device), output_size=sum(levels))

    def config(self) -> dict[str, Any]:
        """The architecture as plain values."""
        return asdict(self.architecture)


def _per_band(values: tuple[float, ...], bands: int) -> Tensor:
    """(1, bands, 1, 1). When the numbers differ, their mean serves every band, as timm does for converted first
    layers."""
    if len(values) != bands:
        values = (sum(values) / len(values),) * bands
    return torch.tensor(values).view(1, bands, 1, 1)
