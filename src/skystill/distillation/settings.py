"""What a recipe may set a method's settings to: by the types and the names of its constructor's arguments."""

from __future__ import annotations

import inspect
import math
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin, get_type_hints

from skystill.errors import ConfigError, did_you_mean

# Weights and distances are 0 or more, counts 1 or more, unless a method's own default is less. What is divided by is
# above 0, and a share is at most 1.
_DIVISORS = {"tau", "tau_bind", "tau_loc", "divisor"}
_SHARES = {"warmup", "fade", "core", "sure", "low", "mask", "peaks"}


def checked(name: str, method: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a method as its constructor takes them: a list as a tuple, "1e-3", which YAML reads as text, as a
    number. Errors: ConfigError with the method, the setting and what it takes.

    Numbers, pairs of numbers, choices and switches are checked; what a method annotates otherwise is left to it.
    """
    parameters = inspect.signature(method.__init__).parameters  # type: ignore[misc]
    known = list(parameters)[1:]
    types = get_type_hints(method.__init__)  # type: ignore[misc]
    for key in settings:
        if key not in known:
            close = did_you_mean(key, known)
            raise ConfigError(f"method {name} has no setting {key!r}; its settings are {', '.join(known)}.{close}")
    return {
        key: _value(f"method {name}: {key}", key, types.get(key), value, parameters[key].default)
        for key, value in settings.items()
    }


def _value(place: str, key: str, kind: Any, value: Any, default: Any) -> Any:
    if kind in (float, int):
        least = 1 if kind is int else 0
        return _number(place, key, kind, value, min(least, default) if isinstance(default, int | float) else least)
    if kind == tuple[float, float]:
        return _pair(place, key, value)
    choices = (True, False) if kind is bool else get_args(kind) if get_origin(kind) is Literal else None
    if choices is not None and value not in choices:
        raise ConfigError(f"{place} is {value!r:.40}; choose {', '.join(map(str, choices))}.")
    return tuple(value) if isinstance(value, list) else value


def _pair(place: str, key: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"{place} is {value!r:.40}. Give two numbers, from and to.")
    first, last = (_number(place, key, float, one, 0) for one in value)
    if first > last:
        raise ConfigError(f"{place} runs from {first:g} to {last:g}. Give the smaller number first.")
    return first, last


def _number(place: str, key: str, kind: type[float] | type[int], value: Any, least: float) -> float | int:
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{place} is {value!r:.40}. Give a number.")
    what = "whole number" if kind is int else "number"
    if value != kind(value) or value < least or (key in _DIVISORS and value == 0) or (key in _SHARES and value > 1):
        bounds = "above 0" if key in _DIVISORS else "from 0 to 1" if key in _SHARES else f"of at least {least:g}"
        raise ConfigError(f"{place} is {value:g}. Give a {what} {bounds}.")
    return kind(value)
