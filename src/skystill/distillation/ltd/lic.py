"""LIC, the local implicit calibration module of LTD (IEEE TGRS 2023, DOI 10.1109/TGRS.2023.3241342).

A deformable 3x3 convolution in which every tap looks where its cell's offsets point:

    LIC(f)(p) = sum_{k=1..9} w_k f(p + p_k + Delta_k(p)),    Delta = 3x3 conv(f), 18 channels

It is written as a weighted gather (`embedding_bag` over the four cells around each tap) and one matrix product: on a
CPU about seven times as fast as torchvision's deform_conv2d, forward and backward together, and it can be evaluated
at a sample of the places, which deform_conv2d cannot: the loss is a mean over places, so a random sample estimates it
without bias. B batch, C channels, H W cells, P places.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.maps import columns

# Of so many cells one place at most: then gathering its neighbours is faster than the convolution of the whole map.
_SPARSE = 4


class LIC(nn.Module):
    """C channels in, `outputs` channels out. The offsets start at zero, so it starts as a plain 3x3 convolution."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(channels, 18, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]
        self.weight = nn.Parameter(torch.empty(outputs, channels, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, f: Tensor, places: Tensor | None = None) -> Tensor:
        """f: (B, C, H, W). places: (P,) flat cell indices, all cells when None. Returns (B, outputs, P)."""
        if places is None or _SPARSE * len(places) > f.shape[2] * f.shape[3]:
            return calibrate(f, self.offset(f), self.weight, places)
        return deformed(f, conv_at(f, self.offset, places), self.weight, places)


class Pointwise(nn.Module):
    """A 1x1 convolution with LIC's signature: what calibration is held against in an ablation."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, 1)

    def forward(self, f: Tensor, places: Tensor | None = None) -> Tensor:
        """f: (B, C, H, W). places: (P,) flat cell indices, all cells when None. Returns (B, outputs, P)."""
        out: Tensor = self.conv(columns(f, places).unsqueeze(3)).squeeze(3)
        return out


def calibrate(f: Tensor, offset: Tensor, weight: Tensor, places: Tensor | None = None) -> Tensor:
    """The deformable sum at some places.

    f: (B, C, H, W). offset: (B, 18, H, W), pairs (dy, dx) of the nine taps row by row, as torchvision orders them.
    weight: (C_out, C, 3, 3). places: (P,) flat cell indices or None for all H W. Returns (B, C_out, P). Outside the
    map f is 0.
    """
    if places is None:
        places = torch.arange(f.shape[2] * f.shape[3], device=f.device)
    return deformed(f, offset.flatten(2)[:, :, places], weight, places)


def conv_at(f: Tensor, conv: nn.Conv2d, places: Tensor) -> Tensor:
    """(B, C_out, P) what a 3x3 convolution with a border of one zero gives at some places of f (B, C, H, W)."""
    b, c, h, w = f.shape
    step = torch.arange(-1, 2, device=f.device)
    y, x = (places // w)[:, None] + step.repeat_interleave(3), (places % w)[:, None] + step.repeat(3)  # (P, 9)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    cell = y.clamp(0, h - 1) * w + x.clamp(0, w - 1) + _first_cells(f).view(b, 1, 1)
    taps = F.embedding(cell, _table(f)) * inside[..., None]
    out: Tensor = taps.view(b, len(places), 9 * c) @ _matrix(conv.weight)
    return (out if conv.bias is None else out + conv.bias).transpose(1, 2)


def deformed(f: Tensor, offset: Tensor, weight: Tensor, places: Tensor) -> Tensor:
    """`calibrate` with the offsets (B, 18, P) of the places alone."""
    b, c, h, w = f.shape
    cell, share = _corners(offset, places, h, w)  # (B, P, 9, 4)
    cell = cell + _first_cells(f).view(b, 1, 1, 1)
    taps = F.embedding_bag(cell.view(-1, 4), _table(f), per_sample_weights=share.reshape(-1, 4), mode="sum")
    out: Tensor = taps.view(b, len(places), 9 * c) @ _matrix(weight)
    return out.transpose(1, 2)


def _table(f: Tensor) -> Tensor:
    """(B H W, C): a row a cell."""
    return f.permute(0, 2, 3, 1).flatten(0, 2)


def _first_cells(f: Tensor) -> Tensor:
    """(B,) the row of each image's first cell."""
    return torch.arange(len(f), device=f.device) * (f.shape[2] * f.shape[3])


def _matrix(weight: Tensor) -> Tensor:
    """(9 C, C_out) of a kernel (C_out, C, 3, 3), taps row by row."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)


def _corners(offset: Tensor, places: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Flat index and bilinear share of the four cells around every tap, each (B, P, 9, 4), of offsets (B, 18, P);
    shares outside the map are 0."""
    moved = offset.reshape(len(offset), 9, 2, -1).permute(0, 3, 1, 2)
    grid = torch.arange(-1, 2, device=offset.device, dtype=offset.dtype)
    tap_y, tap_x = grid.repeat_interleave(3), grid.repeat(3)
    y = (places // w)[:, None] + tap_y + moved[..., 0]
    x = (places % w)[:, None] + tap_x + moved[..., 1]
    y0, x0 = y.detach().floor(), x.detach().floor()
    fy, fx = y - y0, x - x0
    rows = torch.stack([y0, y0, y0 + 1, y0 + 1], -1)
    cols = torch.stack([x0, x0 + 1, x0, x0 + 1], -1)
    share = torch.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], -1)
    inside = (rows >= 0) & (rows < h) & (cols >= 0) & (cols < w)
    # A student that diverged moves taps to NaN, which is no index; its loss is NaN all the same, by the shares.
    cell = (rows.clamp(0, h - 1) * w + cols.clamp(0, w - 1)).nan_to_num(0.0).long()
    return cell, share * inside
