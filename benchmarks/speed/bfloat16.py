"""What mixed precision does to a training step on a CPU, with depthwise convolutions in bfloat16 and without.

    OMP_NUM_THREADS=1 python benchmarks/speed/bfloat16.py --out benchmarks/speed/results/bfloat16.json

Steps in float32, in bfloat16, and as training takes them (`keep_depthwise_in_float32`) are timed in turn within every
round, in processor seconds of this process on one thread; the figures are ratios of medians. Only processors with
bfloat16 units (their `flags` are kept with the result) gain anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from ltd_step import CLASSES, truth
from torch import Tensor

import skystill
from skystill.training.fit import machine
from skystill.training.precision import keep_depthwise_in_float32
from skystill.training.task import freeze_stages

# preset, stages kept frozen, side of the images: a teacher and a student of the HIT-UAV recipes
STEPS = (("gfl_lite2", 3, 320), ("gfl_mnv3s", 0, 256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [measure(*step, options) for step in STEPS]
    for row in found:
        print(json.dumps(row))
    if options.out:
        command = f"OMP_NUM_THREADS=1 python benchmarks/speed/bfloat16.py --out {options.out}"
        about = {"command": command, "machine": machine(), "flags": bfloat16_flags(), "batch": options.batch}
        options.out.write_text(json.dumps({**about, "torch": torch.__version__, "steps": found}, indent=1) + "\n")


def measure(preset: str, frozen: int, size: int, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    layout = torch.channels_last
    plain = skystill.create(preset, CLASSES).train().to(memory_format=layout)
    if frozen:
        freeze_stages(plain.get_submodule("backbone"), frozen)
    kept = deepcopy(plain)
    keep_depthwise_in_float32(kept)
    images = torch.rand(options.batch, 3, size, size).contiguous(memory_format=layout)
    targets = [truth(size, 12) for _ in range(options.batch)]

    def step(model: torch.nn.Module, mixed: bool) -> float:
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            terms: dict[str, Tensor] = model(images, targets).losses
        sum(terms.values(), torch.zeros(())).backward()
        return time.process_time() - start

    times: dict[str, list[float]] = defaultdict(list)
    for round_ in range(options.rounds + 1):
        for name, model, mixed in (("float32", plain, False), ("bfloat16", plain, True), ("kept", kept, True)):
            spent = step(model, mixed)
            if round_:
                times[name].append(spent)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "preset": preset,
        "frozen": frozen,
        "size": size,
        "float32_s": round(median["float32"], 4),
        "bfloat16_over_float32": round(median["bfloat16"] / median["float32"], 3),
        "depthwise_kept_over_float32": round(median["kept"] / median["float32"], 3),
    }


def bfloat16_flags() -> list[str]:
    """What this processor has for bfloat16, by Linux's names."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split("flags")[1].split("\n")[0].split()) if info.is_file() else set()
    return sorted(flags & {"avx512_bf16", "amx_bf16", "amx_tile"})


if __name__ == "__main__":
    main()
