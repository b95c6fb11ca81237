"""LTD: layer-calibration and task-disentangle distillation (IEEE TGRS 2023, DOI 10.1109/TGRS.2023.3241342)."""

from skystill.distillation.ltd.paper import LTD
from skystill.distillation.ltd.plus import LTDPlus
from skystill.distillation.ltd.released import LTDReleased

__all__ = ["LTD", "LTDPlus", "LTDReleased"]
