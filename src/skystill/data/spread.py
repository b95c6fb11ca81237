"""An order of looking at a data set in which neighbours, often frames of one flight, come late."""

from __future__ import annotations

from math import gcd


def spread(n: int, start: int = 0) -> list[int]:
    """0..n-1 from `start` on, in steps of about the golden section of n: the first few lie evenly over all of it."""
    # A step without a common divisor comes by every place once.
    step = next((s for s in range(max(1, round(0.618 * n)), n) if gcd(s, n) == 1), 1)
    return [(start + k * step) % n for k in range(n)]
