"""Preset `paper`: every sentence of LTD's abstract (IEEE TGRS 2023, DOI 10.1109/TGRS.2023.3241342), done cleanly."""

from __future__ import annotations

from torch import Tensor

from skystill.distillation.ltd.ccd import CCD, Binding
from skystill.distillation.ltd.tasd import TASD, RegionsOf
from skystill.distillation.method import Method
from skystill.distillation.settings import Count, Divisor, Share, Weight
from skystill.distillation.views import as_one_stage
from skystill.structures import Dense, Knowledge, Targets


class LTD(Method):
    """Cross-layer calibration (CCD with LIC) and task-aware spatial disentangle distillation (TASD).

    binding: "lic" implicit, by the gates of the fusion; "fusion" the same without calibration, a 1x1 convolution in
    LIC's place; "explicit" by learned inner products; "related" by measured ones; "both" is lic with the explicit
    binding teaching the gates, until it fades out.
    regions: "disentangled" teaches each task in its own region, "shared" both tasks in the two regions together.
    ccd, sem, loc: weights of the terms; 0 leaves a term out. warmup: share of the training over which CCD grows in.
    fade: between these shares of it the explicit binding of "both" fades out.
    width, places: see ImplicitBinding. gamma, rho, dim, tau_bind: see bindings.py. core, sure, low: see regions.py.
    background: weight of L_sem outside R_sem. tau_loc: L_loc's T. peaks: share of each distance that is measured where
    channels are strong, see peaks.py. finds: share of a level's weight that goes by what the teacher finds there, see
    finds.py.

    Returns the terms "ccd", "gates" (binding "both"), "sem" and "loc". Of a two-stage student the last two teach the
    first stage, and "roi_sem" and "roi_loc" the second, on the student's proposals. Of a set predictor they teach the
    queries that answer to what the teacher found.
    """

    def __init__(
        self,
        binding: Binding = "both",
        ccd: Weight = 20.0,
        sem: Weight = 1.0,
        loc: Weight = 0.25,
        width: Count = 64,
        places: Count = 1024,
        gamma: Weight = 1.0,
        rho: Weight = 0.5,
        dim: Count = 128,
        tau_bind: Divisor = 0.2,
        fade: tuple[Share, Share] = (0.3, 0.6),
        warmup: Share = 0.0,
        core: Share = 0.5,
        sure: Share = 0.3,
        low: Share = 0.25,
        background: Weight = 0.0,
        tau_loc: Divisor = 10.0,
        regions: RegionsOf = "disentangled",
        peaks: Share = 0.0,
        finds: Share = 0.0,
    ) -> None:
        super().__init__()
        self.ccd = CCD(
            binding,
            ccd,
            width=width,
            places=places,
            gamma=gamma,
            rho=rho,
            dim=dim,
            tau_bind=tau_bind,
            fade=fade,
            warmup=warmup,
            peaks=peaks,
            finds=finds,
        )
        self.tasd = TASD(sem, loc, core, sure, low, background, tau_loc, regions)

    @property
    def features(self) -> bool:
        """CCD compares features."""
        return self.ccd.weight > 0

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Makes CCD's adapters and checks that predictions can be compared."""
        self.tasd.check(student, teacher)
        if self.features:
            self.ccd.build(student, teacher)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        if student.stages is None and (self.ccd.finds or self.tasd):
            teacher = as_one_stage(teacher)
        calibrated = self.ccd(student, teacher, self.progress) if self.features else {}
        return calibrated | self.tasd(student, teacher, targets)

    def bindings(self) -> dict[str, Tensor]:
        """alpha (B, L_s, L_t): which teacher levels each student level learned from; beta (B, L_s, L_s): which student
        levels fed each."""
        return dict(self.ccd.bindings)

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """R_sem and R_loc of the terms that have a weight."""
        return self.tasd.taught(dense_t, targets)
