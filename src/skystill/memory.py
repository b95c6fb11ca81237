"""How much memory was held at most: by torch on a GPU, else by this process."""

from __future__ import annotations

import ctypes
import gc
import math
import sys
from contextlib import suppress
from pathlib import Path

import torch


def restart_peak(device: torch.device) -> bool:
    """`peak_memory` counts from now on, and what was freed is free; False where the system cannot do that."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        with suppress(AttributeError):  # glibc keeps what was freed, and the next run would live off that unseen
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory(device: torch.device) -> float:
    """Bytes at most, since the start or `restart_peak`; nan where the system does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, KeyError):
        return status("VmHWM")  # getrusage counts what the parent of this process held, too
    if sys.platform == "win32":
        return math.nan
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)


def status(key: str) -> float:
    """Bytes of one line of Linux's /proc/self/status, such as VmRSS. Errors: OSError, KeyError elsewhere."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return 1024.0 * int(lines[key].split()[0])
