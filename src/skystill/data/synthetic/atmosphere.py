"""From flat layers to a picture: texture, shade, haze, optics and sensor.

Light is (3, H, W) float32, 0..255: with the colour first, a field of (H, W) spreads over it in long runs, several times
faster than with the colour last.
"""

from __future__ import annotations

import math
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from skystill.data.synthetic.canvas import OVER, Canvas
from skystill.data.synthetic.noise import Field, field, streaks
from skystill.data.synthetic.palette import FOREST, TEXTURE, WATER

HUE_DRIFT = (7.0, 1.5, -2.0)
SKYLIGHT = (0.40, 0.46, 0.56)  # what is left of the light in a shadow
FOAM = (222, 230, 230)
LUMA = (0.30, 0.59, 0.11)


def develop(canvas: Canvas, rng: Random, arrays: np.random.Generator) -> NDArray[np.uint8]:
    """The picture (H, W, 3) that a camera takes of the canvas."""
    flat = np.asarray(canvas.colour.reduce(OVER))
    light = np.empty((3, canvas.size, canvas.size), dtype=np.float32)
    for band in range(3):
        light[band] = flat[..., band]
    _texture(light, canvas, arrays)
    _foam(light, canvas, arrays)
    _shade(light, canvas, rng, arrays)
    _haze(light, canvas.size, rng, arrays)
    _expose(light, rng)
    sigma = rng.uniform(0.2, 0.55) if rng.random() < 0.75 else rng.uniform(0.55, 1.2)
    for plane in light:
        _blur(plane, sigma)
    return _sense(light, abs(rng.gauss(1.4, 1.8)) + 0.5, arrays)


def _texture(light: Field, canvas: Canvas, arrays: np.random.Generator) -> None:
    size, gsd = canvas.size, canvas.gsd
    material = np.asarray(canvas.colour.resize((size, size), Image.Resampling.NEAREST))[..., 3]
    places = material.astype(np.intp)
    present = np.bincount(material.ravel(), minlength=len(TEXTURE))
    fine, middling, patchy, leafy, wavy, drift = (np.take(column, places, mode="clip") for column in TEXTURE.T)
    patches = field(arrays, size, size / 5)
    gain = fine * _grain((size, size), arrays)
    gain += middling * field(arrays, size, min(5.0, max(1.6, 0.8 / gsd)))
    gain += patchy * patches
    if present[FOREST]:
        gain += leafy * _crowns(canvas, arrays)
    if present[WATER]:
        gain += wavy * _waves(size, gsd, arrays)
    gain += 1
    light *= gain
    drift *= patches
    for plane, amount in zip(light, HUE_DRIFT, strict=True):
        plane += drift * np.float32(amount)


def _grain(shape: tuple[int, ...], arrays: np.random.Generator) -> Field:
    """White noise of unit deviation: the sum of two random bytes, triangular, and far cheaper than a normal deviate."""
    count = math.prod(shape)
    dice = np.frombuffer(arrays.bytes(2 * count), dtype=np.uint8).reshape(2, *shape)
    grain: Field = dice[0].astype(np.float32)
    grain += dice[1]
    grain -= 255
    grain *= np.float32(1 / 104.5)
    return grain


def _crowns(canvas: Canvas, arrays: np.random.Generator) -> Field:
    """Tree tops: bumps of about 5 m, bright on the sun's side and dark on the other."""
    bumps = field(arrays, canvas.size, min(14.0, max(2.2, 5.0 / canvas.gsd)))
    bumps = bumps + 0.5 * field(arrays, canvas.size, min(7.0, max(1.6, 2.2 / canvas.gsd)))
    fall = canvas.scale * canvas.sun
    step = fall / abs(fall) * min(4.0, max(1.0, 1.5 / canvas.gsd))
    relief = bumps - np.roll(bumps, (-round(step.imag), -round(step.real)), (0, 1))
    return np.asarray(0.5 * np.minimum(-relief, 2.0), dtype=np.float32)


