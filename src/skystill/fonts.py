"""Fonts for the names of classes, which may be Chinese, Japanese or Korean."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Files of fonts with such letters that Linux, Windows and macOS come with, or that people install.
WIDE = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "NotoSansSC-VF.ttf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "YuGothM.ttc",
    "malgun.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "Arial Unicode.ttf",
)
_LATIN = 0x24F  # the last letter that Pillow's own font has for certain


@cache
def families() -> list[str]:
    """matplotlib's font.family: its own font first, then one with wide letters where the machine has one."""
    from matplotlib.font_manager import FontProperties, fontManager

    if (path := _installed()) is None:
        return ["DejaVu Sans"]
    fontManager.addfont(path)  # its own list may be older than the font
    return ["DejaVu Sans", FontProperties(fname=path).get_name()]


@cache
def font(size: int, text: str = "") -> FreeTypeFont | ImageFont:
    """Pillow's font of that size in pixels, or where it lacks letters of the text one that has them."""
    from PIL.ImageFont import load_default, truetype

    if all(ord(letter) <= _LATIN for letter in text):
        return load_default(size)
    from matplotlib.font_manager import findfont

    return truetype(_installed() or findfont("DejaVu Sans"), size)  # that has Greek, Cyrillic, Arabic and signs


@cache
def _installed() -> str | None:
    """The first of WIDE that is on this machine."""
    from matplotlib.font_manager import findSystemFonts

    found = {Path(path).name: path for path in findSystemFonts()}
    return next((found[name] for name in WIDE if name in found), None)
