"""What joins a student's features to a teacher's of other width; trained with the student, thrown away after it."""

from __future__ import annotations

from torch import nn


def adapter(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution phi; the identity to begin with where the widths are equal, so that equal features are at once
    at distance 0 and a student that starts with the teacher's head keeps features which that head can read."""
    phi = nn.Conv2d(inputs, outputs, 1)
    if inputs == outputs:
        nn.init.dirac_(phi.weight)
        nn.init.zeros_(phi.bias)  # type: ignore[arg-type]
    return phi
