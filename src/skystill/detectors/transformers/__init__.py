"""Set predictors of the transformers library: RT-DETR, RT-DETRv2, D-FINE, DETR, Conditional and Deformable DETR.

The library is loaded when one of them is built, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skystill.detectors.base import Detector
from skystill.detectors.transformers.config import PRESETS, TransformersConfig
from skystill.detectors.transformers.model import TransformersDetector, build


def from_config(classes: Sequence[str], config: TransformersConfig) -> Detector:
    """A new detector. Errors: ConfigError when the library is missing or refuses the configuration."""
    return TransformersDetector(build(config, classes), classes)


def from_model(model: Any, classes: Sequence[str]) -> Detector:
    """A model of the user's, used in place. Errors: ConfigError when it is none of these, or of other classes."""
    return TransformersDetector(model, classes)


__all__ = ["PRESETS", "TransformersConfig", "from_config", "from_model"]
