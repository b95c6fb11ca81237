"""skystill export: weights to an ONNX file that was seen to detect the same."""

from __future__ import annotations

from pathlib import Path


def export(
    weights: Path, out: Path | None = None, size: tuple[int, int] | None = None, images: Path | None = None
) -> Path:
    """Write a detector as ONNX, for use without PyTorch.

    The file is written only if ONNX Runtime finds the same objects with it as PyTorch does with the weights. It holds
    the class names and thresholds and takes images of any size and number. Objects come out before non-maximum
    suppression, which `skystill predict` adds.

      skystill export ship.safetensors
      skystill export ship.safetensors --size '[640, 640]' --images flight/

    Args:
        weights: the .safetensors file that training wrote.
        out: the .onnx file to write; by default it lies beside the weights.
        size: fix the input to this [height, width] in pixels, for hardware that wants one shape. Default: any size.
        images: a folder, a file or a quoted pattern of your images to compare on. Default: synthetic scenes.
    """
    from skystill.deployment.export import export_onnx
    from skystill.deployment.runtime import OnnxDetector

    path = export_onnx(weights, out, size, images)
    detector = OnnxDetector(path)
    parity = detector.header["parity"]
    shape = "any size" if detector.size is None else "{}x{} pixels".format(*detector.size)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, {len(detector.classes)} classes, images of {shape}")
    print(
        f"the same {parity['detections']} detections as PyTorch on {parity['images']} images; largest difference: "
        f"score {parity['score_gap']:.1e}, IoU {parity['iou']:.6f}"
    )
    if detector.size is not None:
        print("smaller images are padded to that size, where PyTorch pads less: scores near the padding may differ")
    return path
