"""What is painted on: colour, material, shadow and foam layers, supersampled; and the truth of what was put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from skystill.data.synthetic.geometry import Outline, quad, sweep
from skystill.data.synthetic.palette import SMOOTH, Colour

OVER = 2  # supersampling; edges are antialiased when the layers are reduced


@dataclass(frozen=True, slots=True)
class Sprite:
    """A thing as seen from above, in metres, its length along the real axis and its front at the positive end.

    parts: (outline, colour, material) in painting order. body: convex outlines whose union is what counts as the object
    and what throws the shadow. height: metres.
    """

    parts: list[tuple[Outline, Colour, int]]
    body: list[Outline]
    height: float

    def extent(self) -> tuple[float, float]:
        """Length and width of the body in metres."""
        xs = [z.real for outline in self.body for z in outline]
        ys = [z.imag for outline in self.body for z in outline]
        return max(xs) - min(xs), max(ys) - min(ys)


@dataclass(frozen=True, slots=True)
class Placed:
    """A labelled thing on the canvas: its body and heading in pixels of the final image."""

    label: int
    body: list[list[complex]]
    heading: complex


class Canvas:
    """Layers of `size` pixels a side and the map from world metres to them.

    gsd: metres a pixel. spin: unit number that turns the world. sun: where the shadow of a 1 m post ends, in metres.
    """

    def __init__(self, size: int, gsd: float, spin: complex, sun: complex) -> None:
        self.size, self.gsd, self.sun = size, gsd, sun
        self.scale = spin * OVER / gsd
        self.origin = complex(size, size) * (OVER / 2)
        side = (size * OVER, size * OVER)
        # Four plain bytes a pixel: colour and material. (RGBA would weigh colour with its fourth byte when reduced.)
        self.colour = Image.new("CMYK", side)
        self.shadow = Image.new("L", side)
        self.foam = Image.new("L", side)
        self._colour = ImageDraw.Draw(self.colour)
        self._shadow = ImageDraw.Draw(self.shadow)
        self._foam = ImageDraw.Draw(self.foam)
        self.placed: list[Placed] = []

    def sees(self, place: complex, radius: float = 0.0) -> bool:
        """Whether a disc of the world (metres) touches the image."""
        z = self.origin + self.scale * place
        reach, side = radius * OVER / self.gsd, self.size * OVER
        return -reach <= z.real <= side + reach and -reach <= z.imag <= side + reach

    def fill(self, colour: Colour, material: int) -> None:
        """Cover everything."""
        self.colour.paste((*colour, material), (0, 0, *self.colour.size))

    def polygon(self, outline: Outline, colour: Colour, material: int = SMOOTH) -> None:
        """Paint an area given in world metres."""
        self._colour.polygon(self._pixels(outline), fill=(*colour, material))

    def line(self, a: complex, b: complex, width: float, colour: Colour, material: int = SMOOTH) -> None:
        """Paint a straight band, one fine pixel wide at least."""
        self._colour.polygon(self._pixels(quad(a, b, width)), fill=(*colour, material))

    def dashes(self, a: complex, b: complex, width: float, period: float, colour: Colour) -> None:
        """Paint a broken line, half of each period filled."""
        length = abs(b - a)
        step = (b - a) / (length or 1.0)
        for i in range(int(length / period)):
            start = a + step * (i * period)
            if self.sees(start, period):
                self.line(start, start + step * (period / 2), width, colour)

    def disc(self, centre: complex, radius: float, colour: Colour, material: int = SMOOTH) -> None:
        """Paint a circle."""
        z, r = self.origin + self.scale * centre, radius * OVER / self.gsd
        self._colour.ellipse((z.real - r, z.imag - r, z.real + r, z.imag + r), fill=(*colour, material))

    def froth(self, outline: Outline, strength: int) -> None:
        """White water, 0..255."""
        self._foam.polygon(self._pixels(outline), fill=strength)

    def cast(self, outline: Outline, height: float, depth: int = 255) -> None:
        """The shadow of a prism over a convex outline, which itself stays lit."""
        self._shadow.polygon(self._pixels(sweep(outline, self.sun * height)), fill=depth)
        self._shadow.polygon(self._pixels(outline), fill=0)

    def overcast(self, outline: Outline, depth: int = 255) -> None:
        """A shadow over all that was painted before it; depth 0 lifts the shadows there instead."""
        self._shadow.polygon(self._pixels(outline), fill=depth)

    def put(self, sprite: Sprite, place: complex, heading: complex = 1, label: int | None = None) -> None:
        """Paint a thing with its shadow; a labelled one enters the truth."""
        shift, factor = self.origin + self.scale * place, self.scale * heading
        body = [[shift + factor * z for z in outline] for outline in sprite.body]
        if sprite.height > 0:
            fall = self.scale * self.sun * sprite.height
            for outline in body:
                self._shadow.polygon(_pairs(sweep(outline, fall)), fill=255)
        for outline in body:
            self._shadow.polygon(_pairs(outline), fill=0)
            self._foam.polygon(_pairs(outline), fill=0)
        for part, colour, material in sprite.parts:
            points = [shift + factor * z for z in part]
            self._colour.polygon(_pairs(points), fill=(*colour, material))
        if label is not None:
            pixels = [[z / OVER for z in outline] for outline in body]
            self.placed.append(Placed(label, pixels, factor / abs(factor)))

    def _pixels(self, outline: Outline) -> list[tuple[float, float]]:
        origin, scale = self.origin, self.scale
        return _pairs([origin + scale * z for z in outline])


def _pairs(points: Sequence[complex]) -> list[tuple[float, float]]:
    return [(z.real, z.imag) for z in points]
