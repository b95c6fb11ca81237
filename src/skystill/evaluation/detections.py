"""Detections of a whole split in one safetensors file, so that scores can be taken again without the detector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from skystill.errors import DataError
from skystill.files import whole_file
from skystill.structures import Detections


def detections_file(folder: Path, split: str) -> Path:
    """Where a run keeps what its detector found on a split."""
    return folder / f"detections_{split}.safetensors"


def save_detections(path: Path, detections: Sequence[Detections], names: Sequence[str]) -> Path:
    """One Detections and one name an image. The file appears whole or not at all."""
    columns = next((d.boxes.shape[1] for d in detections), 4)
    state = {
        "boxes": torch.cat([torch.zeros(0, columns), *(d.boxes.float() for d in detections)]),
        "scores": torch.cat([torch.zeros(0), *(d.scores.float() for d in detections)]),
        "labels": torch.cat([torch.zeros(0, dtype=torch.int64), *(d.labels for d in detections)]),
        "counts": torch.tensor([len(d) for d in detections], dtype=torch.int64),
    }
    with whole_file(path) as part:
        part.write_bytes(serialize(state, metadata={"names": json.dumps(list(names))}))
    return path


def load_detections(path: Path, names: Sequence[str]) -> list[Detections]:
    """The detections of the images of these names, in their order.

    Errors: DataError when the file is damaged or was made for other images.
    """
    try:
        with safe_open(path, "pt") as file:
            theirs = json.loads((file.metadata() or {})["names"])
            keys = ("boxes", "scores", "labels", "counts")
            boxes, scores, labels, counts = (file.get_tensor(key) for key in keys)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a file of detections, or cut off. Delete it; it is made again.") from error
    if theirs != list(names):
        raise DataError(f"{path}: holds detections of other images. Delete it; it is made again.")
    sizes = counts.tolist()
    parts = zip(boxes.split(sizes), scores.split(sizes), labels.split(sizes), strict=True)
    return [Detections(*part) for part in parts]
