"""ultralytics' YOLO detect models as detectors: their own losses, heads and state dict.

The library (AGPL-3.0) is an optional one, and is imported when such a detector is built. It is never asked to load a
file: its checkpoints are pickles, which run code.
"""

from skystill.detectors.ultralytics.build import from_config, from_model
from skystill.detectors.ultralytics.config import PRESETS, UltralyticsConfig
from skystill.detectors.ultralytics.model import UltralyticsDetector

__all__ = ["PRESETS", "UltralyticsConfig", "UltralyticsDetector", "from_config", "from_model"]
