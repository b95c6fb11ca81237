"""TASD inside the heads: what a teacher's two towers make of an image, before they say it.

A dense head has one tower for classes and one for boxes. Each teaches its own, so the tasks stay apart as they do in
L_sem and L_loc, but by features, which say more of a place than K logits and are said of every place:

    L_k = 1/L_s sum_i d(phi_k(S_i^k), T_j(i)^k),   k in {sem, loc}

S_i^k, T_j^k are the maps before the last convolution of tower k at a level (`HeadView`), j(i) the teacher level of the
nearest stride, phi_k a 1x1 convolution, one for all levels where the towers are the same for all, and
d = 1 - Pearson as in ccd.py.
Ours: neither the paper nor the authors' runs have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from skystill.distillation.adapters import TowerAdapters, adapter
from skystill.distillation.correlation import Seen, distance_through
from skystill.distillation.maps import at_common_size, columns, standardise
from skystill.distillation.pairing import nearest_levels
from skystill.structures import HeadView, Knowledge, MapPair


class Towers(nn.Module):
    """Adapters of both towers, and the distances between those of student and teacher.

    places: at most this many cells of the finest level are compared at a step, as whole images of the batch, at least
    one: a teacher's towers may have to run for it, and a convolution needs the cells around. The teacher's head is
    taken here, since lessons from a cache hold none: its towers run on the pyramid that they do hold.
    """

    def __init__(self, student: Knowledge, teacher: Knowledge, places: int) -> None:
        super().__init__()
        assert student.head is not None
        assert teacher.head is not None
        self.places = places
        self.partner = nearest_levels(student.strides, teacher.strides)
        self.adapt = TowerAdapters(student.head, teacher.head, len(student.strides), partial(adapter, bias=False))
        self._head: HeadView = teacher.head

    def forward(self, maps_s: tuple[MapPair, ...], teacher: Knowledge) -> tuple[Tensor, Tensor]:
        """L_sem and L_loc of the towers, scalars. maps_s: the student's (B, C, H_i, W_i), a pair for each level."""
        images = self._some_images(maps_s[0][0])
        maps_t = self._of_teacher(teacher, images)
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for i, pair_s in enumerate(maps_s):
            for s, t, phi, terms in zip(pair_s, maps_t[self.partner[i]], self.adapt.of(i), found, strict=True):
                seen, wanted = at_common_size(s[images].float(), t.float())
                terms.append(distance_through(phi, Seen(columns(seen)), standardise(columns(wanted))).mean())
        sem, loc = (torch.stack(terms).mean() for terms in found)
        return sem, loc

    def _some_images(self, finest: Tensor) -> Tensor | slice:
        """The images of (B, C, H, W) to compare, drawn anew at every step."""
        count = max(1, self.places // (finest.shape[2] * finest.shape[3]))
        if count >= len(finest):
            return slice(None)
        return torch.randperm(len(finest), device=finest.device)[:count]

    def _of_teacher(self, teacher: Knowledge, images: Tensor | slice) -> Sequence[MapPair]:
        """The teacher's maps of these images: those of its own run, or made from its pyramid."""
        if teacher.head is not None and teacher.head.maps:
            return [(c[images], b[images]) for c, b in teacher.head.maps]
        return self._head.open([level[images] for level in teacher.pyramid])
