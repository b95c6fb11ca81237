"""Files of detections: what they say, and every way in which they can be wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skystill.boxes.obb import obb_to_corners
from skystill.data.predictions import Vocabulary, read_predictions
from skystill.errors import DataError

CLASSES = ("plane", "ship")
IMAGES = [Path("data/train/a.png"), Path("data/train/b.png"), Path("data/other/c.tif")]
COCO = Vocabulary(
    IMAGES,
    CLASSES,
    others=[Path("data/val/v.png"), Path("data/val/a.png")],
    ids={7: 0, 8: 1, 9: 2},
    categories={3: "plane", 5: "ship"},
)
ORIENTED = replace(COCO, kind="obb")
TWINS = replace(COCO, images=[Path("x/a.png"), Path("y/a.png")])
GOOD = {"image_id": 7, "category_id": 5, "bbox": [10, 20, 30, 5], "score": 0.5}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "found.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_coco_results_by_ids_best_first(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"score": 0.9, "category_id": 3, "bbox": [1.5, 2, 3, 4]}, GOOD | {"image_id": 9, "score": 1}]
    first, second, third = read_predictions(written(tmp_path, rows), COCO)
    assert first.boxes.tolist() == [[1.5, 2, 4.5, 6], [10, 20, 40, 25]]
    assert first.scores.tolist() == pytest.approx([0.9, 0.5])
    assert first.labels.tolist() == [0, 1]
    assert (first.boxes.dtype, first.labels.dtype) == (torch.float32, torch.int64)
    assert second.boxes.shape == (0, 4)  # nothing found there
    assert len(third) == 1


def test_names_instead_of_ids(tmp_path: Path) -> None:
    named = {"category": "ship", "bbox": [0, 0, 5, 5], "score": 0.4}
    rows = [
        named | {"file_name": "train/b.png"},
        named | {"file_name": "train\\b.png"},
        named | {"file_name": "a.png"},  # the training image, although another split has one of this name
        named | {"image_id": "c"},
        named | {"image_id": "c.tif"},
        named | {"file_name": "v.png"},  # of another split: nothing to learn from
    ]
    found = read_predictions(written(tmp_path, rows), Vocabulary(IMAGES, CLASSES, others=COCO.others))
    assert [len(f) for f in found] == [1, 2, 2]


def test_the_own_form_of_predict(tmp_path: Path) -> None:
    row = {"file_name": "a.png", "category": "plane", "bbox": [1, 2, 3, 4], "score": 0.25}
    content = {"classes": ["plane"], "kind": "hbb", "images": [{"file_name": "a.png"}], "detections": [row]}
    found = read_predictions(written(tmp_path, content), COCO)
    assert found[0].boxes.tolist() == [[1, 2, 4, 6]]


def test_oriented_boxes_come_from_corners(tmp_path: Path) -> None:
    boxes = torch.tensor([[50.0, 40, 30, 10, 0.5], [20, 20, 12, 6, -1.2]])
    rows = [GOOD | {"corners": c.tolist(), "score": s} for c, s in zip(obb_to_corners(boxes), (0.3, 0.6), strict=True)]
    found = read_predictions(written(tmp_path, rows), ORIENTED)
    torch.testing.assert_close(found[0].boxes, boxes.flip(0), atol=1e-3, rtol=0)
    assert found[1].boxes.shape == (0, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "line 1: no JSON"),
        ({"images": [], "annotations": []}, "COCO truth, not results"),
        ({"a": 1}, "not COCO results"),
        ([], "holds no detection"),
        ([GOOD, 5], "detection 1: not an object with bbox and score but 5"),
        ([GOOD | {"image_id": 1}, GOOD | {"image_id": 2}, GOOD], r"tells of 2 image\(s\) .* such as '1'"),
        ([GOOD | {"file_name": "x.png"}], "such as 'x.png'"),
        ([GOOD | {"file_name": "elsewhere/a.png"}], "such as 'elsewhere/a.png'"),
        ([GOOD | {"category": "car"}, GOOD | {"category_id": 4}], "car, id 4 are unknown; the data has plane, ship"),
        ([GOOD | {"bbox": [1, 2, 0, 4]}], r"detection 0: bbox .*4.0\] has no area"),
        ([GOOD | {"bbox": [1, 2, 3]}], "bbox must be 4 numbers"),
        ([GOOD | {"bbox": [1, 2, 3, None]}], "bbox must be 4 numbers"),
        ([GOOD | {"score": 1.5}], "detection 0: score is 1.5"),
        ([GOOD | {"score": True}], "score is True"),
        ('[{"image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4], "score": NaN}]', "score is nan"),
        ([{k: v for k, v in GOOD.items() if k != "score"}], "score is None"),
        ([{k: v for k, v in GOOD.items() if k != "image_id"}], "neither file_name nor image_id"),
        ([{k: v for k, v in GOOD.items() if k != "category_id"}], "neither category nor category_id"),
        ([GOOD | {"file_name": "v.png"}], "tells of no image to train on"),
    ],
)
def test_faults_are_one_line(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(written(tmp_path, content), COCO)
    assert "found.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words", "message"),
    [
        (GOOD, ORIENTED, "needs corners"),
        (GOOD | {"corners": [1, 1, 2, 2, 3, 3, 4, 4]}, ORIENTED, "enclose no area"),
        (GOOD | {"image_id": "a"}, Vocabulary(IMAGES, CLASSES), "category_id needs truth in COCO's form"),
        (GOOD | {"file_name": "a.png"}, TWINS, "2 images are called a.png"),
    ],
)
def test_faults_that_depend_on_the_data(row: object, words: Vocabulary, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(written(tmp_path, [row]), words)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_predictions(tmp_path / "none.json", COCO)
