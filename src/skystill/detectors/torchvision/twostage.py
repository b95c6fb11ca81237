"""Faster R-CNN: proposals on the pyramid, then one decision for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from skystill.boxes.hbb import clip
from skystill.detectors.modes import training
from skystill.detectors.torchvision.model import TorchvisionDetector
from skystill.structures import Dense, Knowledge, Output, Targets, TwoStage


class First(NamedTuple):
    """What the first stage says. logits (B N, 1), deltas (B N, 4), boxes (B, N, 4), anchors (N, 4) an image, levels."""

    logits: Tensor
    deltas: Tensor
    boxes: Tensor
    anchors: list[Tensor]
    levels: tuple[int, ...]


class FasterRCNNDetector(TorchvisionDetector):
    """Faster R-CNN (Ren et al., NeurIPS 2015, arXiv 1506.01497)."""

    unexportable: ClassVar[str] = "how many boxes its second stage sees depends on the image"

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """torchvision's own losses when targets are given, and the knowledge; see `Output`."""
        self.check(images, targets)
        normalised, maps = self.features(images)
        # In float32: torchvision makes anchors in the maps' type, and bfloat16 knows no pixel 301.
        with torch.autocast(images.device.type, enabled=False):
            seen = {name: level.float() for name, level in maps.items()}
            sized = _with_sizes(normalised)
            first = self._first(sized, seen)
            losses, proposals = ({}, []) if targets is None else self._learn(sized, seen, first, targets)
        dense = Dense(first.logits.view(*first.boxes.shape[:2], 1), first.boxes, None, first.anchors[0], first.levels)
        stages = TwoStage(dense, proposals, self.judge)
        return Output(losses, Knowledge(tuple(maps.values()), self.strides, stages=stages))

    def _first(self, images: ImageList, maps: dict[str, Tensor]) -> First:
        rpn = self.model.rpn
        levels = list(maps.values())
        objectness, deltas = rpn.head(levels)
        anchors = rpn.anchor_generator(images, levels)
        counts = tuple(level[0].numel() for level in objectness)
        logits, flat = concat_box_prediction_layers(objectness, deltas)
        boxes = rpn.box_coder.decode(flat, anchors).view(len(anchors), -1, 4)
        return First(logits, flat, boxes, anchors, counts)

    def _propose(self, images: ImageList, first: First) -> list[Tensor]:
        """(R_i, 4) of each image, best first."""
        proposals: list[Tensor] = self.model.rpn.filter_proposals(
            first.boxes.detach(), first.logits, images.image_sizes, list(first.levels)
        )[0]
        return proposals

    def _learn(
        self, images: ImageList, maps: dict[str, Tensor], first: First, targets: list[Targets]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg; and the proposals."""
        truth = self.truth(targets)
        rpn, roi = self.model.rpn, self.model.roi_heads
        with training([rpn, roi], True):
            proposals = self._propose(images, first)
            labels, matched = rpn.assign_targets_to_anchors(first.anchors, truth)
            wanted = rpn.box_coder.encode(matched, first.anchors)
            objectness, box = rpn.compute_loss(first.logits, first.deltas, labels, wanted)
            _, losses = roi(maps, proposals, images.image_sizes, truth)
        return {"loss_objectness": objectness, "loss_rpn_box_reg": box, **losses}, proposals

    def judge(self, pyramid: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The second stage on any boxes; see `TwoStage`. They are cut at the image, as proposals are."""
        height, width = (side * self.strides[0] for side in pyramid[0].shape[2:])
        inside = [clip(b, height, width) for b in boxes]
        maps = {name: level.float() for name, level in zip(self.names, pyramid, strict=True)}  # bfloat16 of a teacher
        logits, found = self._second(maps, inside, (height, width))
        return logits.roll(-1, -1), found[:, 1:]

    def _second(self, maps: dict[str, Tensor], boxes: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Logits (R, 1+K), background first, and boxes (R, 1+K, 4) as torchvision orders them."""
        roi = self.model.roi_heads
        pooled = roi.box_roi_pool(maps, boxes, [size] * len(boxes))
        logits, deltas = roi.box_predictor(roi.box_head(pooled))
        return logits, roi.box_coder.decode(deltas, boxes)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) and boxes (B, N, 4): each proposal and class is a place, since each has a box of its own.

        Images with fewer proposals are filled up with places that score 0.
        """
        normalised, maps = self.features(images)
        size = (images.shape[2], images.shape[3])
        with training([self.model.rpn], False), torch.autocast(images.device.type, enabled=False):
            seen = {name: level.float() for name, level in maps.items()}
            sized = _with_sizes(normalised)
            proposals = self._propose(sized, self._first(sized, seen))
            logits, found = self._second(seen, proposals, size)
        boxes = clip(found[:, 1:], *size)
        scores = logits.softmax(-1)[:, 1:] * ((boxes[..., 2:] - boxes[..., :2]).amin(-1) >= 0.01)
        counts = [len(p) for p in proposals]
        one_class = [torch.diag_embed(s).flatten(0, 1) for s in torch.split(scores, counts)]
        apart = [b.flatten(0, 1) for b in torch.split(boxes, counts)]
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(one_class, batch_first=True), pad(apart, batch_first=True)


def _with_sizes(images: Tensor) -> ImageList:
    return ImageList(images, [(images.shape[2], images.shape[3])] * len(images))
