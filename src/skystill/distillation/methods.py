"""Methods by the names that recipes use."""

from __future__ import annotations

import inspect
from typing import Any

from skystill.distillation.ltd import LTD, LTDReleased
from skystill.distillation.method import Method
from skystill.distillation.peers.bckd import BCKD
from skystill.distillation.peers.cwd import CWD
from skystill.distillation.peers.fgd import FGD
from skystill.distillation.peers.fitnet import FitNet
from skystill.distillation.peers.ld import LD
from skystill.distillation.peers.mgd import MGD
from skystill.distillation.peers.pkd import PKD
from skystill.distillation.peers.reviewkd import ReviewKD
from skystill.distillation.peers.semckd import SemCKD
from skystill.distillation.peers.sl2 import SL2
from skystill.errors import ConfigError

METHODS: dict[str, type[Method]] = {
    "ltd": LTD,
    "ltd_released": LTDReleased,
    "fitnet": FitNet,
    "pkd": PKD,
    "cwd": CWD,
    "mgd": MGD,
    "fgd": FGD,
    "reviewkd": ReviewKD,
    "semckd": SemCKD,
    "sl2": SL2,
    "ld": LD,
    "bckd": BCKD,
}


def make_method(name: str, settings: dict[str, Any] | None = None) -> Method:
    """The method of that name. settings: its constructor's arguments. Errors: ConfigError that lists what there is."""
    if name not in METHODS:
        raise ConfigError(f"method {name!r} is unknown; the methods are {', '.join(METHODS)}.")
    known = list(inspect.signature(METHODS[name].__init__).parameters)[1:]
    for key in settings or {}:
        if key not in known:
            raise ConfigError(f"method {name} has no setting {key!r}; its settings are {', '.join(known)}.")
    return METHODS[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in (settings or {}).items()})
