"""Boxes land on their pixels, in their colour, at every size and kind of image."""

import base64
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from skystill.data import sheet
from skystill.data.palette import COLOURS
from skystill.errors import DataError
from skystill.evaluation import draw as room
from skystill.evaluation.draw import draw, picture_data_uri, side_by_side, to_picture
from skystill.structures import Detections, Targets

CLASSES = ["ship", "plane"]
GREY = np.full((256, 256, 3), 128, dtype=np.uint8)


def rgb(colour):
    return ImageColor.getrgb(colour)


def one(box, label=0, score=0.87):
    return Detections(torch.tensor([box]), torch.tensor([score]), torch.tensor([label]))


def written(monkeypatch):
    """The texts that a drawing wrote, in order."""
    texts = []

    def record(pen, place, text, **kwargs):
        texts.append(text)

    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.text", record)
    return texts


def test_a_horizontal_box_lies_on_its_pixels():
    picture = draw(GREY, one([60.0, 80.0, 120.0, 200.0], label=1), CLASSES)
    assert picture.size == (512, 512)  # enlarged twice
    for x, y in ((120, 280), (240, 280), (180, 160), (180, 400)):
        assert picture.getpixel((x, y)) == rgb(COLOURS[1])
    assert picture.getpixel((180, 280)) == (128, 128, 128)
    assert picture.getpixel((100, 280)) == (128, 128, 128)


def test_an_oriented_box_lies_on_its_pixels():
    picture = draw(GREY, one([128.0, 128.0, 100.0, 40.0, math.pi / 4]), CLASSES)
    along, across = np.array([1, 1]) / 2**0.5, np.array([-1, 1]) / 2**0.5  # theta turns clockwise on the screen
    for offset in (50 * along, -50 * along, 20 * across, -20 * across):
        x, y = (2 * (128 + offset)).round().astype(int).tolist()
        assert picture.getpixel((x, y)) == rgb(COLOURS[0])
    x, y = (2 * (128 + 50 * across)).round().astype(int).tolist()
    assert picture.getpixel((x, y)) == (128, 128, 128)


def test_a_class_has_the_colour_that_the_sheet_of_inspect_gives_it():
    classes = [str(label) for label in range(12)]
    for label in range(12):
        picture = draw(GREY, one([60.0, 80.0, 120.0, 200.0], label=label), classes)
        assert picture.getpixel((120, 280)) == rgb(sheet.colour(label))


def test_large_images_keep_their_size():
    assert draw(np.zeros((600, 900, 3), dtype=np.uint8), one([10.0, 10.0, 50.0, 50.0]), CLASSES).size == (900, 600)


def test_the_image_itself_is_not_changed():
    image = np.zeros((600, 600, 3), dtype=np.uint8)
    draw(image, one([10.0, 10.0, 50.0, 50.0]), CLASSES)
    assert image.max() == 0


def test_texts_name_class_and_score(monkeypatch):
    texts = written(monkeypatch)
    draw(GREY, one([60.0, 80.0, 120.0, 200.0], label=1), CLASSES)
    draw(GREY, Targets(torch.tensor([[60.0, 80.0, 120.0, 200.0]]), torch.tensor([0])), CLASSES)
    assert texts == ["plane 0.87", "ship"]


def test_texts_never_hide_each_other_and_the_best_score_comes_first(monkeypatch):
    texts = written(monkeypatch)
    boxes = torch.tensor([[60.0, 80.0, 120.0, 100.0]] * 5)
    found = Detections(boxes, torch.tensor([0.1, 0.9, 0.5, 0.3, 0.2]), torch.zeros(5, dtype=torch.int64))
    draw(GREY, found, CLASSES)
    assert texts == ["ship 0.90", "ship 0.50", "ship 0.30", "ship 0.20"]  # above the boxes, below, right and left


def test_a_text_that_would_hide_a_box_is_left_out_but_for_the_first_of_its_class(monkeypatch):
    texts = written(monkeypatch)
    # A sheet of boxes without room between them, so that whatever is written about an inner one covers another.
    left, top = torch.meshgrid(torch.arange(8) * 30.0, torch.arange(8) * 30.0, indexing="ij")
    boxes = torch.stack([left, top, left + 28, top + 28], dim=2).reshape(-1, 4)
    inner, other = 27, 36
    scores = torch.full((64,), 0.5)
    scores[inner], scores[other] = 0.9, 0.8
    labels = torch.zeros(64, dtype=torch.int64)
    labels[other] = 1
    draw(np.zeros((600, 600, 3), np.uint8), Detections(boxes, scores, labels), CLASSES)
    assert texts[:2] == ["ship 0.90", "plane 0.80"]
    assert 8 < len(texts) < 20  # along the edges of the sheet alone


