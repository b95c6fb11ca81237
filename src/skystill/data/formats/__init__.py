"""Annotation formats: one file each, with a `read` and a `write`, and the one function that reads any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skystill.data.annotations import Annotations
from skystill.data.check import clean
from skystill.data.formats import coco, dota, voc, yolo
from skystill.data.formats.common import folders_with_text, has_images, read_text
from skystill.errors import DataError
from skystill.kinds import BoxKind


class Read(Protocol):
    """Reads annotations from a file or folder; the formats' docstrings say which."""

    def __call__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        classes: Sequence[str] | None = None,
        kind: BoxKind = "hbb",
    ) -> Annotations:
        """See `read_annotations`."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """One annotation format: how to read it and how to write it (COCO to a file, the others into a folder)."""

    read: Read
    write: Callable[[Annotations, str | Path], None]


FORMATS: dict[str, Format] = {
    "coco": Format(coco.read, coco.write),
    "dota": Format(dota.read, dota.write),
    "yolo": Format(yolo.read, yolo.write),
    "voc": Format(voc.read, voc.write),
}


_BY_NAME = "--format NAME (in recipes data.format)"


def read_annotations(
    path: str | Path,
    format: str | None = None,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    kind: BoxKind = "hbb",
    fix: bool = False,
) -> Annotations:
    """Reads annotations of any format and checks them.

    format: a name in FORMATS; by default it is guessed from the path. images: the folder of images; by default it is
    looked for around the annotations. classes: names in label order; by default the file's own. DOTA and VOC list none:
    give them the same classes for every split, or a split that lacks a class gets other labels. kind: boxes to return.
    fix: drop boxes that cannot be instead of raising. Raises DataError.
    """
    _exists(path)
    name = format if format is not None else guess(path)
    if name not in FORMATS:
        raise DataError(f"format {name!r} is unknown. Choose one of {', '.join(FORMATS)}.")
    return clean(FORMATS[name].read(path, images=images, classes=classes, kind=kind), fix=fix)


def guess(path: str | Path) -> str:
    """The format that a path looks like. Raises DataError when nothing fits."""
    place = _exists(path)
    by_suffix = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".xml": "voc"}
    if place.suffix.lower() in by_suffix:
        return by_suffix[place.suffix.lower()]
    if place.suffix == ".txt":
        return "voc" if "ImageSets" in place.parts else _guess_text([place])
    if place.is_dir():
        return _guess_folder(place)
    raise DataError(f"{place} looks like none of the formats. Choose one of {', '.join(FORMATS)} with {_BY_NAME}.")


def _exists(path: str | Path) -> Path:
    """The file or folder that `path` names, without the split behind '#'."""
    place = Path(str(path).partition("#")[0])
    if not place.exists():
        raise DataError(f"{place} does not exist. Correct the path of the annotations.")
    return place


def _guess_folder(place: Path) -> str:
    if (place / "Annotations").is_dir() or next(place.glob("*.xml"), None):
        return "voc"
    if (labels := next((place / name for name in dota.LABEL_FOLDERS if (place / name).is_dir()), None)) is not None:
        _refuse_two(place, labels)
        return "dota"
    texts = sorted(p for p in place.glob("*.txt") if p.name != "classes.txt")
    if texts:
        return _guess_text(texts)
    if has_images(place) and yolo.label_path(next(iter(sorted(place.iterdir())))).parent.is_dir():
        return "yolo"
    inside = [p.name for name in ("*.json", "*.yaml", "*.yml") for p in sorted(place.glob(name))]
    inside += folders_with_text(place)
    hint = f" Perhaps you mean {' or '.join(inside[:3])} in it." if inside else ""
    raise DataError(f"{place} looks like none of the formats. Give the annotation file, or {_BY_NAME}.{hint}")


def _refuse_two(place: Path, labels: Path) -> None:
    """Raises DataError where files of JSON lie in the folder, and those of DOTA only in folders of its `labels`."""
    listed = sorted(p.name for p in place.glob("*.json"))
    if listed and not next(labels.glob("*.txt"), None):
        further = [f"{labels.name}/{name}" for name in folders_with_text(labels)]
        choice = ", ".join([*listed[:3], *further[:3]])
        raise DataError(f"{place} holds annotations of more than one format. Give one of them: {choice}.")


def _guess_text(texts: list[Path]) -> str:
    """DOTA or YOLO by the first line with an object; a folder of empty files counts as YOLO, which has no header."""
    for text in texts[:200]:
        for line in read_text(text).splitlines():
            if line.lower().startswith(("imagesource", "gsd")) or dota.parse(line) is not None:
                return "dota"
            if line.strip():
                return "yolo"
    return "yolo"
