"""Whether a run folder holds a run of this recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from skystill.errors import ConfigError
from skystill.training.recipe import Recipe

ELSEWHERE = ("name", "out", "data.root", "data.workers", "data.cache_mb", "teacher.cache")  # how and where, not what
UNTAUGHT = ("teacher.", "method.", "data.unlabelled")  # what the student alone passes over


def differences(path: Path, recipe: Recipe, passed_over: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
    """Settings that are not those of the recipe.yaml at `path`: key, value there, value here; none where no file is.

    passed_over: beginnings of keys, such as "teacher.", that may differ. Errors: ConfigError for what is no YAML.
    """
    if not path.is_file():
        return []
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is damaged. Give another --out, or delete it if you know what ran.") from error
    here, there = _flat(recipe.as_dict()), _flat(_merge(Recipe().as_dict(), held or {}))
    return [
        (key, there.get(key), value)
        for key, value in here.items()
        if not key.startswith(passed_over) and there.get(key) != value
    ]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """{"optim.lr": 0.01, ..., "seed": 0}."""
    flat = {f"{a}.{b}": v for a, section in values.items() if isinstance(section, dict) for b, v in section.items()}
    return flat | {key: value for key, value in values.items() if not isinstance(value, dict)}


def _merge(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Settings of an older version lack newer keys, which had the default's effect."""
    return {
        key: {**value, **(given.get(key) or {})} if isinstance(value, dict) else given.get(key, value)
        for key, value in defaults.items()
    }
