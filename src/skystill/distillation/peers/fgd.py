"""FGD: focal and global distillation (Yang et al., CVPR 2022, https://arxiv.org/abs/2111.11837), eq. 2-13.

    L_fg   = alpha sum M S A^S A^C (t - phi(s))^2          M: cells of objects, S = 1 / cells of the (smallest) object
    L_bg   = beta sum (1 - M) S A^S A^C (t - phi(s))^2     S = 1 / cells of the background
    L_att  = gamma ( |A^S_t - A^S_s|_1 + |A^C_t - A^C_s|_1 )
    L_rel  = lam sum (R_t(t) - R_s(phi(s)))^2,   R(F) = F + W_2 ReLU(LN(W_1 sum_p softmax_p(W_k F) F_p))
    A^S = H W softmax_HW(mean_c |F| / T),   A^C = C softmax_C(mean_HW |F| / T), the teacher's in the first two lines

Each is averaged over the B images of a batch and added up over levels; C channels, H W cells p. R is a GcBlock, one for
each side and level, learned with the student, which starts as the identity. tau = T = 0.5, alpha 1e-3, beta 5e-4,
gamma 1e-3 and lam 5e-6: the paper's for anchor-based one-stage detectors. The sums are the paper's: the object and
background lines do not grow with the image, the spatial attention and relation lines do, as the number of cells.
Differs from the paper: objects flagged to be ignored are neither object nor background; an object covers the cells that
it touches (the release adds a row and a column); oriented boxes count as the upright boxes around them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skystill.boxes.obb import obb_to_hbb
from skystill.distillation.maps import spatial_attention
from skystill.distillation.peers.levels import LevelMethod
from skystill.distillation.settings import Divisor, Weight
from skystill.structures import Knowledge, Targets


def channel_attention(x: Tensor, tau: float) -> Tensor:
    """A^C(x) = C softmax_C(mean_HW |x| / tau): (B, C, 1, 1), mean 1."""
    return x.shape[1] * (x.abs().mean((2, 3), keepdim=True) / tau).softmax(1)


def object_masks(target: Targets, size: tuple[int, int], stride: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """M S and (1 - M) S of one image, both (H, W).

    size: (H, W) of the level. stride: pixels per cell down and across. Where objects overlap, the smallest one counts.
    """
    boxes = obb_to_hbb(target.boxes) if target.boxes.shape[1] == 5 else target.boxes
    rows = _touched(boxes[:, 1], boxes[:, 3], size[0], stride[0])
    columns = _touched(boxes[:, 0], boxes[:, 2], size[1], stride[1])
    covered = rows[:, :, None] & columns[:, None, :]
    share = covered / covered.sum((1, 2), keepdim=True).clamp(min=1)
    counted = torch.cat([share.new_zeros(1, *size), share[~target.ignore]]).amax(0)
    background = ~covered.any(0)
    return counted, background / background.sum().clamp(min=1)


def _touched(low: Tensor, high: Tensor, cells: int, stride: float) -> Tensor:
    """(M, cells) bool: which cells of a line each span low..high (M,) in pixels reaches into."""
    start = torch.arange(cells, device=low.device) * stride
    return (low[:, None] < start + stride) & (high[:, None] > start)


def focal_losses(feat_s: Tensor, feat_t: Tensor, fg: Tensor, bg: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """Object, background and attention line of one level without their factors, three scalars.

    feat_s, feat_t: (B, C, H, W). fg, bg: (B, 1, H, W) from object_masks.
    """
    spatial_t, spatial_s = spatial_attention(feat_t, tau), spatial_attention(feat_s, tau)
    channel_t, channel_s = channel_attention(feat_t, tau), channel_attention(feat_s, tau)
    by_cell = (channel_t * (feat_t - feat_s).square()).sum(1, keepdim=True) * spatial_t
    attention = (spatial_t - spatial_s).abs().sum() + (channel_t - channel_s).abs().sum()
    images = len(feat_t)
    return (fg * by_cell).sum() / images, (bg * by_cell).sum() / images, attention / images


class GlobalContext(nn.Module):
    """R, a GcBlock: every cell gets the same transform of one attention-pooled cell. The identity to begin with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.mask = nn.Conv2d(channels, 1, 1)
        last = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.transform = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.LayerNorm([inner, 1, 1]), nn.ReLU(inplace=True), last
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        where = self.mask(x).flatten(2).softmax(2)
        pooled = (x.flatten(2) * where).sum(2)
        out: Tensor = x + self.transform(pooled[:, :, None, None])
        return out


class FGD(LevelMethod):
    """FGD on every student level. weight: a common factor of the four lines. alpha, beta, gamma, lam, tau: see above.

    Returns "fgd_fg", "fgd_bg", "fgd_attention", "fgd_relation".
    """

    def __init__(
        self,
        weight: Weight = 1.0,
        alpha: Weight = 1e-3,
        beta: Weight = 5e-4,
        gamma: Weight = 1e-3,
        lam: Weight = 5e-6,
        tau: Divisor = 0.5,
    ) -> None:
        super().__init__(weight)
        self.alpha, self.beta, self.gamma, self.lam, self.tau = alpha, beta, gamma, lam, tau
        self.context_s, self.context_t = nn.ModuleList(), nn.ModuleList()

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Also makes both sides' context blocks for every student level."""
        super().build(student, teacher)
        widths = [teacher.pyramid[j].shape[1] for j in self.partner]
        self.context_s = nn.ModuleList(GlobalContext(c) for c in widths)
        self.context_t = nn.ModuleList(GlobalContext(c) for c in widths)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        levels = []
        for i, (s, t) in enumerate(self.pairs(student, teacher)):
            size, full = (t.shape[2], t.shape[3]), student.pyramid[i].shape
            stride = student.strides[i] * full[2] / size[0], student.strides[i] * full[3] / size[1]
            masks = [object_masks(target, size, stride) for target in targets]
            fg, bg = (torch.stack(m)[:, None] for m in zip(*masks, strict=True))
            relation = (self.context_t[i](t) - self.context_s[i](s)).square().sum() / len(t)
            levels.append(torch.stack([*focal_losses(s, t, fg, bg, self.tau), relation]))
        fg_loss, bg_loss, attention, relation = self.weight * torch.stack(levels).sum(0)
        return {
            "fgd_fg": self.alpha * fg_loss,
            "fgd_bg": self.beta * bg_loss,
            "fgd_attention": self.gamma * attention,
            "fgd_relation": self.lam * relation,
        }
