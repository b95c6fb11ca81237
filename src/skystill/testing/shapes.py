"""What each part of a detector's knowledge looks like, and that it is what it says it is.

B batch, C channels, H W cells of a level, N places, K classes, Q queries, R boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skystill.boxes.hbb import center
from skystill.detectors.base import Detector
from skystill.structures import Dense, Knowledge, Queries, TwoStage


def check_knowledge(knowledge: Knowledge, detector: Detector, images: Tensor) -> None:
    """All parts that are there."""
    check_pyramid(knowledge, images)
    if knowledge.dense is not None:
        check_dense(knowledge.dense, knowledge, detector, images, len(detector.classes))
        check_head(knowledge, knowledge.dense)
    if knowledge.queries is not None:
        check_queries(knowledge.queries, detector, images)
    if knowledge.stages is not None:
        check_stages(knowledge.stages, knowledge, detector, images)
    if knowledge.detections is not None:
        assert len(knowledge.detections) == len(images), "detections: one for each image"


def check_pyramid(knowledge: Knowledge, images: Tensor) -> None:
    """Maps fine to coarse, whose sides are the image's by their stride."""
    pyramid, strides = knowledge.pyramid, knowledge.strides
    assert pyramid, "the knowledge has no pyramid, so methods that compare features cannot serve this detector"
    assert len(pyramid) == len(strides), f"{len(pyramid)} levels but {len(strides)} strides"
    assert list(strides) == sorted(strides), f"strides {strides} do not run from fine to coarse"
    for level, stride in zip(pyramid, strides, strict=True):
        assert level.ndim == 4, f"a level of shape {tuple(level.shape)} is no map (B, C, H, W)"
        assert len(level) == len(images), f"{len(level)} maps of {len(images)} images"
        assert level.isfinite().all(), f"the map of stride {stride} is not finite"
        for cells, side in zip(level.shape[2:], images.shape[2:], strict=True):
            fitting = (side // stride, -(-side // stride))
            assert cells in fitting, f"{cells} cells on {side} px are not of stride {stride}"


def check_dense(dense: Dense, knowledge: Knowledge, detector: Detector, images: Tensor, classes: int) -> None:
    """Places level by level, row by row; boxes decoded, in pixels, about their places; K as the activation has it."""
    batch, count = dense.logits.shape[:2]
    columns = 4 if detector.kind == "hbb" else 5
    assert batch == len(images), f"logits of {batch} images, not {len(images)}"
    assert dense.classes == classes, (
        f"logits {tuple(dense.logits.shape)} of a {dense.activation} are {dense.classes} classes, not {classes}; "
        "a softmax has one more, for background, last"
    )
    assert dense.boxes.shape == (batch, count, columns), f"boxes {tuple(dense.boxes.shape)}"
    assert dense.places.shape == (count, 4), f"places {tuple(dense.places.shape)} of {count} predictions"
    assert sum(dense.levels) == count, f"levels {dense.levels} do not add up to {count} places"
    assert len(dense.levels) == len(knowledge.pyramid), (
        f"{len(dense.levels)} levels of places, {len(knowledge.pyramid)} of the pyramid"
    )
    assert dense.logits.isfinite().all(), "logits are not finite"
    assert dense.boxes.isfinite().all(), "boxes are not finite"
    if dense.edges is not None:
        assert dense.edges.shape[:3] == (batch, count, columns), f"edges {tuple(dense.edges.shape)}"
        assert dense.edges.shape[3] > 1, "edges of one bin are no distributions; leave them None"
    _check_grid(dense, knowledge)
    _check_pixels(dense)


def _check_grid(dense: Dense, knowledge: Knowledge) -> None:
    """Places run over the rows of a level, with the anchors of a cell side by side."""
    parts = torch.split(dense.places, list(dense.levels))
    for places, level, stride in zip(parts, knowledge.pyramid, knowledge.strides, strict=True):
        height, width = level.shape[2:]
        anchors, rest = divmod(len(places), height * width)
        assert rest == 0, f"{len(places)} places at stride {stride}, on {height} x {width} cells"
        cell = torch.arange(height * width, device=places.device).repeat_interleave(anchors)
        wanted = (torch.stack([cell % width, cell // width], 1) + 0.5) * stride
        off = (center(places) - wanted).abs().max()
        assert off <= stride, (
            f"at stride {stride} a place lies {float(off):.0f} px from its cell: places are anchors (x1, y1, x2, y2) "
            "in pixels, row by row, those of a cell side by side"
        )


def _check_pixels(dense: Dense) -> None:
    """Boxes go with their places: over a level their centres rise by a pixel where those of the places do."""
    count = dense.levels[0]
    places, boxes = center(dense.places[:count]), dense.boxes.detach()[:, :count].float()
    found = center(boxes) if boxes.shape[2] == 4 else boxes[..., :2]
    apart = places - places.mean(0)
    if not apart.square().sum():  # a single cell
        return
    slope = float(((found.mean(0) - found.mean((0, 1))) * apart).sum() / apart.square().sum())
    assert 0.4 < slope < 2.5, (
        f"the centres of boxes move by {slope:.3f} px for each pixel of their places; boxes are decoded, in pixels"
    )


def check_head(knowledge: Knowledge, dense: Dense) -> None:
    """The end of an open head, run on the maps in its middle, says what the head said."""
    head = knowledge.head
    if head is None or not head.maps:
        return
    assert len(head.maps) == len(dense.levels), f"{len(head.maps)} pairs of maps for {len(dense.levels)} levels"
    found = {(c.shape[1], b.shape[1]) for c, b in head.maps}
    assert found == {head.widths}, f"maps are {found} channels wide, and HeadView.widths says {head.widths}"
    again = head.finish(head.maps, range(len(head.maps)))
    for what, one, other in (("logits", again.logits, dense.logits), ("boxes", again.boxes, dense.boxes)):
        assert one.shape == other.shape, f"HeadView.finish gives {what} {tuple(one.shape)}, not {tuple(other.shape)}"
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3), f"HeadView.finish gives other {what} than the head"


def check_queries(queries: Queries, detector: Detector, images: Tensor) -> None:
    """One box in pixels for each query; K as the activation has it."""
    columns = 4 if detector.kind == "hbb" else 5
    assert len(queries.logits) == len(images), f"queries of {len(queries.logits)} images, not {len(images)}"
    assert queries.classes == len(detector.classes), f"queries of {queries.classes} classes, not the detector's"
    assert queries.boxes.shape == (*queries.logits.shape[:2], columns), f"boxes {tuple(queries.boxes.shape)}"
    assert queries.boxes.isfinite().all(), "boxes are not finite"
    assert queries.logits.isfinite().all(), "logits are not finite"
    assert queries.boxes[..., :4].amax() > 2, "all boxes lie within 2 px: they are pixels, not shares of the image"


def check_stages(stages: TwoStage, knowledge: Knowledge, detector: Detector, images: Tensor) -> None:
    """A first stage of one class, proposals of each image, and a judge of any boxes."""
    check_dense(stages.first, knowledge, detector, images, 1)
    for boxes in stages.proposals:
        assert boxes.shape[1:] == (4,), f"proposals {tuple(boxes.shape)}"
        assert not boxes.requires_grad, "proposals carry a gradient"
    asked = [stages.first.places[:3].float(), stages.first.places[:2].float()][: len(images)]
    logits, found = stages.judge([level.float() for level in knowledge.pyramid], asked)
    count, classes = sum(len(a) for a in asked), len(detector.classes)
    assert logits.shape == (count, classes + 1), f"the judge gives logits {tuple(logits.shape)} for {count} boxes"
    assert found.shape == (count, classes, 4), f"the judge gives boxes {tuple(found.shape)} for {count} boxes"
