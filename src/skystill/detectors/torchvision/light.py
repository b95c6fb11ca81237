"""torchvision's FCOS and Faster R-CNN in a light form over a timm backbone: what a CPU trains and a small machine runs.

Losses, heads and sampling are torchvision's. A pyramid of strides 8, 16 and 32; every part as wide as the pyramid, and
anchors and second stage for objects of a few pixels to some hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from skystill.errors import ConfigError

_STAGES = (2, 3, 4)  # of timm's features: strides 8, 16, 32
_STRIDES = (8, 16, 32)
_DEPTH = 2  # convolutions of each FCOS tower
_SIDES = (16, 32, 64)  # of Faster R-CNN's anchors
_POOLED, _HIDDEN = 7, 256  # side of what the second stage sees of a box; width of its two layers
# Boxes of an image: kept by the first stage, and drawn for the second one's loss.
_PROPOSED, _DRAWN = 500, 128


class Pyramid(nn.Module):
    """A timm backbone under torchvision's feature pyramid, as torchvision's detectors want their backbone.

    Errors: ConfigError for a backbone that timm does not have, or that gives no such strides.
    """

    def __init__(self, backbone: str, width: int, bands: int) -> None:
        super().__init__()
        try:
            self.body = timm.create_model(backbone, features_only=True, out_indices=_STAGES, in_chans=bands)
        except (RuntimeError, AssertionError, IndexError) as error:
            raise ConfigError(f"backbone {backbone!r}: {error}. List names with timm.list_models().") from error
        info: Any = self.body.feature_info
        if tuple(info.reduction()) != _STRIDES:
            raise ConfigError(f"backbone {backbone!r} gives strides {info.reduction()}; choose one of 8, 16 and 32.")
        self.fpn = FeaturePyramidNetwork(info.channels(), width)
        self.out_channels = width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) to levels by name, fine to coarse."""
        levels: dict[str, Tensor] = self.fpn({str(i): level for i, level in enumerate(self.body(images))})
        return levels


def _fcos(body: Pyramid, outputs: int) -> nn.Module:
    anchors = AnchorGenerator(tuple((side,) for side in _STRIDES), ((1.0,),) * len(_STRIDES))
    head = FCOSHead(body.out_channels, 1, outputs, _DEPTH)
    model: nn.Module = detection.FCOS(body, outputs, anchor_generator=anchors, head=head)
    return model


def _fasterrcnn(body: Pyramid, outputs: int) -> nn.Module:
    model: nn.Module = detection.FasterRCNN(
        body,
        rpn_anchor_generator=AnchorGenerator(tuple((s,) for s in _SIDES), ((0.5, 1.0, 2.0),) * len(_SIDES)),
        rpn_post_nms_top_n_train=_PROPOSED,
        rpn_post_nms_top_n_test=_PROPOSED,
        box_roi_pool=MultiScaleRoIAlign([str(i) for i in range(len(_SIDES))], _POOLED, 2),
        box_head=TwoMLPHead(body.out_channels * _POOLED**2, _HIDDEN),
        box_predictor=FastRCNNPredictor(_HIDDEN, outputs),
        box_batch_size_per_image=_DRAWN,
    )
    return model


LIGHT: dict[str, Callable[[Pyramid, int], nn.Module]] = {"fcos_light": _fcos, "fasterrcnn_light": _fasterrcnn}
