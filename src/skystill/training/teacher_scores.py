"""What the teacher itself scores on the images that its students are compared on."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from skystill.data.module import DataModule, Split
from skystill.deployment.runtime import open_detector
from skystill.files import write_text
from skystill.training.recipe import Recipe, is_predictions
from skystill.training.scoring import collect
from skystill.training.taught import file_digest
from skystill.training.teachers import notes_of

FILE = "teacher.json"


def teacher_scores(path: str, recipe: Recipe, data: DataModule, split: Split, out: Path) -> dict[str, Any]:
    """COCO's figures and "per_class" AP of a recipe's teacher, the file `path`, on a split that is set up.

    They are kept in `out` until weights or images change. Of a teacher of another scale, other classes or another kind
    of boxes they are those that its file was saved with. Of a file of predictions there are none: {}.
    """
    if is_predictions(path):
        return {}
    kept, key = out / FILE, {"weights": file_digest(path), "images": data.datasets[split].identity(), "split": split}
    if kept.is_file():
        with suppress(ValueError, KeyError, TypeError):  # a damaged file is written anew
            known: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            if known["key"] == key:
                return dict(known["scores"])
    teacher = open_detector(path)
    if (teacher.classes, teacher.kind, recipe.teacher.scale) != (data.classes, data.config.kind, 1):
        return dict(notes_of(path).get(split, {}))
    print(f"scoring the teacher on {len(data.datasets[split])} {split} images", flush=True)
    found = collect(teacher, data, split, recipe.trainer.max_dets).compute()
    scores = {**found.as_dict(), "per_class": found.by_class()}
    write_text(kept, json.dumps({"key": key, "scores": scores}, indent=1) + "\n")
    return scores
