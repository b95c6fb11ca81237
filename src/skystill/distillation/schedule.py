"""How much a distillation term weighs as training goes on. t is the share of the training that is done, 0..1."""

from __future__ import annotations


def warm_up(t: float, share: float) -> float:
    """From 0 to 1 in a straight line over the first `share` of the training, 1 after it."""
    return 1.0 if share <= 0 else min(1.0, t / share)


def fade_out(t: float, start: float, end: float) -> float:
    """1 until `start`, 0 from `end` on, a straight line between."""
    if t >= end:
        return 0.0
    return 1.0 if t <= start else (end - t) / (end - start)
