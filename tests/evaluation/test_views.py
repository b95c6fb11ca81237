"""Cells, boxes and words land where they belong."""

import numpy as np
import pytest
import torch
from PIL import ImageColor

from skystill.evaluation import views as room
from skystill.evaluation.views import Region, View, draw_views
from skystill.structures import Detections, Targets

SIDE, TOP, GAP = 384, 26, 10  # of a picture; height of the titles; between pictures
BLUE, ORANGE = room._LEVELS[:2]
NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def grey(height=96, width=96, bands=3):
    return torch.full((bands, height, width), 100, dtype=torch.uint8)


def truth(*boxes, ignore=()):
    flags = torch.tensor([i in ignore for i in range(len(boxes))])
    return Targets(torch.tensor(boxes).view(len(boxes), -1), torch.zeros(len(boxes), dtype=torch.int64), flags)


def cells(*rows):
    values = torch.tensor(rows, dtype=torch.float32).view(-1, 3)
    return Region(values[:, :2], values[:, 2])


def view(regions, target=None, alone=NOTHING, blind=(), pixels=None):
    target = Targets.empty() if target is None else target
    return View(grey() if pixels is None else pixels, target, alone, torch.tensor(blind, dtype=torch.bool), regions)


def at(sheet, column, x, y, scale=4.0, row=0):
    """The sheet's colour at a pixel of a view in a column."""
    place = (int(column * (SIDE + GAP) + x * scale), int(TOP + row * (SIDE + GAP) + y * scale))
    return sheet.getpixel(place)


def blended(colour):
    return tuple(round(100 + (c - 100) * room._VEIL / 255) for c in ImageColor.getrgb(colour))


@pytest.fixture
def written(monkeypatch):
    """The texts that a drawing wrote, in order."""
    texts = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.text", lambda pen, place, text, **kwargs: texts.append(text))
    return texts


def test_cells_are_veiled_in_the_colour_of_their_level_fine_ones_on_top():
    regions = {"R_sem": cells([12, 12, 8], [16, 80, 32]), "R_loc": cells([12, 12, 8])}
    sheet = draw_views([view(regions)], ["ship"])
    assert sheet.width == 3 * SIDE + 2 * GAP
    assert at(sheet, 0, 12, 12) == pytest.approx(blended(BLUE), abs=1)
    assert at(sheet, 0, 8.5, 8.1) == pytest.approx(ImageColor.getrgb(BLUE), abs=1)  # the cell's rim
    assert at(sheet, 0, 16, 80) == at(sheet, 0, 2, 66) == pytest.approx(blended(ORANGE), abs=1)
    assert at(sheet, 0, 18, 12) == (100, 100, 100)
    assert at(sheet, 1, 12, 12) == pytest.approx(blended(BLUE), abs=1)
    assert at(sheet, 1, 16, 80) == at(sheet, 2, 12, 12) == (100, 100, 100)


def test_levels_keep_their_colour_in_all_views_and_the_legend_names_them(written):
    views = [view({"R_sem": cells([16, 16, 32])}), view({"R_sem": cells([4, 4, 8])})]
    sheet = draw_views(views, ["ship"])
    assert at(sheet, 0, 16, 16) == pytest.approx(blended(ORANGE), abs=1)
    assert at(sheet, 0, 4, 4, row=1) == pytest.approx(blended(BLUE), abs=1)
    assert written == [
        "R_sem: taught what is there",
        "teacher and truth disagree",
        "object",
        "cell of 8 px",
        "cell of 32 px",
        "teacher is sure (0.5 or more), no object fits",
        "object whose class the teacher scores below 0.1",
    ]


def test_disagreement_marks_overlooked_objects_and_lone_detections(written):
    target = truth([10.0, 10, 30, 30], [50.0, 10, 80, 30], [10.0, 50, 30, 70], ignore=(1,))
    alone = Detections(torch.tensor([[50.0, 50, 80, 80]]), torch.tensor([0.614]), torch.tensor([1]))
    sheet = draw_views([view({}, target, alone, [True, False])], ["ship", "plane"])
    assert sheet.width == SIDE  # no region, one column
    for (x, y), colour in (
        ((10, 20), room._OVERLOOKED),
        ((50, 20), room._IGNORED),
        ((10, 60), room._TRUTH),
        ((50, 65), room._ALONE),
    ):
        assert at(sheet, 0, x, y) == ImageColor.getrgb(colour)
    assert "plane 0.61" in written
    assert "object that does not count" in written


def test_objects_are_outlined_over_the_cells_ignored_ones_in_grey():
    target = truth([10.0, 10, 30, 30], [50.0, 10, 80, 30], ignore=(1,))
    sheet = draw_views([view({"ring": cells([16, 16, 32])}, target, blind=[False])], ["ship"])
    assert at(sheet, 0, 10, 20) == ImageColor.getrgb(room._TRUTH)
    assert at(sheet, 0, 50, 20) == ImageColor.getrgb(room._IGNORED)
    assert at(sheet, 0, 20, 20) == pytest.approx(blended(BLUE), abs=1)


def test_oriented_boxes_and_images_of_any_shape_and_bands():
    turned = truth([48.0, 24.0, 40.0, 10.0, 0.5])
    alone = Detections(torch.tensor([[20.0, 20.0, 30.0, 8.0, -0.5]]), torch.tensor([0.9]), torch.tensor([0]))
    sheet = draw_views(
        [view({}, turned, alone, [True], grey(48, 96, bands=1)), view({}, pixels=grey(1024, 512, bands=4))], ["ship"]
    )
    assert sheet.width == SIDE
    assert sheet.height > TOP + SIDE // 2 + GAP + SIDE + GAP
    assert ImageColor.getrgb(room._OVERLOOKED) in {color for _, color in sheet.getcolors(2**20)}
    bottom = np.asarray(sheet)[TOP + SIDE // 2 + GAP + 5]  # the second view is half as wide as a column
    assert (bottom[10] == 100).all()
    assert (bottom[SIDE // 2 + 10] == 255).all()
