"""GFL, our reference family: Generalized Focal Loss (Li et al., NeurIPS 2020, arXiv 2006.04388) over any timm
backbone."""

from skystill.detectors.gfl.config import GFLConfig
from skystill.detectors.gfl.model import GFL
from skystill.detectors.gfl.presets import PRESETS

__all__ = ["GFL", "PRESETS", "GFLConfig"]
