"""One colour for each class, the same in every picture of boxes."""

from __future__ import annotations

import colorsys

# Bright on the greens, greys and browns of aerial images and under dark text, and told apart by colour-blind eyes
# (after Okabe and Ito).
COLOURS = ("#56B4E9", "#E69F00", "#F0E442", "#00C08B", "#FF7A3D", "#E58FC0", "#FFFFFF", "#7FA8FF")


def colour(label: int) -> str:
    """The colour of a class as #rrggbb: eight fixed ones, then hues a golden ratio apart."""
    if label < len(COLOURS):
        return COLOURS[label]
    r, g, b = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.6, 1.0)
    return f"#{round(r * 255):02x}{round(g * 255):02x}{round(b * 255):02x}"
