"""The forms of a recipe's `method`: lists become the one form that recipes keep, names joined by +; files name many."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from skystill.benchmark.plan import ALONE
from skystill.cli.parsing import check_types
from skystill.cli.yamlfile import read_yaml
from skystill.errors import ConfigError
from skystill.training.recipe import MethodConfig

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


def find_variants(names: Sequence[str], path: str | None) -> dict[str, MethodConfig]:
    """Label -> method of a comparison: methods by their names, and those of a YAML file. Each is made once, to see that
    it can be. Errors: ConfigError for what is no method, with the file and the label."""
    given = {} if path is None else {str(label): method for label, method in _mapping(Path(path)).items()}
    labels = [*names, *given]
    if not labels:
        raise ConfigError("nothing to compare. Give --methods, e.g. --methods ltd pkd, or --variants FILE.")
    if ALONE in labels:
        raise ConfigError(f"{ALONE!r} is the student without a teacher, and always there. Name the variant otherwise.")
    if twice := next((label for label in given if label in names), None):
        raise ConfigError(f"{path}: --methods names {twice!r} too. Name the variant otherwise.")
    found = {name: _method(name, "--methods") for name in names}
    found |= {label: _method(method, f"{path}: {label}") for label, method in given.items()}
    return found


def _mapping(path: Path) -> dict[Any, Any]:
    if not path.is_file():
        raise ConfigError(f"--variants {path}: no such file. Give a YAML file, see `skystill benchmark --help`.")
    given = read_yaml(path, "Variants are told by `skystill benchmark --help`.")
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: takes a mapping from names to methods. See `skystill benchmark --help`.")
    return given


def _method(given: Any, place: str) -> MethodConfig:
    """Checked by making it, before hours of training."""
    from skystill.distillation.methods import make_method

    whole = isinstance(given, dict) and "weight" not in given  # as a recipe has it; else as an item of a list
    values = given if whole else as_mapping(given if isinstance(given, list) else [given], place)
    check_types(MethodConfig, values, place)
    if unknown := [str(key) for key in values if key not in ("name", "settings", "weights")]:
        raise ConfigError(f"{place} has no key {unknown[0]!r}. Its keys are name, settings, weights.")
    if "name" not in values:
        raise ConfigError(f"{place} names no method. Give it a name, e.g. {{name: pkd}}.")
    method = MethodConfig(**values)
    try:
        make_method(method.name, method.settings, method.weights)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    return method


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
