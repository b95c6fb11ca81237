"""Every family keeps what a detector owes skystill."""

from collections.abc import Callable

import pytest
import torch

import skystill
from skystill.testing import DetectorContract

FAMILIES = ("gfl", "oriented gfl", "retinanet", "fcos", "fasterrcnn", "ssdlite", "yolo11", "yolo26", "rtdetr", "detr")


class TestFamilies(DetectorContract):
    @pytest.fixture(autouse=True, params=[*FAMILIES, "generic"])
    def _choose(
        self,
        request: pytest.FixtureRequest,
        make_detector: Callable[..., skystill.Detector],
        make_gfl: Callable[..., skystill.Detector],
    ) -> None:
        self.family: str = request.param
        self.make_detector, self.make_gfl = make_detector, make_gfl
        if self.family in ("rtdetr", "detr"):
            self.steps = 16  # the queries of an untrained set predictor change places at first

    def make(self) -> skystill.Detector:
        seed = torch.initial_seed()
        if self.family == "oriented gfl":
            return self.make_gfl(seed, kind="obb")
        return self.make_detector(self.family, seed)
