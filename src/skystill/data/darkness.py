"""Deep images of a sensor with fewer bits than its files have: they are read as nearly black."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skystill.data.images import read_pixels
from skystill.data.spread import spread
from skystill.errors import DataError

_LOOKS = 8


def dark(images: Sequence[Path], bands: int | None = None) -> str:
    """One line where images read without `white` are nearly black: integers of more than 8 bits, all below a quarter
    of their type's largest value, as those of sensors of up to 14 bits in 16 are. Nothing where they are not.

    Looks at 8 images that lie evenly over all. One sensor made them, so the first that is bright, of 8 bits or of
    floats speaks for the others, and mostly a single one is read. One that is not to be read says nothing here.
    bands: see `read_image`.
    """
    largest, bits, where = 0, 0, Path()
    for place in spread(len(images))[:_LOOKS]:
        try:
            pixels = read_pixels(images[place], bands)
        except DataError:
            continue
        if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize == 1:
            return ""
        top = int(pixels.max(initial=0))
        if 4 * top >= np.iinfo(pixels.dtype).max:
            return ""
        if top > largest:
            largest, bits, where = top, 8 * pixels.dtype.itemsize, images[place]
    if not largest:
        return ""
    white = (1 << largest.bit_length()) - 1  # of the fewest bits that hold it
    return (
        f"{bits}-bit images whose largest value is {largest}, such as {where}, are read as nearly black. "
        f"Give the value of white, perhaps {white}: predict's --white, data.white in recipes."
    )
