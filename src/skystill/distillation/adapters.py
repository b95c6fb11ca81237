"""What joins a student's features to a teacher's of other width; trained with the student, thrown away after it."""

from __future__ import annotations

from torch import nn


def adapter(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """A 1x1 convolution phi; the identity to begin with where the widths are equal, so that equal features are at once
    at distance 0 and a student that starts with the teacher's head keeps features which that head can read.

    bias: False where a distance takes out each channel's mean anyway.
    """
    phi = nn.Conv2d(inputs, outputs, 1, bias=bias)
    if inputs == outputs:
        nn.init.dirac_(phi.weight)
        if phi.bias is not None:
            nn.init.zeros_(phi.bias)
    return phi
