"""Images per second that the loader alone delivers, by number of workers.

    python benchmarks/speed/loader.py                                      # synthetic scenes, 640 px
    python benchmarks/speed/loader.py --data.root DIR --data.train train.json --data.images_train images/train
    python benchmarks/speed/loader.py --data data.yaml --needed 10 --out benchmarks/speed/results/loader.json

--data takes every field of skystill.data.config.DataConfig. Each count of workers reads one epoch to warm up (processes
start, caches fill), then `--epochs` timed ones. --needed is what training consumes in images per second; `ratio` is the
loader's rate over it. The machine should be idle: workers beyond the free cores show nothing.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from jsonargparse import auto_cli

from skystill.data.config import DataConfig
from skystill.data.module import DataModule

SCENES = DataConfig(format="synthetic", scenes_train=64, scenes_val=0, scenes_test=0, scene_size=640, crop=640)


def images_per_second(config: DataConfig, workers: int, epochs: int) -> dict[str, float]:
    """Best epoch of a few, because whatever else the machine does only slows it down, and the first batch's delay."""
    data = DataModule(replace(config, workers=workers))
    data.setup("fit")
    loader = data.train_dataloader()
    rates, delays = [], []
    for epoch in range(epochs + 1):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        images, start, first = 0, time.perf_counter(), 0.0
        for batch in loader:
            first = first or time.perf_counter() - start
            images += len(batch.targets)
        rates.append(images / (time.perf_counter() - start))
        delays.append(first)
    return {
        "workers": workers,
        "images_per_s": round(max(rates[1:]), 1),
        "warm_up_images_per_s": round(rates[0], 1),
        "first_batch_s": round(min(delays[1:]), 3),
    }


def main(
    data: DataConfig | None = None,
    workers: tuple[int, ...] = (0, 1, 2),
    epochs: int = 2,
    needed: float | None = None,
    out: str | None = None,
) -> None:
    """Images per second that the loader alone delivers.

    Args:
        data: what to load; synthetic scenes of 640 px by default.
        workers: numbers of worker processes to measure.
        epochs: timed epochs for each of them.
        needed: images per second that training consumes.
        out: json file to write.
    """
    config = SCENES if data is None else data
    torch.set_num_threads(1)
    rows = [images_per_second(config, count, epochs) for count in workers]
    if needed:
        rows = [row | {"ratio": round(row["images_per_s"] / needed, 1)} for row in rows]
    changed = {k: v for k, v in asdict(config).items() if v != getattr(DataConfig(), k) and k != "root"}
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    report = json.dumps({"data": changed, "needed_images_per_s": needed, "rows": rows, **machine}, indent=2)
    print(report)
    if out:
        Path(out).write_text(report + "\n")


if __name__ == "__main__":
    auto_cli(main)