def test_a_text_stands_beside_its_box_rather_than_on_another():
    boxes = torch.tensor([[200.0, 100, 240, 140], [200.0, 70, 240, 98], [200.0, 142, 240, 170]])
    found = Detections(boxes, torch.tensor([0.9, 0.5, 0.4]), torch.tensor([0, 1, 1]))
    picture = draw(np.zeros((600, 600, 3), np.uint8), found, CLASSES)
    assert picture.getpixel((246, 102)) == rgb(sheet.colour(0))  # right of it
    assert picture.getpixel((220, 84)) == (0, 0, 0)  # and both others are free
    assert picture.getpixel((220, 156)) == (0, 0, 0)


def test_ignored_objects_are_grey():
    box = torch.tensor([[60.0, 80.0, 120.0, 200.0]])
    picture = draw(GREY, Targets(box, torch.tensor([0]), torch.tensor([True])), CLASSES)
    assert picture.getpixel((120, 280)) == rgb("#A0A0A0")


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 5, 7), (10, 20, 30)),
        (torch.tensor([10, 20, 30, 40], dtype=torch.uint8).view(4, 1, 1).expand(4, 5, 7), (10, 20, 30)),
        (torch.full((1, 5, 7), 9, dtype=torch.uint8), (9, 9, 9)),
        (np.full((5, 7), 9, dtype=np.uint8), (9, 9, 9)),
        (np.full((5, 7, 2), 9, dtype=np.uint8), (9, 9, 9)),
    ],
)
def test_pictures_of_any_number_of_bands(image, pixel):
    picture = to_picture(image)
    assert picture.size == (7, 5)
    assert picture.getpixel((6, 4)) == pixel


@pytest.mark.parametrize("image", [torch.zeros(3, 4, 4), np.zeros((0, 4, 3), dtype=np.uint8), np.zeros(4, np.uint8)])
def test_other_images_get_one_clear_line(image):
    with pytest.raises(DataError, match=r"cannot draw .* Give uint8") as caught:
        to_picture(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", [4, 5])
def test_nothing_to_draw_leaves_the_image(columns):
    picture = draw(np.full((512, 512, 3), 7, np.uint8), Targets.empty(columns=columns), CLASSES)
    assert np.unique(np.asarray(picture)).tolist() == [7]


def test_side_by_side_puts_each_set_on_its_own_image(monkeypatch):
    texts = written(monkeypatch)
    truth = Targets(torch.tensor([[60.0, 80.0, 120.0, 200.0]] * 2), torch.tensor([0, 0]), torch.tensor([False, True]))
    sheet = side_by_side(GREY, {"truth": truth, "alone": one([20.0, 80.0, 40.0, 200.0], label=1)}, CLASSES)
    assert sheet.width == 2 * 512 + room._GAP
    top, left = 34, 512 + room._GAP
    assert sheet.getpixel((120, top + 280)) == rgb("#A0A0A0")
    assert sheet.getpixel((left + 40, top + 280)) == rgb(COLOURS[1])
    assert sheet.getpixel((40, top + 280)) == (128, 128, 128)
    assert sheet.getpixel((left + 120, top + 280)) == (128, 128, 128)
    assert texts == ["truth  (1)", "alone  (1)", "0.87", "ship", "plane", "ignored"]


def test_a_legend_that_does_not_fit_ends_in_dots(monkeypatch):
    texts = written(monkeypatch)
    names = [f"a long name of a class {i}" for i in range(9)]
    truth = Targets(torch.tensor([[60.0, 80.0, 120.0, 200.0]] * 9), torch.arange(9))
    side_by_side(GREY, {"truth": truth}, names)
    assert texts[-1] == "…"
    assert 2 < len(texts) < 10


def test_data_uri_is_a_png_of_the_picture():
    picture = draw(GREY, one([60.0, 80.0, 120.0, 200.0]), CLASSES)
    head, data = picture_data_uri(picture).split(",")
    assert head == "data:image/png;base64"
    again = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (np.asarray(again) == np.asarray(picture)).all()


def test_a_narrow_strip_is_not_enlarged_beyond_what_a_file_can_hold() -> None:
    strip = torch.zeros(3, 10, 3000, dtype=torch.uint8)
    assert draw(strip, Targets.empty(), ("a",)).size == (3000, 10)
    assert draw(torch.zeros(3, 100, 200, dtype=torch.uint8), Targets.empty(), ("a",)).size == (1200, 600)
