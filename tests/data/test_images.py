from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from skystill.data.images import image_size, read_image, to_bands
from skystill.errors import DataError

RGB = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
DEEP = np.linspace(0, 65535, 5 * 7 * 4).astype(np.uint16).reshape(5, 7, 4)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_colour_images_come_back_exactly(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, lossless=True) if suffix == "webp" else Image.fromarray(RGB).save(path)
    image = read_image(path)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert image.equal(torch.from_numpy(RGB).permute(2, 0, 1))
    assert image_size(path) == (5, 7)


def test_jpeg_keeps_its_stored_pixels_whatever_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (7, 5)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 5, 7)
    assert image_size(tmp_path / "a.jpg") == (5, 7)


@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("1", 1), ("P", 3), ("LA", 1), ("RGBA", 3), ("PA", 3)])
def test_palettes_become_colours_and_alpha_goes(mode: str, bands: int, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (7, 5), (200, 100, 50, 128)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "PA" else "a.png")
    if mode == "PA":
        picture = picture.convert("P")
    picture.save(path)
    image = read_image(path)
    assert image.shape == (bands, 5, 7)
    assert image.dtype == torch.uint8
    if mode == "RGBA":
        assert image[:, 0, 0].tolist() == [200, 100, 50]
    if mode == "1":
        assert set(image.unique().tolist()) <= {0, 255}


def test_sixteen_bits_in_png_and_tiff_scale_to_one(tmp_path: Path) -> None:
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", DEEP[..., 0])
    expected = torch.from_numpy(DEEP[..., 0].astype(np.float32) / 65535)[None]
    for name in ("a.png", "a.tif"):
        image = read_image(tmp_path / name)
        assert image.dtype == torch.float32
        torch.testing.assert_close(image, expected)
        white = read_image(tmp_path / name, white=4095)
        torch.testing.assert_close(white, (expected * 65535 / 4095).clamp(max=1))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_many_bands_chunky_or_planar(planar: str, dtype: type, tmp_path: Path) -> None:
    top = 1.0 if dtype is np.float32 else float(np.iinfo(dtype).max)
    pixels = (np.linspace(0, 1, 6 * 5 * 7).reshape(6, 5, 7) * top).astype(dtype)
    stored = pixels if planar == "separate" else np.moveaxis(pixels, 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", stored, planarconfig=planar, photometric="minisblack")
    image = read_image(tmp_path / "a.tif")
    assert image.shape == (6, 5, 7)
    expected = pixels if dtype is np.uint8 else pixels.astype(np.float32) / np.float32(top)
    torch.testing.assert_close(image, torch.from_numpy(expected))
    assert image_size(tmp_path / "a.tif") == (5, 7)


def test_alpha_of_a_tiff_goes_and_near_infrared_stays(tmp_path: Path) -> None:
    four = DEEP.astype(np.uint8)
    for extra, bands in (("unassalpha", 3), ("unspecified", 4)):
        tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=[extra])
        assert read_image(tmp_path / "a.tif").shape == (bands, 5, 7)
        assert read_image(tmp_path / "a.tif", bands=3).shape == (bands, 5, 7)
        assert read_image(tmp_path / "a.tif", bands=4).equal(torch.from_numpy(four).permute(2, 0, 1))


def test_alpha_of_a_picture_stays_where_it_takes_it(tmp_path: Path) -> None:
    four = DEEP.astype(np.uint8)
    Image.fromarray(four, mode="RGBA").save(tmp_path / "a.png")
    assert [len(read_image(tmp_path / "a.png", bands=n)) for n in (1, 3, 4, 5)] == [3, 3, 4, 3]
    assert read_image(tmp_path / "a.png", bands=4).equal(torch.from_numpy(four).permute(2, 0, 1))


def test_tiff_with_inverted_grey_and_with_libtiff_compression(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", 255 - grey, photometric="miniswhite")
    assert read_image(tmp_path / "a.tif").equal(torch.from_numpy(grey.copy())[None])
    Image.fromarray(RGB).save(tmp_path / "b.tif", compression="tiff_lzw")
    assert read_image(tmp_path / "b.tif").equal(torch.from_numpy(RGB).permute(2, 0, 1))


def test_white_makes_floats_of_bytes_and_nan_becomes_black(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    torch.testing.assert_close(read_image(tmp_path / "a.png", white=255), torch.from_numpy(RGB).permute(2, 0, 1) / 255)
    tifffile.imwrite(tmp_path / "a.tif", np.array([[np.nan, -1.0, 0.5, 1.0]], dtype=np.float32))
    assert read_image(tmp_path / "a.tif").tolist() == [[[0.0, 0.0, 0.5, 1.0]]]


def fails(path: Path, *parts: str, white: float | None = None) -> None:
    with pytest.raises(DataError) as caught:
        read_image(path, white)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_broken_images_give_one_line(tmp_path: Path) -> None:
    fails(tmp_path / "none.png", "none.png", "does not exist")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.tif"):
        path = tmp_path / name
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        fails(path, name, "cannot be read", "intact copy")
    for name in ("b.png", "b.tif"):
        (tmp_path / name).write_text("no image")
        fails(tmp_path / name, name, "cannot be read")
        with pytest.raises(DataError, match="cannot be read"):
            image_size(tmp_path / name)


def test_pixels_without_a_clear_white_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((3, 4), 300.0, dtype=np.float32))
    fails(path, "floats beyond 1", "white")
    fails(path, "white is 0,", white=0)
    tifffile.imwrite(path, np.zeros((3, 4), dtype=np.complex64))
    fails(path, "complex64")
    tifffile.imwrite(path, np.zeros((2, 3, 4, 5), dtype=np.uint8), photometric="minisblack")
    fails(path, "axes")


def test_an_image_beyond_pillows_limit_asks_for_tiff_or_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert read_image(tmp_path / "a.png").shape == (1, 30, 30)  # over the limit, within twice: no warning, no error
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    fails(tmp_path / "a.png", "more than 200 pixels", "tiles")


def test_bands() -> None:
    grey, colour = torch.full((1, 2, 2), 7, dtype=torch.uint8), torch.zeros(3, 2, 2, dtype=torch.uint8)
    colour[1] = 200
    assert to_bands(grey, 3).equal(grey.repeat(3, 1, 1))
    assert to_bands(colour, 3) is colour
    assert to_bands(colour, 1).unique().tolist() == [117]  # 0.587 * 200, rounded
    assert to_bands(colour / 255, 1).dtype == torch.float32
    with pytest.raises(DataError, match=r"image a.tif has 5 band\(s\) where 3 are expected. Train with --data.bands 5"):
        to_bands(torch.zeros(5, 2, 2), 3, "a.tif")
