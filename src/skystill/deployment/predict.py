"""Images in, detections out: an annotated picture of each image and one detections.json."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from skystill.boxes.nms import Selection, clip_to_images
from skystill.boxes.obb import hbb_to_obb, obb_to_corners, rotated_intersection
from skystill.data.darkness import dark
from skystill.data.images import find_images, read_image, to_bands
from skystill.data.words import counted
from skystill.deployment.dota import check_names, write_dota
from skystill.deployment.inputs import batches, to_unit, with_longer_side
from skystill.deployment.runtime import OnnxDetector, Predictor, device_of, open_detector, own_score
from skystill.errors import ConfigError, DataError
from skystill.files import whole_file
from skystill.structures import Detections

_SCORE = 0.3  # for weights that were never validated


@dataclass(slots=True)
class Summary:
    """What a run did. score: detections were kept from it on. skipped: unreadable images. older: what lies beside the
    new files and is of an earlier run. seconds: all in all; detecting: of the network and NMS alone."""

    score: float = 0.0
    images: int = 0
    skipped: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    objects: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    detecting: float = 0.0

    def lines(self) -> list[str]:
        """What was found and how fast, in words."""
        counts = ", ".join(f"{count} {name}" for name, count in self.objects.most_common())
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        rate, pace = self.images / self.detecting, self.images / self.seconds
        objects = counted(self.objects.total(), "object that scores", "objects that score")
        return [
            f"{counted(self.images, 'image')}{skipped}, {objects} {self.score:.4g} or more"
            + (f": {counts}" if counts else ""),
            f"{rate:.1f} images/s to detect, {pace:.1f} with reading and writing",
            *(f"{what}: of an earlier run" for what in self.older),
        ]


def predict(
    weights: str | Path,
    images: str | Path,
    out: str | Path,
    score: float | None = None,
    size: int = 0,
    batch: int = 1,
    draw: bool = True,
    on_bad_image: Literal["raise", "skip"] = "raise",
    white: float | None = None,
    device: str = "cpu",
    dota: bool = False,
) -> Summary:
    """Detects objects in image files and writes `out`/detections.json and `out`/pictures/.

    weights: .safetensors or .onnx. images: a file, a folder or a pattern. score: least score; None takes the one
    that the weights bring, see `own_score`, or 0.3. size: images are resized to this longer side in pixels for the
    detector, 0 keeps them; boxes always refer to the pixels of the file. batch: images at once; it changes speed and
    memory, not what is found. draw: write pictures too. on_bad_image: "raise"
    stops at an unreadable image, "skip" goes on and lists it. white: see `read_image`. device: for .safetensors.
    dota: write `out`/dota too, see `write_dota`.

    detections.json holds "classes", "kind", "score", "weights", "images" (file_name, width, height), "skipped" and
    "detections", each with file_name, category, score and bbox [x, y, width, height] in pixels; oriented ones also with
    "corners" [x1, y1, ..., x4, y4], and their bbox encloses them. file_name is relative to the folder of the images.

    Raises DataError for images, ConfigError for options, WeightsError for weights.
    """
    _check_options(score, size, batch)
    detector = open_detector(weights, device)
    if score is None and (score := own_score(detector, weights)) is None:
        score = _SCORE
    out = Path(out)
    # `out` may lie among the images, or be their folder, with the pictures of an earlier run.
    among = Path(images).resolve().is_relative_to(out.resolve())
    paths = find_images(images, outside=out / "pictures" if among else out)
    if dota:
        check_names(paths)
    given = Path(images)  # a folder names its images; files and patterns by what they share
    root = given if given.is_dir() else Path(os.path.commonpath([path.parent for path in paths]))
    summary = Summary(score)
    report: dict[str, Any] = {
        "classes": list(detector.classes),
        "kind": detector.kind,
        "score": score,
        "weights": Path(weights).name,
        "images": [],
        "skipped": summary.skipped,
        "detections": [],
    }
    pictures = _picture_names(paths, root)
    if white is None and (note := dark(paths, detector.in_chans)):
        print(f"note: {note}", file=sys.stderr)
    start = time.perf_counter()
    readable = _readable(paths, root, detector.in_chans, white, on_bad_image, summary)
    for path, image, found in _detect(detector, readable, size, batch, Selection(score=score), summary):
        name = path.relative_to(root).as_posix()
        report["images"].append({"file_name": name, "width": image.shape[2], "height": image.shape[1]})
        report["detections"] += detection_rows(found, name, detector.classes)
        summary.objects.update(detector.classes[label] for label in found.labels.tolist())
        summary.images += 1
        if draw:
            _write_picture(out / "pictures" / pictures[path], image, found, detector.classes)
    if not summary.images:
        raise DataError(f"{images}: no image of {len(paths)} can be read. Replace them with intact copies.")
    _write(out / "detections.json", _to_json(report).encode())
    if dota:
        write_dota(report["detections"], detector.classes, detector.kind, out / "dota")
    summary.older = _older(out, set(pictures.values()) if draw else set(), dota)
    summary.seconds = time.perf_counter() - start
    return summary


def detection_rows(found: Detections, file_name: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The detections of one image as detections.json holds them; see `predict`."""
    rows = []
    oriented = found.boxes.shape[1] == 5
    corners = obb_to_corners(found.boxes) if oriented else found.boxes
    xs, ys = corners[:, 0::2], corners[:, 1::2]
    left, top = xs.amin(1), ys.amin(1)
    bboxes = torch.stack([left, top, xs.amax(1) - left, ys.amax(1) - top], 1)
    for i, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.tolist(), strict=True)):
        row: dict[str, Any] = {
            "file_name": file_name,
            "category": classes[label],
            # No side is rounded to nothing: a box without area is no box to who reads the file.
            "bbox": [round(max(v, 0.01) if side > 1 else v, 2) for side, v in enumerate(bboxes[i].tolist())],
            "score": round(score, 5),
        }
        if oriented:
            row["corners"] = [round(v, 2) for v in corners[i].tolist()]
        rows.append(row)
    return rows


