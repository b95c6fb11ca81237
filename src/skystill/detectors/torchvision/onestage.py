"""RetinaNet, FCOS, SSD and SSDlite: heads that predict at anchors on a grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from skystill.boxes.hbb import clip, scaled
from skystill.detectors.torchvision.model import TorchvisionDetector
from skystill.detectors.torchvision.towers import finish_towers, open_towers
from skystill.structures import Activation, Dense, HeadView, Knowledge, MapPair, Output, Targets

Outputs = dict[str, Tensor]
Truth = dict[str, Tensor]
_SCALE = 8  # sides of FCOS's places in strides, as GFL's anchors have it


class OneStage(TorchvisionDetector):
    """A pyramid, a head, anchors."""

    activation: ClassVar[Activation] = "sigmoid"

    def run(self, images: Tensor, inside: bool = False) -> tuple[Knowledge, Outputs]:
        """Knowledge, and the head's own outputs in float32. inside: with the maps in the middle of the head."""
        normalised, maps = self.features(images)
        pyramid = tuple(maps.values())
        head = self.looked_into(pyramid) if inside else None
        said = self.model.head(list(pyramid)) if head is None else finish_towers(self.model.head, head.maps)
        outputs = {key: value.float() for key, value in said.items()}
        places = self._places(normalised, pyramid)
        cells = [level.shape[2] * level.shape[3] for level in pyramid]
        per_cell: list[int] = self.model.anchor_generator.num_anchors_per_location()
        levels = tuple(n * a for n, a in zip(cells, per_cell, strict=True))
        return Knowledge(pyramid, self.strides, self.dense(outputs, places, levels), head=head), outputs

    def looked_into(self, pyramid: tuple[Tensor, ...]) -> HeadView | None:
        """The head opened on these levels, where it can be."""
        del pyramid
        return None

    def _places(self, images: Tensor, pyramid: tuple[Tensor, ...]) -> Tensor:
        """(N, 4) anchors. In float32: torchvision makes them in the maps' type, and bfloat16 knows no pixel 301."""
        one = torch.zeros((), device=pyramid[0].device)
        stubs = [one.expand(1, 1, *level.shape[2:]) for level in pyramid]
        one_size = [(images.shape[2], images.shape[3])]  # the anchors of all images of a batch are the same
        anchors: Tensor = self.model.anchor_generator(ImageList(images, one_size), stubs)[0]
        return anchors

    def dense(self, outputs: Outputs, places: Tensor, levels: tuple[int, ...]) -> Dense:
        """What the head says, in skystill's form: without background, or with it last where classes share a softmax."""
        logits = outputs["cls_logits"]
        logits = logits.roll(-1, -1) if self.activation == "softmax" else logits[..., self.offset :]
        return Dense(logits, self.decode(outputs["bbox_regression"], places), None, places, levels, self.activation)

    def decode(self, deltas: Tensor, places: Tensor) -> Tensor:
        """(B, N, 4) boxes in pixels from a head's (B, N, 4)."""
        batch, n, _ = deltas.shape
        boxes: Tensor = self.model.box_coder.decode_single(deltas.reshape(-1, 4), places.repeat(batch, 1))
        return boxes.view(batch, n, 4)

    @abstractmethod
    def own_losses(self, dense: Dense, outputs: Outputs, truth: list[Truth]) -> dict[str, Tensor]:
        """torchvision's losses."""

    def scores(self, dense: Dense, outputs: Outputs) -> Tensor:
        """(B, N, K) by which detections are ranked."""
        return dense.scores()

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """torchvision's own losses when targets are given, and the knowledge; see `Output`."""
        self.check(images, targets)
        knowledge, outputs = self.run(images, inside=True)
        if targets is None:
            return Output({}, knowledge)
        assert knowledge.dense is not None
        with torch.autocast(images.device.type, enabled=False):
            return Output(self.own_losses(knowledge.dense, outputs, self.truth(targets)), knowledge)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) and boxes (B, N, 4) at every place, cut at the image as torchvision cuts them."""
        knowledge, outputs = self.run(images)
        assert knowledge.dense is not None
        boxes = clip(knowledge.dense.boxes, images.shape[2], images.shape[3])
        return self.scores(knowledge.dense, outputs), boxes


class TwoTowers(OneStage):
    """A head of a tower for classes and one for boxes."""

    def looked_into(self, pyramid: tuple[Tensor, ...]) -> HeadView:
        """Its maps before the last convolution of both."""
        return replace(self.head_view(), maps=open_towers(self.model.head, pyramid))

    def head_view(self) -> HeadView:
        """The middle of the head, before the last convolution of its towers."""
        width = self.model.head.classification_head.cls_logits.in_channels
        return HeadView((width, width), self._finish)

    def _finish(self, maps: Sequence[MapPair], levels: Sequence[int]) -> Dense:
        outputs = {key: value.float() for key, value in finish_towers(self.model.head, maps).items()}
        first = maps[0][0]
        height, width = (first.shape[d] * self.strides[levels[0]] for d in (2, 3))
        grids = [first.new_zeros(1, 1, -(-height // s), -(-width // s)) for s in self.strides]
        every = self._places(first.new_zeros(()).expand(1, 1, height, width), tuple(grids))
        anchors: list[int] = self.model.anchor_generator.num_anchors_per_location()
        of_level = torch.split(every, [g.shape[2] * g.shape[3] * a for g, a in zip(grids, anchors, strict=True)])
        places = [of_level[level] for level in levels]
        return self.dense(outputs, torch.cat(places), tuple(len(p) for p in places))


class RetinaNetDetector(TwoTowers):
    """RetinaNet (Lin et al., ICCV 2017, arXiv 1708.02002)."""

    needs_background: ClassVar[bool] = False

    def own_losses(self, dense: Dense, outputs: Outputs, truth: list[Truth]) -> dict[str, Tensor]:
        """classification, bbox_regression."""
        losses: dict[str, Tensor] = self.model.compute_loss(truth, outputs, [dense.places] * len(truth))
        return losses


class FCOSDetector(TwoTowers):
    """FCOS (Tian et al., ICCV 2019, arXiv 1904.01355).

    Knowledge holds the class scores alone, as papers that distil FCOS have it. The root of class score times
    centerness, by which detections are ranked, lifts a background of 0.001 to 0.02, and terms that weight places by
    their score would drown in it.
    """

    needs_background: ClassVar[bool] = False

    def dense(self, outputs: Outputs, places: Tensor, levels: tuple[int, ...]) -> Dense:
        """See OneStage. A place is as large as the objects that its level is for, as regions and ATSS take it, and not
        the one cell that torchvision's anchor is."""
        return replace(super().dense(outputs, places, levels), places=scaled(places, _SCALE))

    def decode(self, deltas: Tensor, places: Tensor) -> Tensor:
        """(B, N, 4) boxes in pixels from distances to the edges."""
        boxes: Tensor = self.model.box_coder.decode(deltas, places)
        return boxes

    def scores(self, dense: Dense, outputs: Outputs) -> Tensor:
        """Class score and centerness, as torchvision joins them."""
        return (dense.scores() * outputs["bbox_ctrness"].sigmoid()).sqrt()

    def own_losses(self, dense: Dense, outputs: Outputs, truth: list[Truth]) -> dict[str, Tensor]:
        """classification, bbox_regression, bbox_ctrness."""
        anchors = [scaled(dense.places, 1 / _SCALE)] * len(truth)
        losses: dict[str, Tensor] = self.model.compute_loss(truth, outputs, anchors, list(dense.levels))
        return losses


class SSDDetector(OneStage):
    """SSD (Liu et al., ECCV 2016, arXiv 1512.02325) and SSDlite.

    Default boxes grow with the image, and torchvision would resize every image to 300 or 320 px: train and predict at
    one size.
    """

    activation: ClassVar[Activation] = "softmax"
    free_size: ClassVar[bool] = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.multiple = 32  # coarse levels are a few cells, whose default boxes fit any image
        if self.model.anchor_generator.steps is not None:
            self.strides = tuple(self.model.anchor_generator.steps)

    def own_losses(self, dense: Dense, outputs: Outputs, truth: list[Truth]) -> dict[str, Tensor]:
        """bbox_regression, classification."""
        matched = [self._match(t["boxes"], dense.places) for t in truth]
        anchors = [dense.places] * len(truth)
        losses: dict[str, Tensor] = self.model.compute_loss(truth, outputs, anchors, matched)
        return losses

    def _match(self, boxes: Tensor, places: Tensor) -> Tensor:
        """(N,) the object that each anchor learns, -1 for none."""
        if len(boxes) == 0:
            return torch.full((len(places),), -1, dtype=torch.int64, device=places.device)
        matched: Tensor = self.model.proposal_matcher(box_iou(boxes, places))
        return matched
