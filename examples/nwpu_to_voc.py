"""NWPU VHR-10 as it is published, rewritten as a VOC data set with 520 training and 130 test images.

    python examples/nwpu_to_voc.py path/to/NWPU_VHR-10 path/to/nwpu

The published folder holds `positive image set/001.jpg` and `ground truth/001.txt`, whose lines are
(x1,y1),(x2,y2),class with classes 1 to 10. Data: Cheng et al., ISPRS Journal 98, 119-132 (2014).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from skystill.data.annotations import Annotations, Record
from skystill.data.check import clean
from skystill.data.images import image_size
from skystill.data.layout import write_dataset
from skystill.data.split import split
from skystill.errors import DataError, SkystillError

CLASSES = (
    "airplane",
    "ship",
    "storage tank",
    "baseball diamond",
    "tennis court",
    "basketball court",
    "ground track field",
    "harbor",
    "bridge",
    "vehicle",
)
FRACTIONS = {"train": 0.8, "test": 0.2}


def read(folder: Path) -> Annotations:
    """The images with objects. Errors: DataError with file and line."""
    images = sorted((folder / "positive image set").glob("*.jpg"))
    if not images:
        raise DataError(f"{folder}: no 'positive image set' in it. Give the unpacked folder of NWPU VHR-10.")
    return clean(Annotations(CLASSES, [_record(image, folder / "ground truth") for image in images]), fix=True)


def _record(image: Path, truths: Path) -> Record:
    truth = truths / f"{image.stem}.txt"
    rows = []
    for number, line in enumerate(truth.read_text().splitlines(), 1):
        values = [int(v) for v in re.findall(r"\d+", line)]
        if values and (len(values) != 5 or not 1 <= values[4] <= len(CLASSES)):
            raise DataError(f"{truth} line {number}: (x1,y1),(x2,y2),class expected, not {line[:40]!r}. Correct it.")
        rows += [values] if values else []
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    height, width = image_size(image)
    no = np.zeros(len(table), dtype=np.bool_)
    return Record(image, width, height, table[:, :4], table[:, 4].astype(np.int64) - 1, no, no, str(truth))


def main(source: str, destination: str) -> None:
    """Reads, splits with seed 0, writes Annotations/, JPEGImages/ (links) and ImageSets/Main/{train,test}.txt."""
    annotations = read(Path(source))
    for note in annotations.notes:
        print(f"note: {note}")
    for name, part in split(annotations, FRACTIONS, seed=0).items():
        path = write_dataset(part, destination, "voc", name, "link")
        print(f"{path}: {len(part)} images")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/nwpu_to_voc.py path/to/NWPU_VHR-10 path/to/nwpu")
    try:
        main(*sys.argv[1:])
    except SkystillError as error:
        sys.exit(str(error))
