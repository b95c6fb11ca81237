"""ONNX Runtime against PyTorch: milliseconds of the network alone, one image at a time, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/speed/inference.py --out benchmarks/speed/results/inference.json

Untrained detectors: weights do not change the work. All run in this process in turn, image by image, so that other
work on the machine slows all; counted are processor seconds, of which the median stands. `ratio` is PyTorch over ONNX
Runtime: 2 means twice as fast. PyTorch runs in inference mode with the channels-first layout of training; NMS is left
out, because all share it. `score_gap` and `box_gap`: largest differences of the raw outputs, in score and in pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

import skystill
from skystill.deployment.export import to_onnx
from skystill.deployment.runtime import HEADER_KEY, OnnxDetector, file_header

PRESETS = ("gfl_mnv3s_050", "gfl_mnv2", "gfl_lite0")
CLASSES = [f"class{i}" for i in range(8)]


@torch.inference_mode()
def measure(preset: str, side: int, runs: int) -> dict[str, Any]:
    """Both kinds of one detector on one noise image of side x side pixels."""
    torch.manual_seed(0)
    detector = skystill.create(preset, CLASSES).eval()
    image = torch.rand(1, 3, side, side)
    kinds = {"pytorch": detector.raw}
    megabytes = {}
    for name, size in (("onnx_one_size", (side, side)), ("onnx_any_size", None)):
        with torch.inference_mode(False):
            model = to_onnx(detector, size)
        onnx.helper.set_model_props(model, {HEADER_KEY: json.dumps(file_header(detector, size, ""))})
        data = model.SerializeToString()
        megabytes[name] = len(data) / 1e6
        kinds[name] = OnnxDetector(data, threads=1).raw
    outputs = {name: raw(image) for name, raw in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(runs):
        for name, raw in kinds.items():
            start = time.process_time()
            raw(image)
            seconds[name].append(time.process_time() - start)
    milliseconds = {name: 1e3 * float(np.median(values)) for name, values in seconds.items()}
    gaps = [float((outputs["onnx_any_size"][i] - outputs["pytorch"][i]).abs().max()) for i in (0, 1)]
    return {
        "preset": preset,
        "side": side,
        "ms": {name: round(value, 1) for name, value in milliseconds.items()},
        "ratio_one_size": round(milliseconds["pytorch"] / milliseconds["onnx_one_size"], 2),
        "ratio_any_size": round(milliseconds["pytorch"] / milliseconds["onnx_any_size"], 2),
        "onnx_mb": round(megabytes["onnx_any_size"], 1),
        "score_gap": float(f"{gaps[0]:.1e}"),
        "box_gap": float(f"{gaps[1]:.1e}"),
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--out", type=Path, help="json file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/speed/inference.py "
        f"--presets {' '.join(args.presets)} --side {args.side} --runs {args.runs}",
        "machine": f"{processor()}, {os.cpu_count()} cores, one used; Python {platform.python_version()}, "
        f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}",
        "runs": args.runs,
        "rows": [measure(preset, args.side, args.runs) for preset in args.presets],
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
