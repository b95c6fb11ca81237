"""Whether other programs held the cores while something was timed: such seconds say little about what was timed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

BUSY = 0.1  # share of its time that something stood in line for a core, from which on its seconds are marked
MARK = "~"
WHY = "taken while other programs held the cores, so they are too long"
NOTE = f"{MARK} {WHY}"
SPINS = "4000"


def yield_cores() -> None:
    """Lets threads of PyTorch that wait for each other leave the cores to other programs; to be called before it loads.

    GNU's OpenMP lets a waiting thread turn on the spot for long, and where another program wants the core too, the
    thread that it waits for has none: an image takes a hundred times as long. After SPINS turns it now sleeps, which
    costs next to nothing where the cores are free (`benchmarks/speed/shared_cores.py`). A variable of OpenMP that is
    set already stays as it is.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def waited() -> float:
    """Seconds since its start in which this thread could have run but had no core; nan where the system, unlike Linux,
    does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="utf-8").split()[1]) / 1e9
    except OSError:
        return math.nan


def is_busy(share: float | None) -> bool:
    """Whether something waited for so much of its time that its seconds mean little; False where that is not known."""
    return share is not None and share > BUSY


def note(shares: Iterable[float | None]) -> str:
    """What the mark means, where one of the shares of waiting brings it; empty else."""
    return NOTE if any(map(is_busy, shares)) else ""


def marked(text: str, share: float | None) -> str:
    """A time for a table, marked where it is too long. share: of waiting, None or nan where not known."""
    return text + MARK if is_busy(share) else text
