"""Cost of a distillation step that reads its teacher from a cache, over the plain student step; and of a live one.

    OMP_NUM_THREADS=1 python benchmarks/speed/cached_step.py --out benchmarks/speed/results/cached_step.json

The three are timed in turn within every round, in processor seconds of this process on one thread, so that what else
the machine does disturbs little; the figures are ratios of medians. The cache holds one view of each image of several
batches, and every round goes on to the next batch, as a training does. `parts` says where the time above the plain step
goes: reading, and each part of the method's forward; `backward` is the rest. Stage `early` is before, `late` after the
explicit binding has faded out of LTD.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from ltd_step import CLASSES, truth, write

import skystill
from skystill.distillation.cache import TeacherCache, layout_of, pack
from skystill.distillation.ltd import ccd, tasd
from skystill.distillation.methods import make_method

PAIR = ("gfl_lite2", "gfl_mnv3s")
SHARES = {"early": 0.0, "late": 0.7}
BATCHES = 6  # in the cache
PARTS = {
    "ccd": (ccd.CCD, "forward"),
    "pairing": (tasd, "same_grid"),
    "regions": (tasd, "find_regions"),
    "sem": (tasd, "semantic_loss"),
    "loc": (tasd, "localization_loss"),
    "read": (TeacherCache, "read"),
}


class Steps:
    """The steps that are timed. Every call goes on to the next batch."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        torch.manual_seed(0)
        layout, count = torch.channels_last, BATCHES * options.batch
        teacher = skystill.create(PAIR[0], CLASSES).eval().to(memory_format=layout)
        self.student = skystill.create(PAIR[1], CLASSES).train().to(memory_format=layout)
        method = make_method(options.method)
        self.live = skystill.Distiller(self.student, teacher, method)
        self.cached = skystill.Distiller(self.student, teacher, method)
        for distiller in (self.live, self.cached):
            distiller.set_progress(SHARES[options.stage])
        images = torch.rand(count, 3, options.size, options.size)
        self.batches = [
            (
                images[first : first + options.batch].contiguous(memory_format=layout),
                [replace(truth(options.size, options.objects), key=(0, first + i)) for i in range(options.batch)],
            )
            for first in range(0, count, options.batch)
        ]
        told = [self.live.ask(teacher, batch) for batch, _ in self.batches]
        cache = TeacherCache(folder, {}, layout_of(told[0]), 1, count, 1e12)
        parts = [pack(one) for one in told]
        rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        for missing in cache.missing():
            cache.write(missing.start, {name: value[missing.start : missing.stop] for name, value in rows.items()})
        self.cached.use_caches([cache])
        self.next = 0

    def plain(self) -> None:
        images, targets = self.batches[self.next]
        self.student.zero_grad()
        torch.stack(list(self.student(images, targets).losses.values())).sum().backward()

    def distil(self, distiller: skystill.Distiller) -> None:
        distiller.zero_grad()
        torch.stack(list(distiller(*self.batches[self.next]).values())).sum().backward()

    def by_name(self) -> dict[str, Callable[[], None]]:
        return {
            "student": self.plain,
            "cached": lambda: self.distil(self.cached),
            "live": lambda: self.distil(self.live),
        }


@contextmanager
def clocks(spent: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds of each part's forward while it lasts."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return function(*given, **named)
            finally:
                spent[name] += time.process_time() - start

        return run

    with ExitStack() as stack:
        for name, (owner, part) in PARTS.items():
            stack.enter_context(patch.object(owner, part, timed(name, getattr(owner, part))))
        yield


def measure(options: argparse.Namespace) -> dict[str, Any]:
    times: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        steps = Steps(options, Path(folder) / "cache")
        for round_ in range(options.rounds + 1):
            steps.next = round_ % BATCHES
            for name, step in steps.by_name().items():
                spent: dict[str, float] = defaultdict(float)
                with clocks(spent):
                    start = time.process_time()
                    step()
                    total = time.process_time() - start
                if round_:
                    times[name].append(total)
                    for part, value in spent.items() if name == "cached" else ():
                        parts[part].append(value)
    median = {name: statistics.median(values) for name, values in times.items()}
    within = {part: statistics.median(values) for part, values in parts.items()}
    within["backward"] = median["cached"] - median["student"] - sum(within.values())
    return {
        "pair": " -> ".join(PAIR),
        "method": options.method,
        "stage": options.stage,
        **{f"{name}_s": round(value, 4) for name, value in median.items()},
        "cached_over_student": round(median["cached"] / median["student"], 3),
        "live_over_student": round(median["live"] / median["student"], 3),
        "parts_over_student": {part: round(value / median["student"], 3) for part, value in within.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", nargs="+", default=["ltd", "ltd_plus"])
    parser.add_argument("--stage", nargs="+", choices=tuple(SHARES), default=list(SHARES))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--objects", type=int, default=10, help="in an image")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for method, stage in product(options.method, options.stage):
        rows.append(measure(argparse.Namespace(**{**vars(options), "method": method, "stage": stage})))
        print(json.dumps(rows[-1]), flush=True)
    setting = f"crops of {options.size} px, batch {options.batch}, {options.objects} objects an image"
    write("cached_step", options.out, "cpu", rows, setting=setting)


if __name__ == "__main__":
    main()
