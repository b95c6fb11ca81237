"""Keeps libraries from talking over the tool: advertisements, deprecations of their own code, hints that do not
apply."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Silences what a user can neither cause nor mend. Lightning is imported first, since it sets its own levels
    then."""
    import pytorch_lightning  # noqa: F401

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in ("pytorch_lightning", "lightning_fabric", "torch", "timm", "onnxscript", "copyreg"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
