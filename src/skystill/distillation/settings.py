"""What a recipe may set a method's settings to: by the types and the names of its constructor's arguments."""

from __future__ import annotations

import inspect
import math
from contextlib import suppress
from typing import Any, get_args, get_type_hints

from skystill.errors import ConfigError

# Weights, distances and sizes are 0 or more. What is divided by is above it, and a share is at most 1.
_DIVISORS = {"tau", "tau_bind", "tau_loc", "divisor"}
_SHARES = {"warmup", "fade", "core", "sure", "low", "focus", "mask"}


def checked(name: str, method: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a method as its constructor takes them: a list as a tuple, "1e-3", which YAML reads as text, as a
    number. Errors: ConfigError with the method, the setting and what it takes."""
    known = list(inspect.signature(method.__init__).parameters)[1:]  # type: ignore[misc]
    types = get_type_hints(method.__init__)  # type: ignore[misc]
    for key in settings:
        if key not in known:
            raise ConfigError(f"method {name} has no setting {key!r}; its settings are {', '.join(known)}.")
    return {key: _value(f"method {name}: {key}", key, types[key], value) for key, value in settings.items()}


def _value(place: str, key: str, kind: Any, value: Any) -> Any:
    if kind in (float, int):
        return _number(place, key, kind, value)
    if kind != tuple[float, float]:
        if value not in get_args(kind):
            raise ConfigError(f"{place} is {value!r:.40}; choose {', '.join(map(str, get_args(kind)))}.")
        return value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"{place} is {value!r:.40}. Give two numbers, from and to.")
    first, last = (_number(place, key, float, one) for one in value)
    if first > last:
        raise ConfigError(f"{place} runs from {first:g} to {last:g}. Give the smaller number first.")
    return first, last


def _number(place: str, key: str, kind: type[float] | type[int], value: Any) -> float | int:
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{place} is {value!r:.40}. Give a number.")
    if kind is int and (value != int(value) or value < 1):
        raise ConfigError(f"{place} is {value:g}. Give a whole number of at least 1.")
    if value < 0 or (key in _DIVISORS and value == 0) or (key in _SHARES and value > 1):
        bounds = "above 0" if key in _DIVISORS else "from 0 to 1" if key in _SHARES else "of at least 0"
        raise ConfigError(f"{place} is {value:g}. Give a number {bounds}.")
    return kind(value)
