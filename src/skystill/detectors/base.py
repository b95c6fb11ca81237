"""What skystill needs of a detector. Ours and the wrapped ones all look like this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skystill.boxes.nms import Selection, select_batch
from skystill.detectors.checks import check_images, check_targets, check_weights
from skystill.detectors.modes import evaluating
from skystill.kinds import BoxKind
from skystill.structures import Detections, HeadView, Output, Targets


class Detector(nn.Module, ABC):
    """A function of a batch that returns what distillation may see.

    classes: names in label order. kind: "hbb" or "obb". in_chans: bands of an image. multiple: image sides that
    `forward` takes must be multiples of it (loaders pad to it). least: a shorter side is padded to it inside, so that
    maps show more than the image; 0 for none. unexportable: why it cannot become an ONNX file; empty
    where it can. free_size: images of any size look alike to it, and an ONNX file of it may take any multiples. False
    where boxes are shares of the image, so that it sees well only at the size it was trained at.
    """

    family: ClassVar[str]
    unexportable: ClassVar[str] = ""
    free_size: ClassVar[bool] = True
    classes: tuple[str, ...]
    kind: BoxKind
    in_chans: int
    multiple: int = 32
    least: int = 0

    @abstractmethod
    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """images: (B, C, H, W) in 0..1. With targets the output carries the detector's own losses."""

    @abstractmethod
    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) in 0..1 and boxes (B, N, 4|5) in pixels at every place: the network without selection."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain values from which `FAMILIES[family]` builds this architecture again."""

    def check(self, images: Tensor, targets: Sequence[Targets] | None = None) -> None:
        """Raises ConfigError for images that are no batch of floats, have other bands, or are of another type or place
        than the weights, and DataError for truth that does not fit them: a label of no class, a box that ends before it
        begins."""
        check_images(images, self.in_chans)
        check_weights(images, self)
        if targets is not None:
            check_targets(targets, len(images), self.classes, self.kind)

    @property
    def nms(self) -> bool:
        """Whether what `raw` gives holds an object more than once."""
        return True

    def set_progress(self, t: float) -> None:
        """How much of the training is done, 0..1, for losses that change on the way. Loops tell it before each step."""
        del t

    def head_view(self) -> HeadView | None:
        """The head's middle, without maps, for methods that run a student's maps through its end; None for a head that
        cannot be opened."""
        return None

    def select(self, scores: Tensor, boxes: Tensor, how: Selection | None = None) -> list[Detections]:
        """Detections of each image from what `raw` returned."""
        return select_batch(scores, boxes, how or Selection(), self.nms)

    @torch.no_grad()
    def predict(self, images: Tensor, how: Selection | None = None) -> list[Detections]:
        """Detections of each image of (B, C, H, W) in 0..1, in eval mode whatever mode the detector is in."""
        with evaluating(self):
            return self.select(*self.raw(images), how)
