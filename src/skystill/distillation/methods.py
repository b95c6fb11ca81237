"""Methods by the names that recipes use."""

from __future__ import annotations

import inspect
from typing import Any

from skystill.distillation.combined import Combined
from skystill.distillation.ltd import LTD, LTDPlus, LTDReleased
from skystill.distillation.method import Method
from skystill.distillation.peers.bckd import BCKD
from skystill.distillation.peers.crosskd import CrossKD
from skystill.distillation.peers.cwd import CWD
from skystill.distillation.peers.fgd import FGD
from skystill.distillation.peers.fitnet import FitNet
from skystill.distillation.peers.ld import LD
from skystill.distillation.peers.mgd import MGD
from skystill.distillation.peers.pkd import PKD
from skystill.distillation.peers.reviewkd import ReviewKD
from skystill.distillation.peers.semckd import SemCKD
from skystill.distillation.peers.sl2 import SL2
from skystill.distillation.settings import checked
from skystill.errors import ConfigError, did_you_mean

METHODS: dict[str, type[Method]] = {
    "ltd": LTD,
    "ltd_plus": LTDPlus,
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
    "crosskd": CrossKD,
}


def make_method(name: str, settings: dict[str, Any] | None = None, weights: dict[str, float] | None = None) -> Method:
    """The method of that name, or several whose names are joined by +.

    settings: the constructor's arguments, of several methods by name: {"pkd": {"weight": 5.0}}. weights: a factor for
    all terms of a method, by name. Errors: ConfigError that lists what there is.
    """
    methods = {one: _make(one, own) for one, own in settings_by_method(name, settings or {}).items()}
    return Combined(methods, weights) if weights or len(methods) > 1 else methods[name]


def whole_settings(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the default of each one that is not given, as `make_method` takes them."""
    given = settings_by_method(name, settings)
    whole = {one: _defaults(one) | checked(one, _known(one), own) for one, own in given.items()}
    return whole if len(whole) > 1 else whole[name]


def settings_by_method(name: str, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every method that `name` joins, with its settings. Errors: ConfigError when settings are not by method."""
    names = name.split("+")
    if len(names) == 1:
        return {name: settings}
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise ConfigError(f"method {name!r} names {twice} twice. Name each method once.")
    for key, own in settings.items():
        if key not in names or not isinstance(own, dict):
            raise ConfigError(
                f"method {name} takes settings by method, e.g. {{{names[0]}: {{key: value}}}}, "
                f"not {key!r}: {own!r:.40}."
            )
    return {one: settings.get(one, {}) for one in names}


def _make(name: str, settings: dict[str, Any]) -> Method:
    return _known(name)(**checked(name, _known(name), settings))


def _known(name: str) -> type[Method]:
    if name not in METHODS:
        close = did_you_mean(name, METHODS)
        raise ConfigError(
            f"method {name!r} is unknown; the methods are {', '.join(METHODS)}. Join several by +.{close}"
        )
    return METHODS[name]


def _defaults(name: str) -> dict[str, Any]:
    return {key: one.default for key, one in inspect.signature(_known(name)).parameters.items()}
