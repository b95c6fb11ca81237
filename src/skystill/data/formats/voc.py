"""Pascal VOC: a folder of XML files, one an image (http://host.robots.ox.ac.uk/pascal/VOC/). DIOR ships as VOC too.

VOC counts pixels from 1 and names the first and last pixel of an object. So 1 is taken from xmin and ymin and nothing
from xmax and ymax: the box then covers whole pixels, from the left edge of the first to the right edge of the last.
Oriented boxes are DIOR-R's `robndbox`, with eight corner coordinates, which are taken as they are.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from skystill.data.annotations import Annotations, Record
from skystill.data.formats.common import (
    IMAGES_MEND,
    Objects,
    Vocabulary,
    enclosing,
    has_images,
    images_by_stem,
    plain,
    read_text,
    unique_stems,
)
from skystill.data.images import image_size
from skystill.errors import DataError
from skystill.files import write_text
from skystill.kinds import BoxKind

_CORNERS = tuple(
    f"{axis}_{place}" for place in ("left_top", "right_top", "right_bottom", "left_bottom") for axis in "xy"
)
_UPRIGHT = ("xmin", "ymin", "xmax", "ymax")
_DIOR: dict[BoxKind, str] = {"hbb": "Horizontal Bounding Boxes", "obb": "Oriented Bounding Boxes"}
_IMAGES = ("JPEGImages", "JPEGImages-trainval", "JPEGImages-test", "images", "Images")


def read(
    path: str | Path,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    kind: BoxKind = "hbb",
) -> Annotations:
    """Reads VOC files.

    path: a folder of XML files; a data set's folder that holds Annotations/; one XML file; or a list of image names
    such as ImageSets/Main/train.txt, for that part alone. images: the folder of images; by default JPEGImages/ (also
    DIOR's two) or images/ is looked for nearby. classes: names in label order; by default those that occur, sorted.
    kind: "hbb" takes `bndbox`, and the upright box around `robndbox` where an object has no other. Raises DataError
    with the file and the object's number.
    """
    path = Path(path)
    root, files = _files(path, kind)
    folders = [Path(images)] if images is not None else _image_folders(root, files[0].parent)
    found, words = images_by_stem(folders), Vocabulary(classes)
    records = [_record(file, found, words, kind) for file in files]
    return words.annotations(records, kind)


def write(annotations: Annotations, destination: str | Path) -> None:
    """Writes one XML file an image into the folder `destination`. VOC has no crowds: they become difficult."""
    for stem, record in unique_stems(annotations, "VOC file").items():
        tree = _tree(record, annotations.classes)
        ET.indent(tree)
        write_text(Path(destination) / f"{stem}.xml", ET.tostring(tree, encoding="unicode") + "\n")


def _files(path: Path, kind: BoxKind) -> tuple[Path, list[Path]]:
    """The data set's folder and the XML files to read."""
    if path.suffix == ".xml":
        return path.parent.parent, [path]
    if path.suffix == ".txt":
        root = next((p for p in path.parents if (p / "Annotations").is_dir()), None)
        if root is None:
            raise DataError(f"no folder Annotations found above {path}. Give the folder of XML files.")
        names = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
        files = [_label_folder(root, kind) / f"{name}.xml" for name in names]
    else:
        root = path if (path / "Annotations").is_dir() else path.parent
        files = sorted((_label_folder(path, kind)).glob("*.xml"))
    if not files:
        raise DataError(f"{path} names no .xml file. Give the folder of VOC annotations or choose another format.")
    return root, files


def _label_folder(root: Path, kind: BoxKind) -> Path:
    folders = (root / "Annotations" / _DIOR[kind], root / _DIOR[kind], root / "Annotations", root)
    return next(folder for folder in folders if folder.is_dir() or folder == root)


def _image_folders(root: Path, labels: Path) -> list[Path]:
    for base in dict.fromkeys((root, labels.parent, labels.parent.parent)):
        found = [base / name for name in _IMAGES if has_images(base / name)]
        if found:
            return [folder for i, folder in enumerate(found) if not any(folder.samefile(f) for f in found[:i])]
    for beside in (root / "images" / labels.name, labels):
        if has_images(beside):
            return [beside]
    raise DataError(f"no folder of images found around {labels}. {IMAGES_MEND}")


def _record(path: Path, found: dict[str, Path], words: Vocabulary, kind: BoxKind) -> Record:
    root = _parse(path)
    stem = path.stem if path.stem in found else Path(root.findtext("filename") or "").stem
    if stem not in found:
        raise DataError(f"{path} has no image of the same name. Add the image or remove the file.")
    objects = Objects(kind)
    for number, item in enumerate(root.iterfind("object"), start=1):
        where = f"{path} object {number}"
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{where}: name is missing. Add it.")
        difficult = (item.findtext("difficult") or "0").strip() not in ("0", "")
        objects.add(_box(item, where, kind), words.label(name, where), f"object {number}", difficult=difficult)
    height, width = _size(root) or image_size(found[stem])
    return objects.record(found[stem], width, height, str(path))


def _parse(path: Path) -> ET.Element:
    text = read_text(path)
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        looks = "JSON, perhaps COCO" if text.lstrip().startswith(("{", "[")) else "no XML"
        line = error.position[0]
        raise DataError(
            f"{path} line {line}: not a VOC file, it looks like {looks} ({error}). Choose another format."
        ) from None
    if root.tag != "annotation":
        raise DataError(f"{path} is not a VOC file: its root is <{root.tag}>, not <annotation>. Choose another format.")
    return root


def _size(root: ET.Element) -> tuple[int, int] | None:
    try:
        height, width = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None


def _numbers(item: ET.Element | None, names: Sequence[str], where: str) -> list[float]:
    try:
        if item is not None:
            return [float(item.findtext(name) or "") for name in names]
    except ValueError:
        pass
    raise DataError(f"{where}: the numbers {' '.join(names)} are not all there. Add them.")


def _box(item: ET.Element, where: str, kind: BoxKind) -> Sequence[float]:
    """Corners of an object; the upright box around the oriented one where the file holds no other."""
    if kind == "obb":
        return _obb(item, where)
    oriented = item.find("bndbox") is None and item.find("robndbox") is not None
    return enclosing(_obb(item, where)) if oriented else _hbb(item, where)


def _hbb(item: ET.Element, where: str) -> list[float]:
    x1, y1, x2, y2 = _numbers(item.find("bndbox"), _UPRIGHT, f"{where} bndbox")
    return [x1 - 1, y1 - 1, x2, y2]


def _obb(item: ET.Element, where: str) -> list[float]:
    return _numbers(item.find("robndbox"), _CORNERS, f"{where} robndbox")


def _tree(record: Record, classes: Sequence[str]) -> ET.Element:
    root = ET.Element("annotation")
    _add(root, "filename", record.image.name)
    size = ET.SubElement(root, "size")
    _add(size, "width", str(record.width))
    _add(size, "height", str(record.height))
    for box, label, ignore in zip(record.boxes, record.labels, record.ignore, strict=True):
        item = ET.SubElement(root, "object")
        _add(item, "name", classes[label])
        _add(item, "difficult", str(int(ignore)))
        oriented = len(box) == 8
        values = box if oriented else (box[0] + 1, box[1] + 1, box[2], box[3])
        parent = ET.SubElement(item, "robndbox" if oriented else "bndbox")
        for name, value in zip(_CORNERS if oriented else _UPRIGHT, values, strict=True):
            _add(parent, name, plain(value))
    return root


def _add(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text
