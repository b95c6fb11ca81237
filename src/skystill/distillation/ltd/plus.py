"""Preset `plus`: LTD with the changes that measurements on HIT-UAV pointed to (docs/results.md).

Against `paper`: a binding that is measured (`relatedness` in bindings.py) in the place of LIC, so that no module of
training alone learns what the student should; four times as many cells, for background is most of what there is to be
told apart; half of the distance where channels are strong (peaks.py); levels that count by what the teacher finds there
(finds.py); TASD at a smaller weight, with L_sem outside R_sem as well.
"""

from __future__ import annotations

from skystill.distillation.ltd.paper import LTD
from skystill.distillation.settings import Count, Divisor, Share, Weight


class LTDPlus(LTD):
    """LTD with the binding "related": the settings and terms of LTD that this binding has, under other defaults."""

    def __init__(
        self,
        ccd: Weight = 20.0,
        sem: Weight = 0.25,
        loc: Weight = 0.1,
        places: Count = 4096,
        rho: Weight = 0.5,
        tau_bind: Divisor = 0.2,
        warmup: Share = 0.0,
        core: Share = 0.5,
        sure: Share = 0.3,
        low: Share = 0.25,
        background: Weight = 1.0,
        tau_loc: Divisor = 10.0,
        peaks: Share = 0.5,
        finds: Share = 1.0,
    ) -> None:
        super().__init__(
            "related",
            ccd=ccd,
            sem=sem,
            loc=loc,
            places=places,
            rho=rho,
            tau_bind=tau_bind,
            warmup=warmup,
            core=core,
            sure=sure,
            low=low,
            background=background,
            tau_loc=tau_loc,
            peaks=peaks,
            finds=finds,
        )
