"""COCO: one JSON file with images, annotations and categories (https://cocodataset.org/#format-data).

Boxes are x y width height with the origin at the top left corner of the first pixel. Oriented boxes are polygons of
four points in `segmentation`. Labels follow the order of category ids, whatever the ids are. The flags `ignore` and
`difficult`, which some data sets add to an annotation, are read as difficult; `ignore` is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skystill.data.annotations import Annotations, Record
from skystill.data.formats.common import Objects, Vocabulary, corners, enclosing, read_text
from skystill.data.images import image_size
from skystill.errors import DataError
from skystill.files import write_text
from skystill.kinds import BoxKind

_LISTS = ("images", "annotations", "categories")


def read(
    path: str | Path,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    kind: BoxKind = "hbb",
) -> Annotations:
    """Reads a COCO file.

    images: the folder that `file_name` starts from; by default it is looked for around the file (beside it, in images/,
    images/<split>/, <split>/). classes: names in label order; by default all categories, by id. kind: "obb" takes the
    four-point polygons. Raises DataError with the file and the id of the image or annotation.
    """
    path = Path(path)
    content = load(path)
    names = _categories(content["categories"], path)
    words = Vocabulary(classes if classes is not None else [names[i] for i in sorted(names)])
    objects = {_get(image, "id", f"{path} images"): Objects(kind) for image in content["images"]}
    if len(objects) != len(content["images"]):
        raise DataError(f"{path}: two images have the same id. Give every image its own.")
    for annotation in content["annotations"]:
        item = f"annotation id {annotation.get('id', '?')}"
        where = f"{path} {item}"
        image_id = _get(annotation, "image_id", where)
        category = _get(annotation, "category_id", where)
        if image_id not in objects:
            raise DataError(
                f"{where}: image id {image_id} is not among the images. Add the image or remove the annotation."
            )
        if category not in names:
            raise DataError(f"{where}: category id {category} is not among the categories. Add it or correct the id.")
        box = _hbb(annotation, where) if kind == "hbb" else _obb(annotation, where)
        difficult = bool(annotation.get("ignore", 0)) or bool(annotation.get("difficult", 0))
        label = words.label(names[category], where)
        objects[image_id].add(box, label, item, bool(annotation.get("iscrowd", 0)), difficult)
    folder = _image_folder(path, images, content["images"])
    records = [_record(image, objects[image["id"]], folder, path) for image in content["images"]]
    return words.annotations(records, kind)


def write(annotations: Annotations, destination: str | Path) -> None:
    """Writes a COCO file. Category ids start at 1; `file_name` is relative to the file's folder."""
    destination = Path(destination)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for image_id, record in enumerate(annotations.records, start=1):
        name = _relative(record.image, destination.parent)
        images.append({"id": image_id, "file_name": name, "width": record.width, "height": record.height})
        for i in range(len(record)):
            objects.append({"id": len(objects) + 1, "image_id": image_id, **_annotation(record, i)})
    categories = [{"id": i, "name": name} for i, name in enumerate(annotations.classes, start=1)]
    write_text(destination, json.dumps({"images": images, "annotations": objects, "categories": categories}))


