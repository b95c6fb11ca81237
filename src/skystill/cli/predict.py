"""skystill predict: image files to pictures and detections.json."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def predict(
    weights: Path,
    images: str,
    out: Path = Path("predictions"),
    score: float | None = None,
    size: int = 0,
    batch: int = 1,
    draw: bool = True,
    on_bad_image: Literal["raise", "skip"] = "raise",
    white: float | None = None,
    device: str = "cpu",
    dota: bool = False,
) -> None:
    """Find objects in images.

    Writes OUT/detections.json (under "detections" one entry an object: file, class, score, box) and a picture of each
    image with its boxes under OUT/pictures.

      skystill predict ship.safetensors flight/
      skystill predict ship.onnx 'flight/*.tif' --score 0.5 --out found

    Args:
        weights: a .safetensors file of training or an .onnx file of export.
        images: a file, a folder (with those in it) or a quoted pattern.
        out: folder to write to.
        score: leave out objects that score less, 0 to 1. Lower finds more, and more that is not there. Left out, it is
            the one that gave these weights their best F1 on validation, or 0.3 where they were not validated.
        size: resize images to this longer side in pixels first. Give what the detector was trained with; 0 keeps them.
        batch: images at once. More is faster on a GPU and takes more memory.
        draw: write pictures too.
        on_bad_image: raise stops at an unreadable image, skip leaves it out and says so.
        white: value of a white pixel in images of more than 8 bits, such as 4095 for a 12-bit sensor.
        device: cpu, or cuda (gpu is the same) for .safetensors; .onnx runs on the CPU.
        dota: also write OUT/dota, one file a class, as DOTA's evaluation takes them.
    """
    from skystill.data.words import counted
    from skystill.deployment.predict import predict as run

    summary = run(weights, images, out, score, size, batch, draw, on_bad_image, white, device, dota)
    pictures = f" and {counted(summary.images, 'picture')} in {out / 'pictures'}" if draw else ""
    print("\n".join([*summary.lines(), f"wrote {out / 'detections.json'}{pictures}"]))
    if dota:
        print(f"wrote {out / 'dota'}")
