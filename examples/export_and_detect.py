"""From weights to an ONNX file, and detections from it without a network in PyTorch. Needs `skystill[deploy]`.

    python examples/export_and_detect.py [WEIGHTS.safetensors]

Without weights an untrained detector is exported, to show the steps.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import skystill
from skystill.boxes.nms import Selection
from skystill.data.synthetic import render
from skystill.deployment.export import export_onnx
from skystill.deployment.runtime import OnnxDetector


def main(weights: str | None = None) -> None:
    """Exports, then detects in one synthetic scene."""
    with TemporaryDirectory() as folder:
        if weights is None:
            torch.manual_seed(0)
            weights = str(
                skystill.save(skystill.create("gfl_mnv3s_050", ["ship"]), Path(folder) / "untrained.safetensors")
            )
        path = export_onnx(weights, Path(folder) / "detector.onnx", size=(256, 256))
        # The file was written only because it detects what PyTorch detects; without `size` it takes images of any size.
        detector = OnnxDetector(path)
        print(f"{path.stat().st_size / 2**20:.1f} MiB, compared: {detector.header['parity']}")
        image = torch.from_numpy(render(0, size=256).image).permute(2, 0, 1) / 255
        (found,) = detector.predict(image[None], Selection(score=0.005, keep=5))
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
            print(detector.classes[label], f"{score:.3f}", [round(v, 1) for v in box])


if __name__ == "__main__":
    main(*sys.argv[1:2])
