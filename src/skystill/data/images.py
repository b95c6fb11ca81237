"""Image files to tensors: PNG, JPEG and the like by Pillow, TIFF (many bands, 16 bit, planar or chunky) by tifffile.
Tiles of such files are written back with the same values.

Annotations refer to the pixels as they are stored, so EXIF orientation is ignored on purpose: turning the picture would
leave its boxes behind.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from skystill.errors import DataError
from skystill.files import whole_file

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2")
_TIFF = (".tif", ".tiff")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow and OpenCV
# Modes that Pillow opens but that are no plain bands: palettes, bilevel, print and video colours, alpha.
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGB", "LA": "L", "La": "L", "RGBA": "RGB", "RGBa": "RGB", "RGBX": "RGB"}
_PLAIN |= {"CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
_ALPHA = (1, 2)  # TIFF tag ExtraSamples: associated and unassociated alpha; 0 is a band such as near infrared
_PALETTE, _MIN_IS_WHITE = 3, 0  # TIFF tag PhotometricInterpretation

T = TypeVar("T")


def find_images(where: str | Path, outside: Path | None = None) -> list[Path]:
    """The image files of a file, a folder (and the folders in it) or a glob pattern such as "flight/*.tif", by name.

    outside: a folder whose files are passed over, unless `where` is in it. Raises DataError when there is no image.
    """
    path = Path(where)
    if path.is_file():
        return [path]
    found = path.rglob("*") if path.is_dir() else map(Path, glob(str(where), recursive=True))
    images = sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.is_file())
    if outside is not None and not path.resolve().is_relative_to(outside.resolve()):
        images = [p for p in images if not p.resolve().is_relative_to(outside.resolve())]
    if not images:
        raise DataError(f"{where}: no image there. Give a file, a folder or a pattern of {', '.join(SUFFIXES)}.")
    return images


def read_image(path: str | Path, white: float | None = None, bands: int | None = None) -> Tensor:
    """Reads an image file as (C, H, W).

    uint8 where the file has 8 bits. Deeper files become float32 in 0..1: divided by `white`, the value that maps to 1
    (a 12-bit sensor in a 16-bit file has white=4095), or by the largest value of their type. Float files count as
    0..1 already unless `white` is given. With `white`, 8-bit files become float32 too. Values beyond 0..1 are clipped
    and NaN becomes 0. Palettes become RGB and alpha is dropped, but where it takes what the file calls alpha to come to
    `bands`: GDAL writes the near infrared of any four bands of bytes so. Every other band stays. Colour PNG of 16 bits
    is read with 8, as Pillow does: store such images as TIFF.

    Raises DataError when the file is missing, truncated, or no image.
    """
    path = Path(path)
    return torch.from_numpy(_scaled(read_pixels(path, bands), white, path))


def read_pixels(path: str | Path, bands: int | None = None) -> NDArray[Any]:
    """(C, H, W) values as they are stored, of any type. bands, errors: as in `read_image`."""
    path = Path(path)
    read = _read_tiff if path.suffix.lower() in _TIFF else _read_pillow
    return _guarded(path, lambda path: read(path, bands))


def write_pixels(path: Path, pixels: NDArray[Any]) -> Path:
    """Writes (C, H, W) values, which `read_pixels` reads back; returns the path with its suffix: .png for 8 bits of one
    or three bands, else .tif."""
    plain = pixels.dtype == np.uint8 and len(pixels) in (1, 3)
    target = path.with_name(f"{path.name}{'.png' if plain else '.tif'}")  # with_suffix would cut a dot in the name
    with whole_file(target) as part:
        if plain:
            Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(part, format="PNG")
        else:
            _write_tiff(part, pixels)
    return target


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in pixels from the file's header, without reading the pixels. Errors as in `read_image`."""
    path = Path(path)
    return _guarded(path, _tiff_size if path.suffix.lower() in _TIFF else _pillow_size)


def to_bands(image: Tensor, bands: int, name: str = "") -> Tensor:
    """An image (C, H, W) with `bands` bands: one band repeats to three, three become one by luma (BT.601).

    Any other change is a choice that only the user can make: DataError with `name`, the image's.
    """
    have = image.shape[0]
    if have == bands:
        return image
    if have == 1 and bands == 3:
        return image.expand(3, -1, -1).contiguous()
    if have == 3 and bands == 1:
        luma = (image.float() * image.new_tensor(_LUMA, dtype=torch.float32).view(3, 1, 1)).sum(0, keepdim=True)
        return luma.round().to(image.dtype) if image.dtype == torch.uint8 else luma
    raise DataError(
        f"image {name or 'in memory'} has {have} band(s) where {bands} are expected. "
        f"Train with --data.bands {have}, or store the image with {bands} bands."
    )


