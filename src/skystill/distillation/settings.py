"""What a recipe may set a method's settings to: by the types of its constructor's arguments.

A plain float or int takes any number; the aliases here say more, for the reader and for the check.
"""

from __future__ import annotations

import inspect
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from skystill.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Bounds:
    """Which numbers make sense: from `least` to `most`; above: not `least` itself."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False

    def hold(self, value: float) -> bool:
        """Whether the value makes sense."""
        return self.least <= value <= self.most and not (self.above and value == self.least)

    def __str__(self) -> str:
        if self.above:
            return f" above {self.least:g}"
        if self.most < math.inf:
            return f" from {self.least:g} to {self.most:g}"
        return f" of at least {self.least:g}" if self.least > -math.inf else ""


Weight = Annotated[float, Bounds(0)]
Divisor = Annotated[float, Bounds(0, above=True)]
Share = Annotated[float, Bounds(0, 1)]
Count = Annotated[int, Bounds(1)]


def checked(name: str, method: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a method as its constructor takes them: a list as a tuple, "1e-3", which YAML reads as text, as a
    number. Errors: ConfigError with the method, the setting and what it takes.

    Numbers, pairs of numbers, choices and switches are checked; what a method annotates otherwise is left to it.
    """
    parameters = inspect.signature(method.__init__).parameters  # type: ignore[misc]
    known = list(parameters)[1:]
    types = get_type_hints(method.__init__, include_extras=True)  # type: ignore[misc]
    for key in settings:
        if key not in known:
            close = did_you_mean(key, known)
            raise ConfigError(f"method {name} has no setting {key!r}; its settings are {', '.join(known)}.{close}")
    return {key: _value(f"method {name}: {key}", types.get(key), value) for key, value in settings.items()}


def _value(place: str, kind: Any, value: Any) -> Any:
    if get_origin(kind) is tuple and len(get_args(kind)) == 2:
        return _pair(place, get_args(kind), value)
    plain, bounds = _apart(kind)
    if plain in (float, int):
        return _number(place, plain, bounds, value)
    choices = (True, False) if kind is bool else get_args(kind) if get_origin(kind) is Literal else None
    if choices is not None and value not in choices:
        raise ConfigError(f"{place} is {value!r:.40}; choose {', '.join(map(str, choices))}.")
    return tuple(value) if isinstance(value, list) else value


def _apart(kind: Any) -> tuple[Any, Bounds]:
    """A type and the bounds that it is annotated with."""
    if get_origin(kind) is not Annotated:
        return kind, Bounds()
    plain, *notes = get_args(kind)
    return plain, next((note for note in notes if isinstance(note, Bounds)), Bounds())


def _pair(place: str, kinds: tuple[Any, ...], value: Any) -> Any:
    numbers = [_apart(kind) for kind in kinds]
    if any(plain not in (float, int) for plain, _ in numbers):
        return tuple(value) if isinstance(value, list) else value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"{place} is {value!r:.40}. Give two numbers, from and to.")
    first, last = (_number(place, plain, bounds, one) for (plain, bounds), one in zip(numbers, value, strict=True))
    if first > last:
        raise ConfigError(f"{place} runs from {first:g} to {last:g}. Give the smaller number first.")
    return first, last


def _number(place: str, kind: type[float] | type[int], bounds: Bounds, value: Any) -> float | int:
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{place} is {value!r:.40}. Give a number.")
    if value != kind(value) or not bounds.hold(value):
        raise ConfigError(f"{place} is {value:g}. Give a {'whole ' * (kind is int)}number{bounds}.")
    return kind(value)
