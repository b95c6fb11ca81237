"""Detections as DOTA's own evaluation takes them (https://captain-whu.github.io/DOTA/tasks.html): one file a class.

Task1_<class>.txt of oriented boxes: image, score, x1 y1 x2 y2 x3 y3 x4 y4. Task2_<class>.txt of upright ones: image,
score, x1 y1 x2 y2. An image is named by its file without suffix.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skystill.errors import DataError
from skystill.files import write_text
from skystill.kinds import BoxKind


def check_names(images: Sequence[Path]) -> None:
    """Raises DataError where DOTA's files could not tell the images apart: equal names, or blanks in a name."""
    first: dict[str, Path] = {}
    for path in images:
        if len(path.stem.split()) != 1:
            raise DataError(f"{path}: DOTA's files part words at blanks. Rename the image, or leave --dota away.")
        other = first.setdefault(path.stem, path)
        if other != path:
            raise DataError(f"{path} and {other} have one name in DOTA's files. Rename one, or leave --dota away.")


def write_dota(rows: Sequence[dict[str, Any]], classes: Sequence[str], kind: BoxKind, folder: Path) -> None:
    """Writes `folder`/Task1_<class>.txt or Task2_<class>.txt for every class, empty ones too.

    rows: as `detection_rows` makes them. Slashes in a class name become hyphens.
    """
    task = "Task1" if kind == "obb" else "Task2"
    lines: dict[str, list[str]] = {name: [] for name in classes}
    for row in rows:
        if kind == "obb":
            points = row["corners"]
        else:
            x, y, w, h = row["bbox"]
            points = [x, y, x + w, y + h]
        numbers = " ".join(f"{v:.2f}" for v in points)
        lines[row["category"]].append(f"{Path(row['file_name']).stem} {row['score']:.5f} {numbers}\n")
    for name, found in lines.items():
        try:
            write_text(folder / f"{task}_{name.replace('/', '-')}.txt", "".join(found))
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror}). Choose another --out.") from error
