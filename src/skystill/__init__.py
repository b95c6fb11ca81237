"""skystill: distil a heavy aerial-image detector into one light enough to fly.

The names below load on first use, so that `import skystill` stays fast and needs no optional library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Targets": "skystill.structures",
    "Detections": "skystill.structures",
    "Dense": "skystill.structures",
    "Queries": "skystill.structures",
    "Knowledge": "skystill.structures",
    "Output": "skystill.structures",
    "Detector": "skystill.detectors.base",
    "create": "skystill.detectors.weights",
    "load": "skystill.detectors.weights",
    "save": "skystill.detectors.weights",
    "wrap": "skystill.detectors.wrap",
    "Distiller": "skystill.distillation.distiller",
    "Role": "skystill.distillation.roles",
    "LTD": "skystill.distillation.ltd",
    "SkystillError": "skystill.errors",
}

__all__ = [
    "LTD",
    "Dense",
    "Detections",
    "Detector",
    "Distiller",
    "Knowledge",
    "Output",
    "Queries",
    "Role",
    "SkystillError",
    "Targets",
    "create",
    "load",
    "save",
    "wrap",
]

if TYPE_CHECKING:
    from skystill.detectors.base import Detector
    from skystill.detectors.weights import create, load, save
    from skystill.detectors.wrap import wrap
    from skystill.distillation.distiller import Distiller
    from skystill.distillation.ltd import LTD
    from skystill.distillation.roles import Role
    from skystill.errors import SkystillError
    from skystill.structures import Dense, Detections, Knowledge, Output, Queries, Targets


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'skystill' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
