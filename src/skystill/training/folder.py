"""The run folder: where it lies and what may be in it before a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from zipfile import is_zipfile

from skystill.errors import ConfigError
from skystill.training.recipe import Recipe
from skystill.training.same import ELSEWHERE, UNTAUGHT, differences
from skystill.training.taught import exchanged

LAST = Path("checkpoints") / "last.ckpt"
AT_ONCE = "SKYSTILL_AT_ONCE"  # the environment's word for how many runs share the machine, which tells on their seconds
_FREE = (*ELSEWHERE, "trainer.")  # on going on


def finished(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder holds all that the recipe's run gives, so that nothing is left to go on with."""
    try:
        epochs: int = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["epochs"]
    except (OSError, ValueError, KeyError, TypeError):  # a damaged file is written anew
        return False
    return epochs >= recipe.trainer.epochs


def run_folder(recipe: Recipe, method: str, resume: bool) -> Path:
    """The run's folder, not yet made. Errors: ConfigError when it holds another run or cannot be written."""
    folder = Path(recipe.out or f"runs/{recipe.name or 'run'}-{method}-seed{recipe.seed}")
    held = (folder / LAST).is_file()
    if resume and not held:
        raise ConfigError(f"{folder}: no checkpoint to resume from. Leave --resume away to start.")
    if resume and not is_zipfile(folder / LAST):
        raise ConfigError(f"{folder / LAST}: is damaged, so there is nothing to go on from. Give another --out.")
    if resume:
        _check_same(folder, recipe, method == "alone")
    if not resume and (held or (folder / "metrics.json").exists()):
        if finished(folder, recipe):
            raise ConfigError(f"{folder}: holds a finished run. Give another --out, or delete it.")
        raise ConfigError(f"{folder}: holds a run already. Add --resume to go on with it, or give another --out.")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{folder}: cannot be made, since {there} is a file. Give another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: cannot be written. Give another --out.")
    return folder


def _check_same(folder: Path, recipe: Recipe, alone: bool) -> None:
    """Raises ConfigError where the folder's run has another recipe or other teachers. Teachers may have moved."""
    found = differences(folder / "recipe.yaml", recipe, _FREE + UNTAUGHT * alone)
    changed = [(key, was, now) for key, was, now in found if key != "teacher.weights" or len(was or ()) != len(now)]
    if changed:
        key, was, now = changed[0]
        raise ConfigError(
            f"{folder}: goes on as it began, with {key} {was}, and now that is {now}. Leave it as it was, or give "
            "another --out to start anew."
        )
    if not alone and (path := exchanged(folder, recipe.teacher.weights)) is not None:
        raise ConfigError(
            f"{folder}: goes on as it began, and {path} is not the teacher that it learned from. Bring that one back, "
            "or give another --out to start anew."
        )
