"""What every detector and every method owes skystill, as classes of tests to inherit.

    from skystill.testing import DetectorContract, MethodContract

    class TestMyDetector(DetectorContract):
        def make(self):
            return MyDetector(("ship", "plane"))

A class whose name begins with Test is found by pytest, which is not needed to import this. The tests run on the CPU
with small images, and every assertion says what is owed.
"""

from __future__ import annotations

from skystill.testing.detector import DetectorContract
from skystill.testing.method import MethodContract

__all__ = ["DetectorContract", "MethodContract"]
