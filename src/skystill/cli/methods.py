"""The list form of a recipe's `method`, turned into the one form that recipes keep: names joined by +."""

from __future__ import annotations

import re
from typing import Any

import yaml

from skystill.errors import ConfigError

_KEYS = ("name", "weight", "settings")


def as_mapping(entries: list[Any], place: str) -> dict[str, Any]:
    """{"name", "settings", "weights"} of a list of names and mappings: [pkd, {name: bckd, weight: 2, settings: {...}}].

    place: where the list stands, for messages. Errors: ConfigError for an entry of another form.
    """
    settings: dict[str, Any] = {}
    weights: dict[str, float] = {}
    for number, entry in enumerate(entries, 1):
        values = _entry(entry, f"{place}: item {number}")
        name = values["name"]
        if name in settings:
            raise ConfigError(f"{place}: {name} is named twice. Name each method once.")
        settings[name] = values.get("settings") or {}
        if "weight" in values:
            weights[name] = values["weight"]
    if not settings:
        raise ConfigError(f"{place}: an empty list. Name a method, e.g. [ltd].")
    given = {name: own for name, own in settings.items() if own}
    return {
        "name": "+".join(settings),
        "settings": given if len(settings) > 1 else next(iter(settings.values())),
        "weights": weights,
    }


def take_settings(arguments: list[str]) -> tuple[list[str], list[tuple[str, str, Any]]]:
    """The arguments without `--method.settings.NAME.KEY VALUE`, and those as (name, key, value).

    The parser would put {KEY: VALUE} in the place of all other settings of the method NAME.
    """
    rest: list[str] = []
    found: list[tuple[str, str, Any]] = []
    words = iter(arguments)
    for word in words:
        option = re.fullmatch(r"--method\.settings\.(\w+)\.(\w+)(=.*)?", word, re.DOTALL)
        value = None if option is None else option[3][1:] if option[3] is not None else next(words, None)
        if option is None or value is None:
            rest.append(word)
        else:
            found.append((option[1], option[2], _read(value)))
    return rest, found


def _read(value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _entry(entry: Any, place: str) -> dict[str, Any]:
    if isinstance(entry, str):
        return {"name": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigError(f"{place} takes a name or a mapping such as {{name: pkd, weight: 2}}, not {entry!r:.60}.")
    for key in entry:
        if key not in _KEYS:
            raise ConfigError(f"{place} has no key {str(key)!r}. Its keys are {', '.join(_KEYS)}.")
    weight, settings = entry.get("weight", 1), entry.get("settings") or {}
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ConfigError(f"{place}: weight takes a number, not {weight!r:.60}.")
    if not isinstance(settings, dict):
        raise ConfigError(f"{place}: settings takes a mapping such as {{key: value}}, not {settings!r:.60}.")
    return entry