def load(path: Path) -> dict[str, Any]:
    """The parsed file. Raises DataError that says what it looks like when it is not COCO."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        looks = "XML, perhaps VOC" if text.lstrip().startswith("<") else "no JSON"
        raise DataError(
            f"{path} line {error.lineno}: not a COCO file, it looks like {looks} ({error.msg}). Choose another format."
        ) from None
    lists = [content.get(key) for key in _LISTS] if isinstance(content, dict) else [None]
    if all(isinstance(entries, list) and all(isinstance(e, dict) for e in entries) for entries in lists):
        return dict(content)
    raise DataError(f"{path} is not a COCO file: it looks like {_looks_like(content)}. Choose another file or format.")


def _looks_like(content: Any) -> str:
    if isinstance(content, list):
        scored = bool(content) and isinstance(content[0], dict) and "score" in content[0]
        return "a list of COCO results (detections, not truth)" if scored else "a plain list"
    if not isinstance(content, dict):
        return "a single value"
    if "shapes" in content:
        return "LabelMe"
    if content.get("type") == "FeatureCollection":
        return "GeoJSON"
    missing = [k for k in _LISTS if not isinstance(content.get(k), list)]
    return (
        f"JSON without a list {' and '.join(missing)}"
        if missing
        else "JSON whose lists hold something else than objects"
    )


def _get(item: dict[str, Any], key: str, where: str) -> Any:
    value = item.get(key)
    if value is None or isinstance(value, (list, dict)):
        raise DataError(f"{where}: {key} is missing or not a single value. Add it.")
    return value


def _categories(categories: list[dict[str, Any]], path: Path) -> dict[Any, str]:
    names = {_get(c, "id", f"{path} categories"): str(_get(c, "name", f"{path} categories")) for c in categories}
    if len(names) != len(categories) or len(set(names.values())) != len(names):
        raise DataError(f"{path}: two categories share an id or a name. Give every category its own.")
    return names


def _hbb(annotation: dict[str, Any], where: str) -> tuple[float, float, float, float]:
    x, y, w, h = _numbers(annotation.get("bbox"), 4, where, "bbox must be 4 numbers x y width height")
    return x, y, x + w, y + h


def _obb(annotation: dict[str, Any], where: str) -> tuple[float, ...]:
    polygons = annotation.get("segmentation")
    if annotation.get("iscrowd") and not isinstance(polygons, list):  # a crowd's mask is run lengths: take its box
        x1, y1, x2, y2 = _hbb(annotation, where)
        return corners(x1, y1, x2, y2, "obb")
    polygon = polygons[0] if isinstance(polygons, list) and len(polygons) == 1 else None
    return _numbers(polygon, 8, where, "segmentation must be one polygon of 4 points for kind obb")


def _numbers(value: Any, count: int, where: str, what: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count:
        raise DataError(f"{where}: {what}, not {json.dumps(value)[:60]}. Correct the annotation.")
    return numbers


def _image_folder(path: Path, images: str | Path | None, entries: list[dict[str, Any]]) -> Path:
    if images is not None:
        return Path(images)
    here, split = path.parent, path.stem.removeprefix("instances_")
    guesses = [here, here / "images" / split, here / "images", here / split]
    guesses += [here.parent / split, here.parent / "images" / split, here.parent / "images", here.parent]
    first = str(entries[0].get("file_name", "")) if entries else ""
    return next((folder for folder in guesses if (folder / first).is_file()), here)


def _record(image: dict[str, Any], objects: Objects, folder: Path, path: Path) -> Record:
    where = f"{path} image id {image['id']}"
    name = str(_get(image, "file_name", where))
    file = folder / name
    if not file.is_file() and (folder / Path(name).name).is_file():  # the folder was given, the name brings its own
        file = folder / Path(name).name
    try:
        width, height = int(image.get("width") or 0), int(image.get("height") or 0)
    except (TypeError, ValueError):
        raise DataError(f"{where}: width and height must be whole numbers. Correct them.") from None
    if not (width and height) and file.is_file():
        height, width = image_size(file)
    return objects.record(file, width, height, f"{where} ({name})")


def _relative(image: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # another drive under Windows
        return image.absolute().as_posix()


def _annotation(record: Record, index: int) -> dict[str, Any]:
    row = [float(v) for v in record.boxes[index]]
    x1, y1, x2, y2 = enclosing(row)
    entry: dict[str, Any] = {
        "category_id": int(record.labels[index]) + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": int(record.crowd[index]),
    }
    if len(row) == 8:
        entry |= {"segmentation": [row], "area": _shoelace(row)}
    if record.difficult[index]:
        entry["ignore"] = 1
    return entry


def _shoelace(row: list[float]) -> float:
    xs, ys = row[0::2], row[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(4))) / 2
