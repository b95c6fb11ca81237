"""Where each task is distilled: R_sem for semantics, R_loc for localization (TASD of LTD, DOI
10.1109/TGRS.2023.3241342).

R_loc: ATSS positives plus the valuable localization region, the ring of places around them.
R_sem: positives, places at an object's core, and places where the teacher is sure.
B batch, N places, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

from skystill.boxes.atss import atss_batch, inside_any, valuable_regions
from skystill.boxes.hbb import scaled
from skystill.structures import Dense, Targets


@dataclass(frozen=True, slots=True)
class Regions:
    """Masks (B, N): positives, ring (the VLR), sem (R_sem), loc (R_loc)."""

    positives: Tensor
    ring: Tensor
    sem: Tensor
    loc: Tensor

    def shared(self) -> Regions:
        """The same with one region for both tasks: what disentangling is held against."""
        together = self.sem | self.loc
        return replace(self, sem=together, loc=together)


@torch.no_grad()
def find_regions(
    dense_t: Dense, targets: list[Targets], core: float = 0.5, sure: float = 0.3, low: float = 0.25, topk: int = 9
) -> Regions:
    """Regions of each image. core: size of an object's core as a share of its sides. sure: teacher score that counts
    as sure.

    An image without objects has no region at all, and no box is taught where the teacher may not speak of its own.
    """
    places, levels = dense_t.places, dense_t.levels
    centre = (places[:, :2] + places[:, 2:]) / 2
    certain = dense_t.best() >= sure
    boxes = [target.counted().boxes for target in targets]
    assignments = atss_batch(places, levels, boxes, topk)
    positive = torch.stack([one.object for one in assignments]) >= 0
    ring = valuable_regions(places, boxes, assignments, low) >= 0
    cores = torch.stack([inside_any(centre, shrink(one, core)) for one in boxes])
    peopled = torch.tensor([len(one) > 0 for one in boxes], device=places.device)[:, None]
    sem = (positive | cores | certain) & peopled
    positive, ring = _placed(positive, dense_t), _placed(ring, dense_t)
    return Regions(positive, ring, sem, positive | ring)


@torch.no_grad()
def proposal_regions(
    boxes: list[Tensor], dense_t: Dense, targets: list[Targets], sure: float = 0.3, low: float = 0.25
) -> tuple[Tensor, Tensor]:
    """R_sem and R_loc of the proposals (R_i, 4) of each image, two masks (1, R).

    R_sem: IoU of at least 0.5 with an object, or the teacher is sure of one. R_loc: IoU of at least `low`. dense_t: of
    one image with all R proposals. An image without objects has no region at all.
    """
    overlaps, peopled = [], []
    for found, target in zip(boxes, targets, strict=True):
        truth = target.counted().boxes
        overlaps.append(box_iou(found, truth).amax(1) if len(truth) else found.new_zeros(len(found)))
        peopled.append(torch.full_like(overlaps[-1], len(truth) > 0, dtype=torch.bool))
    overlap, certain = torch.cat(overlaps)[None], dense_t.best() >= sure
    return ((overlap >= 0.5) | certain) & torch.cat(peopled), _placed(overlap >= low, dense_t)


def _placed(region: Tensor, dense_t: Dense) -> Tensor:
    """Where the teacher's boxes are its own: elsewhere they are the student's, which would only count."""
    return region if dense_t.placed is None else region & dense_t.placed


def shrink(boxes: Tensor, factor: float) -> Tensor:
    """(M, 4|5) boxes with the same centres and angles and `factor` times the sides."""
    if boxes.shape[1] == 5:
        return torch.cat([boxes[:, :2], boxes[:, 2:4] * factor, boxes[:, 4:]], 1)
    return scaled(boxes, factor)
