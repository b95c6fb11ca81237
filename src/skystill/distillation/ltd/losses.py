"""The losses of TASD (tasd.py), each over its region:

L_sem = 1/Z_sem sum_{R_sem} |p_t - p_s| BCE(s, p_t)     (BCKD's form, ICCV 2023; KL with temperature for softmax heads)
        and, where background has a weight, that times the same sum over all other places
L_loc = 1/Z_loc sum_{R_loc} sum_e c_e T^2 KL(softmax(d_t / T) || softmax(d_s / T))
        (LD, CVPR 2022, with the teacher's certainty of each edge, c_e = 1 - H(softmax d_t) / log(n+1), mean 1)

P selected places, K classes, E edges, n+1 bins. An oriented box's E = 5 distributions are its offsets, half sides and
angle; KL compares bin with bin, so that it knows no seam of the angle.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from skystill.boxes.gaussian import kld_loss
from skystill.detectors.gfl.loss import quality_focal_loss
from skystill.distillation.views import same_bins
from skystill.distributed import mean_over_workers
from skystill.errors import ConfigError
from skystill.structures import Dense


def semantic_loss(dense_s: Dense, dense_t: Dense, region: Tensor, tau: float = 2.0, background: float = 0.0) -> Tensor:
    """L_sem over region (B, N) bool, a scalar. Z_sem is the sum of the teacher's best scores there, at least 1.

    tau: temperature, for softmax heads only. background: weight of the places outside the region, which leave Z_sem as
    it is. An empty region gives 0 without them.
    """
    norm = mean_over_workers(dense_t.best()[region].sum()).clamp(min=1)
    z_s, z_t, weight = dense_s.logits, dense_t.logits, torch.where(region, 1.0, background)
    if background == 0:
        z_s, z_t, weight = z_s[region], z_t[region], weight[region]
    z_s, z_t, weight = z_s.float(), z_t.float(), weight[..., None]
    if dense_t.activation == "softmax":
        kl = F.kl_div((z_s / tau).log_softmax(-1), (z_t / tau).softmax(-1), reduction="none")
        return tau**2 * (weight * kl).sum() / norm
    return (weight * quality_focal_loss(z_s, z_t.sigmoid(), beta=1.0)).sum() / norm


def edge_certainty(edges: Tensor) -> Tensor:
    """c_e (P, E) in 0..1 for edge logits (P, E, n+1): 1 for a spike, 0 for a flat distribution."""
    log_p = edges.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    return 1 - entropy / math.log(edges.shape[-1])


def check_bins(dense_s: Dense, dense_t: Dense) -> None:
    """Refuses oriented heads of other numbers of bins: those of an angle are shares of a circle, and have no order."""
    if dense_s.edges is None or dense_t.edges is None or dense_s.edges.shape[2] == 4:
        return
    bins = dense_s.edges.shape[3], dense_t.edges.shape[3]
    if bins[0] != bins[1]:
        raise ConfigError(
            f"the student's oriented head has {bins[0]} bins, the teacher's {bins[1]}. Give both the same reg_max."
        )


def localization_loss(dense_s: Dense, dense_t: Dense, region: Tensor, tau: float = 10.0) -> Tensor:
    """L_loc over region (B, N) bool for heads with edge distributions, a scalar. Z_loc is the number of places, at
    least 1."""
    assert dense_s.edges is not None
    assert dense_t.edges is not None
    d_s, d_t = same_bins(dense_s.edges[region].float(), dense_t.edges[region].float())
    certainty = edge_certainty(d_t)
    # (edges, their certainty), so that c_e has mean 1 over all workers; before any return, for all must meet here
    edges, sure = mean_over_workers(torch.stack([certainty.new_tensor(float(certainty.numel())), certainty.sum()]))
    norm = mean_over_workers(torch.tensor(float(len(d_t)), device=d_t.device)).clamp(min=1)
    if len(d_t) == 0:
        return d_s.sum()
    certainty = certainty / (sure / edges).clamp(min=1e-6)
    kl = F.kl_div((d_s / tau).log_softmax(-1), (d_t / tau).softmax(-1), reduction="none").sum(-1)
    loss: Tensor = tau**2 * (certainty * kl).sum() / norm
    return loss


def box_imitation_loss(dense_s: Dense, dense_t: Dense, region: Tensor) -> Tensor:
    """L_loc for heads without distributions: `box_gap` to the teacher's box, weighted by the teacher's best score, a
    scalar."""
    b_s, b_t = dense_s.boxes[region].float(), dense_t.boxes[region].float()
    weight = dense_t.best()[region]
    norm = mean_over_workers(weight.sum()).clamp(min=1)
    if len(b_t) == 0:
        return b_s.sum()
    return (weight * box_gap(b_s, b_t)).sum() / norm


def box_gap(b_s: Tensor, b_t: Tensor) -> Tensor:
    """(P,) how far boxes are from the teacher's: 1 - GIoU of upright (P, 4), the Gaussian KLD of oriented (P, 5)."""
    gap: Tensor = (generalized_box_iou_loss if b_s.shape[1] == 4 else kld_loss)(b_s, b_t)
    return gap
