"""From flat layers to a picture: texture, shade, haze, optics and sensor."""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from skystill.data.synthetic.canvas import OVER, Canvas
from skystill.data.synthetic.noise import Field, field, streaks
from skystill.data.synthetic.palette import FOREST, TEXTURE, WATER

HUE_DRIFT = np.array([1.0, 0.25, -0.45], dtype=np.float32)
SKYLIGHT = np.array([0.40, 0.47, 0.58], dtype=np.float32)  # what is left of the light in a shadow


def develop(canvas: Canvas, rng: Random, arrays: np.random.Generator) -> NDArray[np.uint8]:
    """The picture (H, W, 3) that a camera takes of the canvas."""
    layers = np.asarray(canvas.colour)
    material = layers[::OVER, ::OVER, 3]
    light = np.asarray(canvas.colour.reduce(OVER))[..., :3].astype(np.float32)
    _texture(light, material, canvas, arrays)
    _foam(light, canvas, arrays)
    _shade(light, canvas, rng, arrays)
    _haze(light, canvas.size, rng, arrays)
    return _expose(light, rng, arrays)


def _texture(light: Field, material: NDArray[np.uint8], canvas: Canvas, arrays: np.random.Generator) -> None:
    size, gsd = canvas.size, canvas.gsd
    amount = TEXTURE[material]
    present = np.bincount(material.ravel(), minlength=len(TEXTURE))
    grain = arrays.standard_normal((size, size), dtype=np.float32)
    patches = field(arrays, size, size / 5)
    gain = amount[..., 0] * grain
    gain += amount[..., 1] * field(arrays, size, min(6.0, max(2.0, 1.2 / gsd)))
    gain += amount[..., 2] * patches
    if present[FOREST]:
        crowns = field(arrays, size, min(14.0, max(2.2, 5.0 / gsd)))
        step = -canvas.scale * canvas.sun / abs(canvas.scale * canvas.sun) * min(4.0, max(1.0, 1.5 / gsd))
        relief = crowns - np.roll(crowns, (round(step.imag), round(step.real)), (0, 1))
        gain -= amount[..., 3] * relief * 0.5
    if present[WATER]:
        gain += amount[..., 4] * _waves(size, gsd, arrays)
    gain += 1
    light *= gain[..., None]
    light += (amount[..., 5] * patches * 16)[..., None] * HUE_DRIFT


def _waves(size: int, gsd: float, arrays: np.random.Generator) -> Field:
    short = min(9.0, max(2.0, 3.0 / gsd))
    waves = streaks(arrays, size, short * 2.4, short) + 0.6 * streaks(arrays, size, short * 4.5, short * 1.9)
    if arrays.random() < 0.5:
        waves = waves.T
    return np.asarray(waves + 0.25 * np.maximum(waves - 1, 0) ** 2, dtype=np.float32)


def _foam(light: Field, canvas: Canvas, arrays: np.random.Generator) -> None:
    if canvas.foam.getbbox() is None:
        return
    soft = canvas.foam.reduce(OVER).filter(ImageFilter.GaussianBlur(0.9))
    share = np.asarray(soft, dtype=np.float32) * np.float32(1 / 255)
    bubbles = field(arrays, canvas.size, 2.0)
    share = np.clip(share * (0.85 + 0.4 * bubbles), 0, 0.92)[..., None]
    light += (np.array([222, 230, 230], dtype=np.float32) - light) * share


def _shade(light: Field, canvas: Canvas, rng: Random, arrays: np.random.Generator) -> None:
    soft = canvas.shadow.reduce(OVER).filter(ImageFilter.BoxBlur(0.6))
    dark = np.asarray(soft, dtype=np.float32) * np.float32(rng.uniform(0.75, 0.95) / 255)
    if rng.random() < 0.15:  # the shadow of a cloud
        cloud = field(arrays, canvas.size, canvas.size / rng.uniform(1.5, 3.0)) - 0.4
        dark = np.maximum(dark, np.clip(cloud * 2.2, 0, 0.72))
    light *= 1 - dark[..., None] * (1 - SKYLIGHT)


def _haze(light: Field, size: int, rng: Random, arrays: np.random.Generator) -> None:
    veil = rng.uniform(0.02, 0.16) if rng.random() < 0.8 else rng.uniform(0.16, 0.42)
    air = np.array([186, 198, 212], dtype=np.float32) * np.float32(rng.uniform(0.85, 1.05))
    if rng.random() < 0.12:  # thin cloud, thicker here than there
        wisps = field(arrays, size, size / 3) + 0.5 * field(arrays, size, size / 9)
        share = np.clip(veil + 0.22 * wisps, 0.02, 0.6)[..., None]
        light += (air * 1.1 - light) * share
    else:
        light += (air - light) * np.float32(veil)


def _expose(light: Field, rng: Random, arrays: np.random.Generator) -> NDArray[np.uint8]:
    gain = rng.uniform(0.78, 1.18)
    balance = np.array([rng.gauss(1, 0.025), 1.0, rng.gauss(1, 0.03)], dtype=np.float32) * np.float32(gain)
    contrast = np.float32(rng.uniform(0.85, 1.2))
    light *= balance * contrast
    light += np.float32(110 * (1 - contrast))
    sharp = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
    blur = rng.uniform(0.25, 0.7) if rng.random() < 0.75 else rng.uniform(0.7, 1.3)
    seen = np.asarray(sharp.filter(ImageFilter.GaussianBlur(blur)), dtype=np.float32)
    noise = abs(rng.gauss(1.5, 1.8)) + 0.6
    grain = arrays.standard_normal(seen.shape, dtype=np.float32)
    return np.clip(seen + grain * np.float32(noise), 0, 255).astype(np.uint8)
