"""CCD, cross-layer calibration distillation of LTD (IEEE TGRS 2023, DOI 10.1109/TGRS.2023.3241342): every student level
learns from several teacher levels, as much of each as a binding (bindings.py) says.

B batch, L_s student and L_t teacher levels, fine to coarse.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from skystill.distillation.ltd.bindings import ExplicitBinding, ImplicitBinding, MeasuredBinding, gate_lesson
from skystill.distillation.ltd.finds import finds_by_level, over_levels
from skystill.distillation.ltd.lic import LIC, Pointwise
from skystill.distillation.schedule import fade_out, warm_up
from skystill.errors import ConfigError
from skystill.structures import Knowledge

Binding = Literal["fusion", "lic", "explicit", "related", "both"]


class CCD(nn.Module):
    """The terms "ccd" and, of binding "both", "gates". Its settings are those of LTD, `weight` is its `ccd`.

    bindings: what the last step bound to what, see `Method.bindings`. Errors: ConfigError for an unknown binding.
    """

    def __init__(
        self,
        binding: Binding,
        weight: float,
        *,
        width: int,
        places: int,
        gamma: float,
        rho: float,
        dim: int,
        tau_bind: float,
        fade: tuple[float, float],
        warmup: float,
        peaks: float,
        finds: float,
    ) -> None:
        super().__init__()
        if binding not in get_args(Binding):
            raise ConfigError(f"binding {binding!r} is unknown; choose {', '.join(get_args(Binding))}.")
        self.binding, self.weight, self.fade, self.warmup = binding, weight, fade, warmup
        self.width, self.places, self.peaks = width, places, peaks
        self.gamma, self.rho, self.dim, self.tau_bind = gamma, rho, dim, tau_bind
        self.finds = finds
        self.implicit: ImplicitBinding | None = None
        self.cross: ExplicitBinding | MeasuredBinding | None = None
        self.bindings: dict[str, Tensor] = {}

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Makes the adapters for these pyramids."""
        if self.binding in ("fusion", "lic", "both"):
            calibrate = Pointwise if self.binding == "fusion" else LIC
            self.implicit = ImplicitBinding(student, teacher, self.width, self.places, calibrate, self.peaks)
        if self.binding == "related":
            self.cross = MeasuredBinding(student, teacher, self.places, self.tau_bind, self.rho, self.peaks)
        if self.binding in ("explicit", "both"):
            self.cross = ExplicitBinding(student, teacher, self.places, self.dim, self.gamma, self.rho, self.peaks)

    def forward(self, student: Knowledge, teacher: Knowledge, progress: float) -> dict[str, Tensor]:
        """Weighted terms of two pyramids, levels (B, C, H, W). progress: how much of the training is done, 0..1."""
        self.bindings = {}
        pyramid_s, pyramid_t = student.pyramid, teacher.pyramid
        weight = self.weight * warm_up(progress, self.warmup)
        finds = finds_by_level(teacher) if self.finds else None
        loss = beta = pyramid_s[0].new_zeros(())
        if self.implicit is not None:
            distances = self.implicit(pyramid_s, pyramid_t)
            found = None if finds is None else torch.stack([finds[:, j] for j in self.implicit.partner], 1)
            loss = over_levels(distances, found, self.finds)
            beta = self.implicit.fusion.beta()
            self.bindings["beta"] = beta.detach()
        if self.cross is None:
            return {"ccd": weight * loss}
        share = fade_out(progress, *self.fade) if self.binding == "both" else 1.0
        if share == 0:
            return {"ccd": weight * loss, "gates": _idle(self.cross)}
        alpha, distances = self.cross(pyramid_s, pyramid_t)
        self.bindings["alpha"] = alpha.detach()
        found = None if finds is None else (alpha.detach() * finds[:, None]).sum(2)
        terms = {"ccd": weight * (loss + share * over_levels((alpha * distances).sum(2), found, self.finds))}
        if self.binding == "both":
            assert self.implicit is not None
            lesson = gate_lesson(alpha.mean(0).detach(), beta.mean(0), self.implicit.partner)
            terms["gates"] = share * warm_up(progress, self.warmup) * lesson
        return terms


def _idle(module: nn.Module) -> Tensor:
    """0, with a gradient of zero for every parameter of what has faded out: distributed training waits for all."""
    return torch.stack([parameter.sum() for parameter in module.parameters()]).sum() * 0
