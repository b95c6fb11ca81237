"""Preset `paper`: every sentence of LTD's abstract (IEEE TGRS 2023, DOI 10.1109/TGRS.2023.3241342), done cleanly."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from skystill.distillation.items import items_of, on_queries
from skystill.distillation.ltd.ccd import (
    ExplicitBinding,
    ImplicitBinding,
    MeasuredBinding,
    bound,
    gate_lesson,
)
from skystill.distillation.ltd.lic import LIC, Pointwise
from skystill.distillation.ltd.regions import Regions, find_regions, proposal_regions
from skystill.distillation.ltd.tasd import box_imitation_loss, check_bins, localization_loss, semantic_loss
from skystill.distillation.method import Method
from skystill.distillation.pairing import same_grid
from skystill.distillation.proposals import on_proposals
from skystill.distillation.schedule import fade_out, warm_up
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets

Binding = Literal["fusion", "lic", "explicit", "related", "both"]
RegionsOf = Literal["disentangled", "shared"]


class LTD(Method):
    """Cross-layer calibration (CCD with LIC) and task-aware spatial disentangle distillation (TASD).

    binding: "lic" implicit, by the gates of the fusion; "fusion" the same without calibration, a 1x1 convolution in
    LIC's place; "explicit" by learned inner products; "related" by measured ones; "both" is lic with the explicit
    binding teaching the gates, until it fades out.
    regions: "disentangled" teaches each task in its own region, "shared" both tasks in the two regions together.
    ccd, sem, loc: weights of the terms; 0 leaves a term out. warmup: share of the training over which CCD grows in.
    fade: between these shares of it the explicit binding of "both" fades out.
    width, places: see ImplicitBinding. gamma, rho, dim, tau_bind: see ccd.py. core, sure, low: see regions.py.
    background: weight of L_sem outside R_sem. tau_loc: L_loc's T. peaks: share of each distance that is measured where
    channels are strong, see peaks.py.

    Returns the terms "ccd", "gates" (binding "both"), "sem" and "loc". Of a two-stage student the last two teach the
    first stage, and "roi_sem" and "roi_loc" the second, on the student's proposals. Of a set predictor they teach the
    queries that answer to what the teacher found.
    """

    def __init__(
        self,
        binding: Binding = "both",
        ccd: float = 20.0,
        sem: float = 1.0,
        loc: float = 0.25,
        width: int = 64,
        places: int = 1024,
        gamma: float = 1.0,
        rho: float = 0.5,
        dim: int = 128,
        tau_bind: float = 0.2,
        fade: tuple[float, float] = (0.3, 0.6),
        warmup: float = 0.0,
        core: float = 0.5,
        sure: float = 0.3,
        low: float = 0.25,
        background: float = 0.0,
        tau_loc: float = 10.0,
        regions: RegionsOf = "disentangled",
        peaks: float = 0.0,
    ) -> None:
        super().__init__()
        if binding not in get_args(Binding):
            raise ConfigError(f"binding {binding!r} is unknown; choose {', '.join(get_args(Binding))}.")
        if regions not in get_args(RegionsOf):
            raise ConfigError(f"regions {regions!r} are unknown; choose {' or '.join(get_args(RegionsOf))}.")
        self.binding: Binding = binding
        self.regions: RegionsOf = regions
        self.ccd, self.sem, self.loc = ccd, sem, loc
        self.width, self.places, self.gamma, self.rho, self.dim, self.tau_bind = (
            width,
            places,
            gamma,
            rho,
            dim,
            tau_bind,
        )
        self.fade, self.warmup, self.peaks = fade, warmup, peaks
        self.core, self.sure, self.low, self.background, self.tau_loc = core, sure, low, background, tau_loc
        self.implicit: ImplicitBinding | None = None
        self.cross: ExplicitBinding | MeasuredBinding | None = None
        self._bindings: dict[str, Tensor] = {}

    @property
    def features(self) -> bool:
        """CCD compares features."""
        return self.ccd > 0

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Makes the adapters for these pyramids and checks that predictions can be compared."""
        if self.sem or self.loc:
            if student.queries is None:
                check_bins(*same_grid(student, teacher))
            else:
                items_of(teacher, student.queries.classes)
        if not self.ccd:
            return
        if self.binding in ("fusion", "lic", "both"):
            calibrate = Pointwise if self.binding == "fusion" else LIC
            self.implicit = ImplicitBinding(student, teacher, self.width, self.places, calibrate, self.peaks)
        if self.binding == "related":
            self.cross = MeasuredBinding(student, teacher, self.places, self.tau_bind, self.rho, self.peaks)
        if self.binding in ("explicit", "both"):
            self.cross = ExplicitBinding(student, teacher, self.places, self.dim, self.gamma, self.rho, self.peaks)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        terms: dict[str, Tensor] = {}
        self._bindings = {}
        if self.ccd:
            terms |= self._calibrate(student.pyramid, teacher.pyramid)
        if not (self.sem or self.loc):
            return terms
        if student.queries is not None:
            level, stride = student.pyramid[0], student.strides[0]
            size = (level.shape[2] * stride, level.shape[3] * stride)
            found = items_of(teacher, student.queries.classes)
            return terms | self._on_boxes(*on_queries(student.queries, found, size, teacher.scope), targets)
        terms |= self._on_grid(*same_grid(student, teacher), targets)
        if student.stages is not None:
            second = self._on_boxes(*on_proposals(student, teacher), targets)
            terms |= {f"roi_{name}": value for name, value in second.items()}
        return terms

    def _on_grid(self, dense_s: Dense, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """TASD at the places of a dense head."""
        regions, terms = self._regions(dense_t, targets), {}
        if self.sem:
            terms["sem"] = self.sem * semantic_loss(dense_s, dense_t, regions.sem, background=self.background)
        if self.loc:
            if dense_s.edges is not None and dense_t.edges is not None:
                terms["loc"] = self.loc * localization_loss(dense_s, dense_t, regions.loc, self.tau_loc)
            else:
                terms["loc"] = self.loc * box_imitation_loss(dense_s, dense_t, regions.loc)
        return terms

    def _on_boxes(
        self, boxes: list[Tensor], dense_s: Dense, dense_t: Dense, targets: list[Targets]
    ) -> dict[str, Tensor]:
        """TASD where places are boxes of their own in each image: proposals, or what the teacher found."""
        sem, loc = proposal_regions(boxes, dense_t, targets, self.sure, self.low)
        if self.regions == "shared":
            sem = loc = sem | loc
        terms = {}
        if self.sem:
            terms["sem"] = self.sem * semantic_loss(dense_s, dense_t, sem, background=self.background)
        if self.loc:
            terms["loc"] = self.loc * box_imitation_loss(dense_s, dense_t, loc)
        return terms

    def _calibrate(self, pyramid_s: tuple[Tensor, ...], pyramid_t: tuple[Tensor, ...]) -> dict[str, Tensor]:
        weight = self.ccd * warm_up(self.progress, self.warmup)
        loss = beta = pyramid_s[0].new_zeros(())
        if self.implicit is not None:
            loss = loss + self.implicit(pyramid_s, pyramid_t)
            beta = self.implicit.fusion.beta()
            self._bindings["beta"] = beta.detach()
        if self.cross is None:
            return {"ccd": weight * loss}
        share = fade_out(self.progress, *self.fade) if self.binding == "both" else 1.0
        if share == 0:
            return {"ccd": weight * loss, "gates": idle(self.cross)}
        alpha, distances = self.cross(pyramid_s, pyramid_t)
        self._bindings["alpha"] = alpha.detach()
        terms = {"ccd": weight * (loss + share * bound(alpha, distances))}
        if self.binding == "both":
            assert self.implicit is not None
            lesson = gate_lesson(alpha.mean(0).detach(), beta.mean(0), self.implicit.partner)
            terms["gates"] = share * warm_up(self.progress, self.warmup) * lesson
        return terms

    def bindings(self) -> dict[str, Tensor]:
        """alpha (B, L_s, L_t): which teacher levels each student level learned from; beta (B, L_s, L_s): which student
        levels fed each."""
        return dict(self._bindings)

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """R_sem and R_loc of the terms that have a weight."""
        regions = self._regions(dense_t, targets)
        return ({"R_sem": regions.sem} if self.sem else {}) | ({"R_loc": regions.loc} if self.loc else {})

    def _regions(self, dense_t: Dense, targets: list[Targets]) -> Regions:
        regions = find_regions(dense_t, targets, self.core, self.sure, self.low)
        return regions.shared() if self.regions == "shared" else regions


def idle(module: nn.Module) -> Tensor:
    """0, with a gradient of zero for every parameter of what has faded out: distributed training waits for all."""
    return torch.stack([parameter.sum() for parameter in module.parameters()]).sum() * 0