def _to_json(report: dict[str, Any]) -> str:
    """JSON with one image or detection a line, so that it can be read, searched and compared."""
    parts = []
    for key, value in report.items():
        rows = isinstance(value, list) and value and isinstance(value[0], dict)
        text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]" if rows else json.dumps(value)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _detect(
    detector: Predictor,
    images: Iterator[tuple[Path, Tensor]],
    size: int,
    batch: int,
    how: Selection,
    summary: Summary,
) -> Iterator[tuple[Path, Tensor, Detections]]:
    """Path, image as read, and detections in its pixels."""
    fixed = detector.size if isinstance(detector, OnnxDetector) else None
    originals: dict[Path, Tensor] = {}  # of the images that wait for their batch

    def resized() -> Iterator[tuple[Path, Tensor]]:
        for path, image in images:
            originals[path] = image
            yield path, to_unit(with_longer_side(image, size))

    for members, stacked in batches(resized(), batch, detector.multiple, fixed):
        before = time.perf_counter()
        found = [f.to("cpu") for f in detector.predict(stacked.to(device_of(detector)), how)]
        summary.detecting += time.perf_counter() - before
        clipped = clip_to_images(found, [(image.shape[1], image.shape[2]) for _, image in members])
        for (path, image), seen in zip(members, clipped, strict=True):
            original = originals.pop(path)
            yield path, original, _rescaled(_inside(seen, image), image, original)


def _inside(seen: Detections, image: Tensor) -> Detections:
    """Without the detections that lie in the padding alone."""
    if seen.boxes.shape[1] == 4:
        keep = ((seen.boxes[:, 2:] - seen.boxes[:, :2]) > 0).all(1)
    else:
        window = hbb_to_obb(torch.tensor([[0.0, 0.0, image.shape[2], image.shape[1]]]))
        keep = rotated_intersection(seen.boxes, window)[:, 0] > 0
    return Detections(seen.boxes[keep], seen.scores[keep], seen.labels[keep])


def _rescaled(seen: Detections, resized: Tensor, original: Tensor) -> Detections:
    """Boxes in pixels of the original. Resizing keeps the shape up to a rounded pixel, which oriented boxes ignore."""
    if resized.shape == original.shape:
        return seen
    y, x = (original.shape[d] / resized.shape[d] for d in (1, 2))
    if seen.boxes.shape[1] == 4:
        scale = torch.tensor([x, y, x, y])
    else:
        scale = torch.tensor([x, y, (x * y) ** 0.5, (x * y) ** 0.5, 1.0])
    return Detections(seen.boxes * scale, seen.scores, seen.labels)


def _readable(
    paths: list[Path], root: Path, bands: int, white: float | None, on_bad_image: str, summary: Summary
) -> Iterator[tuple[Path, Tensor]]:
    for path in paths:
        try:
            image = to_bands(read_image(path, white, bands), bands, str(path))
        except DataError as error:
            if on_bad_image == "raise":
                raise
            print(f"skipped: {error}", file=sys.stderr)
            summary.skipped.append(path.relative_to(root).as_posix())
            continue
        yield path, image


def _write_picture(path: Path, image: Tensor, found: Detections, classes: Sequence[str]) -> None:
    from skystill.evaluation.draw import draw

    shown = image if image.dtype == torch.uint8 else (image * 255).round().byte()
    picture = draw(shown, found, classes)
    try:
        with whole_file(path) as part:
            picture.save(part, "JPEG", quality=92)
    except OSError as error:
        raise _unwritable(path, error) from error


def _write(path: Path, data: bytes) -> None:
    try:
        with whole_file(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written ({error.strerror}). Choose another folder with --out.")


def _older(out: Path, pictures: set[Path], dota: bool) -> list[str]:
    """What an earlier run left in `out`, which nothing overwrites."""
    folder = out / "pictures"
    left = [path for path in folder.rglob("*.jpg") if path.relative_to(folder) not in pictures]
    found = [f"{counted(len(left), 'more picture')} in {folder}"] if left else []
    return [*found, *([str(out / "dota")] if not dota and (out / "dota").is_dir() else [])]


def _picture_names(paths: list[Path], root: Path) -> dict[Path, Path]:
    """Where each picture goes under `pictures`: its image's relative path as .jpg, as .png.jpg where two would meet."""
    short = {path: path.relative_to(root).with_suffix(".jpg") for path in paths}
    uses = Counter(short.values())
    return {
        path: name if uses[name] == 1 else path.relative_to(root).with_name(path.name + ".jpg")
        for path, name in short.items()
    }


def _check_options(score: float | None, size: int, batch: int) -> None:
    if score is not None and not 0 <= score <= 1:
        raise ConfigError(f"score {score}: scores are 0 to 1. Give e.g. --score 0.3.")
    if size < 0:
        raise ConfigError(f"size {size}: give the longer side in pixels, or 0 to keep the images as they are.")
    if batch < 1:
        raise ConfigError(f"batch {batch}: give 1 or more images at once.")
