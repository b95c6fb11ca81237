"""What kinds of boxes there are. Apart from the structures, so that reading a recipe does not import torch."""

from __future__ import annotations

from typing import Literal

BoxKind = Literal["hbb", "obb"]
