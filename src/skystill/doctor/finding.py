"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skystill.errors import SkystillError

State = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. red: the training would fail or be in vain. yellow: it runs, but look at this.
    says: what was found, and for red and yellow the mend, in one line. error: what a part itself raised."""

    check: str
    state: State
    says: str
    error: SkystillError | None = None
