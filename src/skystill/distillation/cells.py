"""Heads with other anchors or levels, brought to one place for each cell. B batch, N places, H W cells of a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from skystill.boxes.hbb import paired_iou
from skystill.boxes.obb import obb_to_hbb
from skystill.structures import Dense, Knowledge


def by_cell(dense_s: Dense, dense_t: Dense, cells: Sequence[int]) -> tuple[Dense, Dense]:
    """Both heads with one place for each cell, as `same_grid` describes. cells: of each level.

    The anchors of a cell lie side by side. A place of the result is the mean of its cell's anchors.
    """
    best_t, best_s = [], []
    sure = dense_t.best()
    start_s = start_t = 0
    for n, count_s, count_t in zip(cells, dense_s.levels, dense_t.levels, strict=True):
        first_s = start_s + torch.arange(n, device=dense_s.places.device) * (count_s // n)
        first_t = start_t + torch.arange(n, device=dense_t.places.device) * (count_t // n)
        scores = sure[:, start_t : start_t + count_t]
        chosen = first_t + scores.view(-1, n, count_t // n).argmax(2)  # (B, n)
        wanted = dense_t.boxes.gather(1, chosen[..., None].expand(-1, -1, dense_t.boxes.shape[2]))
        wanted = wanted if wanted.shape[2] == 4 else obb_to_hbb(wanted)
        anchors = dense_s.places[start_s : start_s + count_s].view(n, count_s // n, 4)
        best_s.append(first_s + paired_iou(anchors, wanted[:, :, None].float()).argmax(2))
        best_t.append(chosen)
        start_s, start_t = start_s + count_s, start_t + count_t
    return _chosen(dense_s, torch.cat(best_s, 1), cells), _chosen(dense_t, torch.cat(best_t, 1), cells)


def _chosen(dense: Dense, index: Tensor, cells: Sequence[int]) -> Dense:
    """One place for each cell. index: (B, N) the place of `dense` that speaks for each."""
    batch = torch.arange(len(index), device=index.device)[:, None]
    split = torch.split(dense.places, list(dense.levels))
    places = [level.view(n, -1, 4).mean(1) for level, n in zip(split, cells, strict=True)]
    return replace(
        dense,
        logits=dense.logits[batch, index],
        boxes=dense.boxes[batch, index],
        edges=None if dense.edges is None else dense.edges[batch, index],
        places=torch.cat(places),
        levels=tuple(cells),
    )


def fold_finer(knowledge: Knowledge, finest: int) -> Knowledge:
    """Levels of a stride below `finest` are dropped, and their anchors counted to the cells of that level in which
    they lie. Unchanged where there is none, or no level of stride `finest`.
    """
    strides, dense = knowledge.strides, knowledge.dense
    if dense is None or finest not in strides or strides[0] >= finest:
        return knowledge
    target = strides.index(finest)
    start, grids = 0, []
    for level, count in zip(knowledge.pyramid, dense.levels, strict=True):
        places = torch.arange(start, start + count, device=dense.places.device)
        grids.append(places.view(*level.shape[2:], -1))
        start += count
    height, width, _ = grids[target].shape
    blocks = [
        _blocks(grid, height, width, finest // stride) for grid, stride in zip(grids, strides[:target], strict=False)
    ]
    folded = torch.cat([grids[target], *blocks], 2)
    index = torch.cat([folded.flatten(), *(grid.flatten() for grid in grids[target + 1 :])])
    return replace(
        knowledge,
        pyramid=knowledge.pyramid[target:],
        strides=strides[target:],
        dense=replace(
            dense,
            logits=dense.logits[:, index],
            boxes=dense.boxes[:, index],
            edges=None if dense.edges is None else dense.edges[:, index],
            places=dense.places[index],
            levels=(folded.numel(), *dense.levels[target + 1 :]),
        ),
    )


def _blocks(grid: Tensor, height: int, width: int, factor: int) -> Tensor:
    """(H, W, factor^2 A) of (h, w, A): each coarse cell's places. The last row and column stand in for what lacks."""
    rows = torch.arange(height * factor, device=grid.device).clamp(max=grid.shape[0] - 1)
    columns = torch.arange(width * factor, device=grid.device).clamp(max=grid.shape[1] - 1)
    whole = grid[rows][:, columns].view(height, factor, width, factor, -1)
    return whole.transpose(1, 2).flatten(2)
