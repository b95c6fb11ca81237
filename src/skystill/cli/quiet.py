"""Keeps libraries from talking over the tool: advertisements, deprecations of their own code, hints that do not apply."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Warnings that a user can neither cause nor mend are not shown."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in ("pytorch_lightning", "lightning_fabric", "torch", "timm", "onnxscript"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
