"""An image through a detector where other programs want the cores too, with OpenMP's own waiting and with skystill's.

    python benchmarks/speed/shared_cores.py --out benchmarks/speed/results/shared_cores.json

Each waiting is tried in a process of its own, with one thread a core, in turn within every round: while nothing else
runs, and while one other program keeps a core busy. Figures are milliseconds (median over rounds of each process's
median), and ratios to OpenMP's own waiting where nothing else runs. Run it on a machine that does nothing else:
`waited` is the share of its time in which the process had no core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skystill.contention import SPINS
from skystill.training.fit import machine

WAITING = {"openmp": {}, "skystill": {"GOMP_SPINCOUNT": SPINS}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
TRY = """
import json, sys
import numpy as np
import skystill
from skystill.evaluation.cost import measure_cost
image = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
cost = measure_cost(skystill.create(sys.argv[1], ["ship"]).eval(), image, runs=15, warmup=3)
print(json.dumps([cost.total.p50, cost.waited]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="gfl_lite0")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, variables in WAITING.items():
            found[f"{name}, alone"].append(tried(options.preset, variables))
            with another_program():
                found[f"{name}, shared"].append(tried(options.preset, variables))
    median = {name: statistics.median(ms for ms, _ in rows) for name, rows in found.items()}
    shown = {
        name: {
            "ms": round(median[name], 1),
            "over_openmp_alone": round(median[name] / median["openmp, alone"], 2),
            "waited": round(statistics.median(share for _, share in rows), 3),
        }
        for name, rows in found.items()
    }
    about: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "machine": machine(), "preset": options.preset}
    said = json.dumps({**about, "rounds": options.rounds, "images": shown}, indent=1)
    print(said)
    if options.out:
        options.out.write_text(said + "\n")


def tried(preset: str, variables: dict[str, str]) -> list[float]:
    """Milliseconds of an image, and the share of waiting."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", TRY, preset], env=clean | variables, stdout=subprocess.PIPE, check=True
    )
    result: list[float] = json.loads(done.stdout)
    return result


@contextmanager
def another_program() -> Iterator[None]:
    """Keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield
    finally:
        other.kill()
        other.wait()


if __name__ == "__main__":
    main()
