"""Which teachers a run learned from: a path does not tell, since the file that it names may be written over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from skystill.files import write_text

TEACHERS = "teachers.json"


def file_digest(path: str | Path) -> str | None:
    """A short digest of a file's bytes, which are read once as long as nobody writes to it; None where no file is."""
    file = Path(path).absolute()
    if not file.is_file():
        return None
    now = file.stat()
    return _digest(file, now.st_mtime_ns, now.st_size)


def note_teachers(folder: Path, teachers: list[dict[str, Any]]) -> None:
    """Writes down, as a run begins, whom it learns from. teachers: with "weights" and "digest" each."""
    write_text(folder / TEACHERS, json.dumps({"teachers": teachers}, indent=1) + "\n")


def exchanged(folder: Path, weights: Sequence[str]) -> str | None:
    """The first of these teachers' files that is not the one from which the folder's run learned; None where all are.

    What is not known is not different: older runs did not tell, and of kept ones metrics.json alone is there.
    """
    for path, theirs in zip(weights, _noted(folder), strict=False):
        now = file_digest(path)
        if theirs is not None and now is not None and theirs != now:
            return path
    return None


def _noted(folder: Path) -> list[str | None]:
    """The digest of each teacher of the folder's run, as far as it told."""
    for name in (TEACHERS, "metrics.json"):
        try:
            teachers = json.loads((folder / name).read_text(encoding="utf-8"))["teachers"]
            return [teacher.get("digest") for teacher in teachers]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged
            continue
    return []


@cache
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
