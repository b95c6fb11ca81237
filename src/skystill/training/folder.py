"""The run folder: where it lies and what may be in it before a run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from skystill.errors import ConfigError
from skystill.training.recipe import Recipe

LAST = Path("checkpoints") / "last.ckpt"
_KEPT = ("seed", "data", "detector", "optim")  # what a checkpoint's weights, optimizer and order hang on
_TAUGHT = ("teacher", "method")
_FREE = ("data.root", "data.workers", "data.cache_mb", "teacher.weights", "teacher.cache", "teacher.cache_gb")  # where


def run_folder(recipe: Recipe, method: str, resume: bool) -> Path:
    """The run's folder, not yet made. Errors: ConfigError when it holds another run or cannot be written."""
    folder = Path(recipe.out or f"runs/{recipe.name or 'run'}-{method}-seed{recipe.seed}")
    held = (folder / LAST).is_file()
    if resume and not held:
        raise ConfigError(f"{folder}: no checkpoint to resume from. Leave --resume away to start.")
    if resume and (changed := _changed(folder / "recipe.yaml", recipe, _KEPT + _TAUGHT * (method != "alone"))):
        key, was, now = changed
        raise ConfigError(
            f"{folder}: goes on as it began, with {key} {was}, and now that is {now}. Leave it as it was, or give "
            "another --out to start anew."
        )
    if not resume and (held or (folder / "metrics.json").exists()):
        raise ConfigError(f"{folder}: holds a run already. Add --resume to go on with it, or give another --out.")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{folder}: cannot be made, since {there} is a file. Give another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: cannot be written. Give another --out.")
    return folder


def _changed(path: Path, recipe: Recipe, sections: tuple[str, ...]) -> tuple[str, Any, Any] | None:
    """The first setting that is not what the run began with: its key, what it was and what it is. None for none, and
    where nobody knows any more."""
    if not path.is_file():
        return None
    with suppress(yaml.YAMLError):
        began, now = _flat(yaml.safe_load(path.read_text(encoding="utf-8"))), _flat(recipe.as_dict())
        for key in sorted(began.keys() & now.keys()):
            if key.split(".")[0] in sections and key not in _FREE and began[key] != now[key]:
                return key, began[key], now[key]
    return None


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """{"optim.lr": 0.01, ...} of nested dicts."""
    if not isinstance(values, dict) or not values:
        return {prefix: values}
    return {k: v for name, value in values.items() for k, v in _flat(value, f"{prefix}.{name}".strip(".")).items()}
