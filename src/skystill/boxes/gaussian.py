"""Oriented boxes as Gaussians: a loss that turns, shifts and stretches a box all at once.

KLD: Yang et al., NeurIPS 2021, arXiv 2106.01883. A box is the normal distribution with its centre as mean and
R diag(w^2/4, h^2/4) R^T as covariance. Of the same rectangle's two names, (w, h, theta) and (h, w, theta + 90 degrees),
both give the same Gaussian, and a square's does not depend on theta at all: the loss has no seam.
"""

from __future__ import annotations

import torch
from torch import Tensor

_THIN = 0.1  # pixels; thinner boxes count as this thin, so that one without area has a finite loss and gradient


def gaussian_divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(N_a || N_b) of boxes a with the boxes b at the same place; shapes (..., 5) that broadcast.

    Not symmetric: b's size is the unit in which shift and stretch are measured, so b is the truth. Returns (...).
    """
    (ax, ay, aw, ah, a_theta), (bx, by, bw, bh, b_theta) = a.unbind(-1), b.unbind(-1)
    aw, ah, bw, bh = (side.clamp(min=_THIN) for side in (aw, ah, bw, bh))
    dx, dy, cos, sin = ax - bx, ay - by, b_theta.cos(), b_theta.sin()
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    shift = 4 * ((along / bw).square() + (across / bh).square())
    turned_cos, turned_sin = (a_theta - b_theta).cos().square(), (a_theta - b_theta).sin().square()
    on_w = (aw.square() * turned_cos + ah.square() * turned_sin) / bw.square()
    on_h = (aw.square() * turned_sin + ah.square() * turned_cos) / bh.square()
    size = 2 * torch.log(bw / aw * (bh / ah))
    return ((shift + on_w + on_h + size - 2) / 2).clamp(min=0)


def kld_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - 1 / (1 + ln(1 + KL(N_a || N_b))), the paper's loss with tau 1: (...) in 0..1 of boxes (..., 5)."""
    return 1 - 1 / (1 + torch.log1p(gaussian_divergence(a, b)))