def _guarded(path: Path, read: Callable[[Path], T]) -> T:
    """Runs a reader and turns whatever goes wrong inside a file into one line."""
    if not path.is_file():
        raise DataError(f"image {path} does not exist. Correct the path or the folder of images.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large images are normal from the air
            warnings.filterwarnings("ignore", "Palette images with Transparency")  # alpha goes anyway
            return read(path)
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        mend = "Store it as TIFF, which has no such limit, or cut it into tiles."
        raise DataError(f"image {path} has more than {limit} pixels. {mend}") from None
    except DataError:
        raise
    except Exception as error:  # decoders raise anything from OSError to struct.error on broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"image {path} cannot be read ({reason}). Replace it with an intact copy.") from None


def _read_pillow(path: Path, bands: int | None) -> NDArray[Any]:
    with Image.open(path) as picture:
        wanted = len(picture.getbands()) == bands and picture.mode in ("LA", "RGBA")
        plain = picture.convert(_PLAIN[picture.mode]) if picture.mode in _PLAIN and not wanted else picture
        pixels = np.array(plain)
    if plain.mode == "I":  # 16-bit PNG under some releases of Pillow: 32-bit integers that hold 16 bits
        pixels = pixels.astype(np.uint16) if pixels.min() >= 0 and pixels.max() <= 65535 else pixels
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _pillow_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.height, picture.width


def _read_tiff(path: Path, bands: int | None) -> NDArray[Any]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            return _tiff_bands(series.asarray(), series.axes, series.keyframe, path, bands)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    try:  # Pillow brings libtiff, which knows LZW and JPEG inside TIFF, for the common kinds of pixels
        return _read_pillow(path, bands)
    except OSError:
        raise DataError(
            f"image {path} is compressed in a way that needs imagecodecs: pip install imagecodecs."
        ) from None


def _tiff_bands(pixels: NDArray[Any], axes: str, page: Any, path: Path, bands: int | None) -> NDArray[Any]:
    """The pixels (C, H, W) of a TIFF with these axes, in tifffile's letters (Y rows, X columns, S samples)."""
    if "Y" not in axes or "X" not in axes or not 2 <= pixels.ndim <= 3:
        raise DataError(f"image {path} has axes {axes} {pixels.shape}; rows, columns and bands are expected. Split it.")
    if pixels.ndim == 2:
        pixels = (pixels if axes == "YX" else pixels.T)[None]
    else:
        band = next(i for i, letter in enumerate(axes) if letter not in "YX")
        pixels = np.transpose(pixels, (band, axes.index("Y"), axes.index("X")))
    if page.photometric == _PALETTE and len(pixels) == 1:
        return np.asarray((page.colormap[:, pixels[0]] >> 8).astype(np.uint8))
    if page.photometric == _MIN_IS_WHITE and pixels.dtype.kind in "bu":
        pixels = ~pixels if pixels.dtype.kind == "b" else np.iinfo(pixels.dtype).max - pixels
    extra = tuple(int(e) for e in page.extrasamples or ())
    if extra and extra[-1] in _ALPHA and 1 < len(pixels) != bands:
        pixels = pixels[:-1]
    return pixels


def _tiff_size(path: Path) -> tuple[int, int]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.series[0].keyframe
        return int(page.imagelength), int(page.imagewidth)


def _write_tiff(path: Path, pixels: NDArray[Any]) -> None:
    import tifffile

    extra = (0,) * (len(pixels) - 1)  # unspecified: a band, not alpha
    one = len(pixels) == 1
    values = pixels[0] if one else np.moveaxis(pixels, 0, -1)
    layout: dict[str, Any] = {} if one else {"planarconfig": "contig", "extrasamples": extra}
    tifffile.imwrite(path, np.ascontiguousarray(values), photometric="minisblack", **layout)


def _scaled(pixels: NDArray[Any], white: float | None, path: Path) -> NDArray[Any]:
    """uint8 as it is, anything else float32 in 0..1."""
    if white is not None and not white > 0:
        raise DataError(f"white is {white}, which no white pixel can have. Give a number above 0.")
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8 and white is None:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind not in "iuf":
        raise DataError(f"image {path} has pixels of type {pixels.dtype}. Store it as integers or floats.")
    if white is None:
        white = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
        if pixels.dtype.kind == "f" and np.nanmax(pixels, initial=0) > 1:
            raise DataError(
                f"image {path} holds floats beyond 1. Give the value that maps to 1: predict's "
                "--white, data.white in recipes."
            )
    scaled = np.nan_to_num(pixels.astype(np.float32), nan=0.0) / np.float32(white)
    return np.ascontiguousarray(scaled.clip(0, 1))
