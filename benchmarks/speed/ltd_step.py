"""Cost of a distillation step: LTD step over (plain student step + teacher forward), in time and in peak memory.

    python benchmarks/speed/ltd_step.py --out benchmarks/speed/results/ltd_step.json

The three are timed in turn within every round, so that what else the machine does touches them alike; the figure is
the ratio of medians. Memory is the process's high-water mark of each step in a process of its own (on a GPU, the
allocator's).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import skystill
from skystill.distillation.methods import make_method
from skystill.structures import Targets

PAIRS = (("gfl_lite2", "gfl_mnv3s"), ("gfl_r50", "gfl_r18"))
CLASSES = tuple("abcdefgh")


def truth(size: int, objects: int) -> Targets:
    """Boxes of aerial sizes, 8 to 100 px."""
    side = 8 + 92 * torch.rand(objects, 2) ** 3
    corner = torch.rand(objects, 2) * (size - side)
    return Targets(torch.cat([corner, corner + side], 1), torch.randint(0, len(CLASSES), (objects,)))


def steps(pair: tuple[str, str], method: str, size: int, batch: int, device: str) -> dict[str, Callable[[], None]]:
    """What is timed, by name."""
    torch.manual_seed(0)
    layout = torch.channels_last
    teacher = skystill.create(pair[0], CLASSES).eval().to(device, memory_format=layout)
    student = skystill.create(pair[1], CLASSES).train().to(device, memory_format=layout)
    distiller = skystill.Distiller(student, teacher, make_method(method)).to(device)
    images = torch.rand(batch, 3, size, size, device=device).contiguous(memory_format=layout)
    targets = [truth(size, 30).to(device) for _ in range(batch)]

    def plain() -> None:
        student.zero_grad()
        sum(student(images, targets).losses.values()).backward()

    def look() -> None:
        with torch.no_grad():
            teacher(images)

    def distil() -> None:
        distiller.zero_grad()
        sum(distiller(images, targets).values()).backward()

    return {"student": plain, "teacher": look, "ltd": distil}


def seconds(function: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_mb(pair: tuple[str, str], method: str, size: int, batch: int, device: str, name: str) -> float:
    """High-water mark of two rounds: name "ltd" a distillation step, else a teacher forward and a plain student step.

    Both detectors are loaded either way; what the libraries take is left out.
    """
    torch.set_num_threads(1)
    before = high_water()
    work = steps(pair, method, size, batch, device)
    parts = [work["ltd"]] if name == "ltd" else [work["teacher"], work["student"]]
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    for part in parts * 2:
        part()
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return high_water() - before


def high_water() -> float:
    """MiB; getrusage would give the parent's mark, which a new process inherits."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(pair: tuple[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    device = arguments.device
    work = steps(pair, arguments.method, arguments.size, arguments.batch, device)
    times: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(arguments.rounds + 1):
        for name, function in work.items():
            spent = seconds(function, device)
            if round_:
                times[name].append(spent)
    median = {name: statistics.median(values) for name, values in times.items()}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {
            name: pool.apply(peak_mb, (pair, arguments.method, arguments.size, arguments.batch, device, name))
            for name in ("plain", "ltd")
        }
    return {
        "pair": " -> ".join(pair),
        **{f"{name}_s": round(value, 4) for name, value in median.items()},
        "ratio": round(median["ltd"] / (median["student"] + median["teacher"]), 3),
        "plain_mb": round(memory["plain"]),
        "ltd_mb": round(memory["ltd"]),
        "memory_ratio": round(memory["ltd"] / memory["plain"], 3),
    }


def write(script: str, out: Path | None, device: str, rows: list[dict[str, Any]], **more: str) -> None:
    """The result file: how it was made, on what, and the rows. Nothing where no file is wanted."""
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' * (count > 1)}"
    result = {
        "command": " ".join(["python", f"benchmarks/speed/{script}.py", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {threads}, torch {torch.__version__}, {device}",
        **more,
        "rows": rows,
    }
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="ltd")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for pair in PAIRS:
        rows.append(measure(pair, arguments))
        print(json.dumps(rows[-1]), flush=True)
    write("ltd_step", arguments.out, arguments.device, rows)


if __name__ == "__main__":
    main()
