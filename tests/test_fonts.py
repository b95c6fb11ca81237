"""Class names in the letters of their country, in pictures and plots."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skystill import fonts
from skystill.data.annotations import Annotations, Record
from skystill.data.inspect import summarize
from skystill.data.sheet import draw_sheet
from skystill.evaluation.draw import draw
from skystill.structures import Targets


@pytest.fixture(autouse=True)
def afresh() -> None:
    for cached in (fonts.font, fonts.families):
        cached.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with one wide font, for which a font stands that matplotlib ships."""
    from matplotlib.font_manager import findfont

    path = findfont("DejaVu Serif")
    monkeypatch.setattr(fonts, "_installed", lambda: path)
    return path


def test_the_font_goes_by_the_letters(installed: str) -> None:
    assert fonts.font(14, "ship 0.9 é").getname()[0] != "DejaVu Serif"  # type: ignore[union-attr]
    assert fonts.font(14, "船").path == installed  # type: ignore[union-attr]
    assert fonts.families() == ["DejaVu Sans", "DejaVu Serif"]


def test_a_machine_without_such_fonts_still_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_installed", lambda: None)
    assert fonts.families() == ["DejaVu Sans"]
    assert fonts.font(14, "корабль").getname()[0] == "DejaVu Sans"  # type: ignore[union-attr]


def test_names_reach_pictures(installed: str) -> None:
    image = np.full((3, 64, 64), 90, dtype=np.uint8)
    truth = Targets(torch.tensor([[4.0, 24, 60, 60]]), torch.tensor([0]))
    pixels = torch.from_numpy(image)
    assert draw(pixels, truth, ["船舶"]).tobytes() != draw(pixels, truth, [""]).tobytes()


def test_a_sheet_does_not_warn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of letters that a font of `families` has: Greek ones, in matplotlib's own."""
    monkeypatch.setattr(fonts, "_installed", lambda: None)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    flags = np.zeros(1, dtype=np.bool_)
    record = Record(tmp_path / "a.png", 32, 32, np.array([[1.0, 2, 9, 12]]), np.array([0]), flags, flags.copy(), "a")
    found = Annotations(("πλοίο",), [record])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_sheet(found, summarize(found), tmp_path / "sheet.png")