def _waves(size: int, gsd: float, arrays: np.random.Generator) -> Field:
    short = min(9.0, max(2.0, 3.0 / gsd))
    waves = streaks(arrays, size, short * 2.4, short) + 0.6 * streaks(arrays, size, short * 4.5, short * 1.9)
    if arrays.random() < 0.5:
        waves = np.ascontiguousarray(waves.T)
    glint = np.maximum(waves - 1, 0)
    return np.asarray(waves + 0.3 * glint * glint, dtype=np.float32)


def _foam(light: Field, canvas: Canvas, arrays: np.random.Generator) -> None:
    if canvas.foam.getbbox() is None:
        return
    soft = canvas.foam.reduce(OVER).filter(ImageFilter.BoxBlur(0.8))
    share = np.asarray(soft, dtype=np.float32) * np.float32(1 / 255)
    share *= 0.85 + 0.4 * field(arrays, canvas.size, 2.0)
    np.clip(share, 0, 0.92, out=share)
    for plane, white in zip(light, FOAM, strict=True):
        plane += (white - plane) * share


def _shade(light: Field, canvas: Canvas, rng: Random, arrays: np.random.Generator) -> None:
    soft = canvas.shadow.reduce(OVER).filter(ImageFilter.BoxBlur(0.6))
    dark = np.asarray(soft, dtype=np.float32) * np.float32(rng.uniform(0.75, 0.95) / 255)
    if rng.random() < 0.15:  # the shadow of a cloud
        cloud = field(arrays, canvas.size, canvas.size / rng.uniform(1.5, 3.0)) - 0.4
        dark = np.maximum(dark, np.clip(cloud * 2.2, 0, 0.72))
    for plane, left in zip(light, SKYLIGHT, strict=True):
        plane *= 1 - dark * np.float32(1 - left)


def _haze(light: Field, size: int, rng: Random, arrays: np.random.Generator) -> None:
    veil = rng.uniform(0.02, 0.14) if rng.random() < 0.8 else rng.uniform(0.14, 0.40)
    glow = rng.uniform(0.85, 1.05)
    share: Field | np.float32 = np.float32(veil)
    if rng.random() < 0.12:  # thin cloud, thicker here than there
        share = np.clip(veil + 0.1 * field(arrays, size, size / 3) + 0.05 * field(arrays, size, size / 9), 0.02, 0.6)
    for plane, air in zip(light, (186, 198, 212), strict=True):
        plane += (np.float32(air * glow) - plane) * share


def _expose(light: Field, rng: Random) -> None:
    """Saturation, gain, white balance and contrast of this camera on this day."""
    grey = sum(plane * np.float32(weight) for plane, weight in zip(light, LUMA, strict=True))
    vivid, contrast, gain = rng.uniform(0.62, 1.0), rng.uniform(0.88, 1.22), rng.uniform(0.84, 1.2)
    balance = (rng.gauss(1, 0.025), 1.0, rng.gauss(1, 0.03))
    grey *= np.float32(1 - vivid)
    light *= np.float32(vivid)
    light += grey
    for plane, factor in zip(light, balance, strict=True):
        plane *= np.float32(gain * contrast * factor)
        plane += np.float32(112 * (1 - contrast))


def _blur(plane: Field, sigma: float) -> None:
    """Gaussian of the lens, in place: passes of a three-pixel kernel, whose variances add up."""
    passes = math.ceil(sigma * sigma / 0.5)
    side = np.float32(sigma * sigma / passes / 2)
    for _ in range(passes):
        for rows in (plane, plane.T):
            edge = rows * side
            rows *= 1 - 2 * side
            rows[1:] += edge[:-1]
            rows[:-1] += edge[1:]
            rows[0] += edge[0]
            rows[-1] += edge[-1]


def _sense(light: Field, noise: float, arrays: np.random.Generator) -> NDArray[np.uint8]:
    grain = _grain(light.shape, arrays)
    grain *= np.float32(noise)
    grain += light
    np.clip(grain, 0, 255, out=grain)
    return np.ascontiguousarray(grain.astype(np.uint8).transpose(1, 2, 0))
