"""Synthetic scenes per second on one core, by image size, and the share of planning against developing.

    OMP_NUM_THREADS=1 python benchmarks/speed/synthetic.py --out benchmarks/speed/results/synthetic.json

Counts the processor seconds of this one process, so that other work on the machine disturbs less; of a few repeats the
fastest stands. `ratio` is the rate at 256 pixels over the 50 scenes a second that training on the fly was planned with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import PIL

from skystill.data.synthetic import compose, render

WANTED = 50.0
COUNTS = {256: 100, 512: 40, 640: 25, 1024: 10}  # scenes a repeat


def seconds_each(size: int, count: int, repeats: int) -> tuple[float, float]:
    """Processor seconds a scene: all of it, and the plan and paint alone."""
    whole, planned = [], []
    render(0, size=size)
    for _ in range(repeats):
        start = time.process_time()
        for index in range(count):
            render(index, seed=1, size=size)
        middle = time.process_time()
        for index in range(count):
            compose(index, seed=1, size=size)
        whole.append((middle - start) / count)
        planned.append((time.process_time() - middle) / count)
    return min(whole), min(planned)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="json file to write")
    args = parser.parse_args()
    rows = []
    for size, count in COUNTS.items():
        whole, planned = seconds_each(size, count, args.repeats)
        row = {"size": size, "scenes_per_s": round(1 / whole, 1), "ms": round(1e3 * whole, 2)}
        rows.append(row | {"plan_ms": round(1e3 * planned, 2), "develop_ms": round(1e3 * (whole - planned), 2)})
    report = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/speed/synthetic.py",
        "machine": f"{processor()}, {os.cpu_count()} cores, one used; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, Pillow {PIL.__version__}, {sys.platform}",
        "wanted_scenes_per_s": WANTED,
        "ratio": round(rows[0]["scenes_per_s"] / WANTED, 2),
        "rows": rows,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
