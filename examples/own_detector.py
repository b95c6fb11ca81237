"""A detector written out in full: an FCOS as a student, taught by a GFL.

    python examples/own_detector.py

A detector is whatever has the four methods of `skystill.Detector`. `skystill.wrap` does this for torchvision's models;
here it is by hand, as for a family that skystill does not know, so that predictions count and not features alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import skystill
from skystill import Dense, Detector, Knowledge, Output, Targets


class FCOSDetector(Detector):
    """FCOS (Tian et al., ICCV 2019) on ResNet-18, from random weights."""

    family: ClassVar[str] = "fcos"

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes, self.kind, self.in_chans, self.multiple = classes, "hbb", 3, 128
        backbone = resnet_fpn_backbone(
            backbone_name="resnet18",
            weights=None,
            trainable_layers=5,
            returned_layers=[2, 3, 4],
            extra_blocks=LastLevelP6P7(256, 256),
        )
        self.fcos = FCOS(backbone, num_classes=len(classes))

    def run(self, images: Tensor) -> tuple[Knowledge, dict[str, Tensor], list[Tensor]]:
        """Knowledge, and what FCOS's own loss needs: head outputs and anchors of each image."""
        self.check(images)
        normalised = (images - 0.45) / 0.225
        pyramid = tuple(self.fcos.backbone(normalised).values())
        outputs = self.fcos.head(list(pyramid))
        size = (images.shape[2], images.shape[3])
        anchors = self.fcos.anchor_generator(ImageList(normalised, [size] * len(images)), list(pyramid))
        boxes = self.fcos.box_coder.decode(outputs["bbox_regression"], torch.stack(anchors))
        dense = Dense(
            logits=outputs["cls_logits"],
            boxes=boxes,
            edges=None,  # no distributions, so boxes are imitated by GIoU
            places=anchors[0],
            levels=tuple(p.shape[2] * p.shape[3] for p in pyramid),
        )
        return Knowledge(pyramid, (8, 16, 32, 64, 128), dense), outputs, anchors

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """FCOS's losses when targets are given, and the knowledge."""
        knowledge, outputs, anchors = self.run(images)
        losses: dict[str, Tensor] = {}
        if targets is not None:
            assert knowledge.dense is not None
            truth = [{"boxes": t.counted().boxes, "labels": t.counted().labels} for t in targets]
            losses = self.fcos.compute_loss(truth, outputs, anchors, list(knowledge.dense.levels))
        return Output(losses, knowledge)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) and boxes (B, N, 4) at every place."""
        knowledge, outputs, _ = self.run(images)
        assert knowledge.dense is not None
        return (knowledge.dense.scores() * outputs["bbox_ctrness"].sigmoid()).sqrt(), knowledge.dense.boxes

    def config(self) -> dict[str, Any]:
        """What builds it again; `skystill.load` also needs an entry in FAMILIES of detectors/weights.py."""
        return {}


if __name__ == "__main__":
    torch.manual_seed(0)
    student, teacher = FCOSDetector(("ship", "plane")), skystill.create("gfl_r18", ("ship", "plane"))
    distiller = skystill.Distiller(student, teacher, skystill.LTD())
    truth = Targets(torch.tensor([[20.0, 30.0, 60.0, 50.0]]), torch.tensor([1]))
    losses = distiller(torch.rand(2, 3, 128, 128), [truth, Targets.empty()])
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    print({name: round(value.item(), 3) for name, value in losses.items()})
    print(len(student.eval().predict(torch.rand(1, 3, 128, 128))[0]), "detections in noise")
