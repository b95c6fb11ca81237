"""Every method keeps what a method owes skystill."""

import pytest

from skystill.distillation.method import Method
from skystill.distillation.methods import METHODS, make_method
from skystill.testing import MethodContract

# Random adapters, fusions or masks stand between a student and its like, or other levels do.
RANDOM = {"ltd", "ltd_plus", "ltd_released", "mgd", "reviewkd", "semckd", "sl2"}


class TestMethods(MethodContract):
    @pytest.fixture(autouse=True, params=[*METHODS, "pkd+bckd"])
    def _choose(self, request: pytest.FixtureRequest) -> None:
        self.name: str = request.param
        self.zero_when_equal = self.name not in RANDOM

    def make(self) -> Method:
        return make_method(self.name)
