"""GFL's training loss: QFL + DFL + GIoU on places chosen by ATSS.

Generalized Focal Loss (Li et al., NeurIPS 2020, arXiv 2006.04388), eqs. 5 (QFL) and 6 (DFL). For oriented boxes the
quality is the exact overlap, the Gaussian KLD (boxes/gaussian.py) takes the place of GIoU, and DFL runs over the five
distributions of oriented.py. P positives, E = 4 or 5 distributions of n+1 bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from skystill.boxes.atss import atss_batch, inside_any
from skystill.boxes.gaussian import kld_loss
from skystill.boxes.hbb import paired_iou
from skystill.boxes.obb import paired_rotated_iou
from skystill.detectors.gfl.oriented import angle_focal_loss, linear_targets
from skystill.distributed import mean_over_workers
from skystill.structures import Dense, Targets


def quality_focal_loss(logits: Tensor, quality: Tensor, beta: float = 2.0) -> Tensor:
    """QFL, eq. 5: |quality - sigma|^beta times cross entropy, element by element.

    logits, quality: the same shape; quality in 0..1 is the IoU at a positive's class and 0 elsewhere.
    """
    gap = (quality - logits.sigmoid()).abs()
    return F.binary_cross_entropy_with_logits(logits, quality, reduction="none") * gap.pow(beta)


def distribution_focal_loss(edges: Tensor, distance: Tensor) -> Tensor:
    """DFL, eq. 6: cross entropy to the two bins that enclose the distance, weighted by nearness.

    edges: (P, n+1) logits. distance: (P,) in bins, 0 <= distance < n. Returns (P,).
    """
    left = distance.floor().long()
    right_weight = distance - left
    return (
        F.cross_entropy(edges, left, reduction="none") * (1 - right_weight)
        + F.cross_entropy(edges, left + 1, reduction="none") * right_weight
    )


def gfl_loss(dense: Dense, targets: list[Targets], strides: Tensor, topk: int = 9) -> dict[str, Tensor]:
    """The three terms {"qfl", "dfl", "giou"}, weighted 1, 1/4 and 2 as in the paper, each a scalar.

    dense: predictions with edges. targets: one per image, of the kind of dense.boxes; for oriented ones the third term
    is "kld". strides: (N,) pixels of each place's cell. An image without objects teaches background only.
    """
    assert dense.edges is not None
    oriented = dense.boxes.shape[2] == 5
    third = "kld" if oriented else "giou"
    image, place, box, label, valid = _positives(dense, targets, topk)
    logits, edges = dense.logits.float(), dense.edges
    quality = torch.zeros_like(logits)
    count = mean_over_workers(logits.new_tensor(float(len(place)))).clamp(min=1)

    if len(place) == 0:
        mean_over_workers(count.new_zeros(()))  # `total` below: workers with objects wait for this one there
        nothing = edges.float().sum() * 0
        qfl = (quality_focal_loss(logits, quality) * valid[..., None]).sum() / count
        return {"qfl": qfl, "dfl": nothing, third: nothing}

    predicted = dense.boxes[image, place]
    with torch.no_grad():
        quality[image, place, label] = (paired_rotated_iou if oriented else paired_iou)(predicted, box)
        weight = logits[image, place].sigmoid().amax(1)
        total = mean_over_workers(weight.sum()).clamp(min=1e-6)
    qfl = (quality_focal_loss(logits, quality) * valid[..., None]).sum() / count
    gap = ((kld_loss if oriented else generalized_box_iou_loss)(predicted, box) * weight).sum() / total

    centre = ((dense.places[:, :2] + dense.places[:, 2:]) / 2)[place]
    per_edge = (_dfl_oriented if oriented else _dfl_upright)(edges[image, place].float(), box, centre, strides[place])
    dfl = (per_edge.mean(1) * weight).sum() / total
    return {"qfl": qfl, "dfl": dfl * 0.25, third: gap * 2.0}


def _dfl_upright(edges: Tensor, boxes: Tensor, centre: Tensor, strides: Tensor) -> Tensor:
    """(P, 4) DFL of the edge distances; edges: (P, 4, n+1)."""
    n = edges.shape[-1] - 1
    distance = torch.cat([centre - boxes[:, :2], boxes[:, 2:] - centre], 1) / strides[:, None]
    distance = distance.clamp(0, n - 0.01)
    return distribution_focal_loss(edges.flatten(0, 1), distance.flatten()).view(-1, 4)


def _dfl_oriented(edges: Tensor, boxes: Tensor, centre: Tensor, strides: Tensor) -> Tensor:
    """(P, 5) DFL of offsets, half sides and angle; edges: (P, 5, n+1)."""
    wanted = linear_targets(boxes, centre, strides, edges.shape[-1] - 1)
    linear = distribution_focal_loss(edges[:, :4].flatten(0, 1), wanted.flatten()).view(-1, 4)
    return torch.cat([linear, angle_focal_loss(edges[:, 4], boxes)[:, None]], 1)


def _positives(dense: Dense, targets: list[Targets], topk: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Image and place of every positive (P,), its box (P, 4|5) and label (P,), and valid (B, N): False inside ignored
    objects."""
    images, places, boxes, labels, valid = [], [], [], [], []
    centre = (dense.places[:, :2] + dense.places[:, 2:]) / 2
    every = [target.counted() for target in targets]
    assignments = atss_batch(dense.places, dense.levels, [counted.boxes for counted in every], topk)
    for b, (target, counted, assignment) in enumerate(zip(targets, every, assignments, strict=True)):
        owner = assignment.object
        place = (owner >= 0).nonzero().flatten()
        images.append(torch.full_like(place, b))
        places.append(place)
        # An empty image's targets may have either number of columns.
        boxes.append(counted.boxes[owner[place]] if len(counted) else dense.boxes.new_zeros(0, dense.boxes.shape[2]))
        labels.append(counted.labels[owner[place]])
        valid.append((owner >= 0) | ~inside_any(centre, target.boxes[target.ignore]))
    return torch.cat(images), torch.cat(places), torch.cat(boxes), torch.cat(labels), torch.stack(valid)
