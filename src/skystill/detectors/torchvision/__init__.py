"""torchvision's RetinaNet, FCOS, Faster R-CNN, SSD and SSDlite as detectors: their own losses, heads and state dict.

Images keep their size: torchvision's resizing is passed over, its normalisation stays.
"""

from skystill.detectors.torchvision.build import from_config, from_model
from skystill.detectors.torchvision.config import PRESETS, TorchvisionConfig
from skystill.detectors.torchvision.model import TorchvisionDetector

__all__ = ["PRESETS", "TorchvisionConfig", "TorchvisionDetector", "from_config", "from_model"]
