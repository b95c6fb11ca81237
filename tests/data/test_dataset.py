import multiprocessing
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skystill.data.annotations import Annotations, Record
from skystill.data.dataset import DetectionDataset, SyntheticDataset, augment
from skystill.data.transforms import EvalTransform, TrainTransform
from skystill.errors import ConfigError, DataError
from skystill.structures import Targets

EVERYTHING = TrainTransform(24, 0, (0.8, 1.25), True, True, 0.3, 0.5)


def record(path: Path, boxes, width=0, height=0, columns=4, crowd=None):
    corners = np.array(boxes, dtype=np.float64).reshape(-1, columns)
    flags = np.zeros(len(corners), dtype=bool)
    return Record(
        path,
        width,
        height,
        corners,
        np.zeros(len(corners), dtype=np.int64),
        flags if crowd is None else np.array(crowd),
        flags,
        source=f"truth.json image {path.name}",
    )


def save(path: Path, bands=3, size=(40, 30), value=None):
    rng = np.random.default_rng(len(path.stem) + ord(path.stem[-1]))
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    Image.fromarray(pixels[..., 0] if bands == 1 else pixels).save(path)
    return path


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def annotations(tmp_path):
    records = [record(save(tmp_path / f"{name}.png"), [(2, 3, 20, 15)]) for name in "abcd"]
    records.append(record(save(tmp_path / "e.png"), []))
    return Annotations(("ship",), records)


def test_samples(annotations):
    image, targets = DetectionDataset(annotations, EvalTransform())[0]
    assert image.shape == (3, 30, 40)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), np.array(Image.open(annotations.records[0].image)))
    assert targets.boxes.tolist() == [[2, 3, 20, 15]]
    assert targets.boxes.dtype == torch.float32
    assert targets.labels.tolist() == [0]
    assert targets.name == "a.png"


def test_images_without_objects_stay_in(annotations):
    dataset = DetectionDataset(annotations, EvalTransform())
    assert len(dataset) == 5
    assert dataset[4][1].boxes.shape == (0, 4)
    assert len(list(dataset)) == 5  # an index beyond the end stops iteration


def test_crowds_are_ignored(tmp_path):
    truth = record(save(tmp_path / "a.png"), [(1, 1, 5, 5), (2, 2, 9, 9)], crowd=[False, True])
    _, targets = DetectionDataset(Annotations(("ship",), [truth]), EvalTransform())[0]
    assert targets.ignore.tolist() == [False, True]


def test_a_view_is_a_function_of_seed_view_and_index(annotations):
    def draw(seed, key):
        return DetectionDataset(annotations, EVERYTHING, seed=seed)[key]

    def same(one, two):
        return torch.equal(one[0], two[0]) and torch.equal(one[1].boxes, two[1].boxes)

    torch.manual_seed(1)
    first = draw(5, (3, 2))
    torch.manual_seed(2)
    DetectionDataset(annotations, EVERYTHING, seed=5)[0, 0]
    assert same(first, draw(5, (3, 2)))
    assert same(draw(5, (0, 2)), draw(5, 2))
    assert not same(first, draw(5, (4, 2)))
    assert not same(first, draw(6, (3, 2)))


def test_augmentation_leaves_the_models_chance_alone(annotations):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    DetectionDataset(annotations, EVERYTHING)[1, 1]
    assert torch.equal(torch.get_rng_state(), before)


def test_seed_view_and_index_do_not_blur():
    empty = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))

    def draws(seed, view, index):
        noise = augment(lambda i, t: (torch.rand(4), t), torch.zeros(1), empty, seed, view, index)[0]
        return tuple(noise.tolist())

    assert len({draws(s, v, i) for s in range(4) for v in range(4) for i in range(4)}) == 64


def test_one_band_becomes_three_and_three_one(tmp_path):
    grey = Annotations(("ship",), [record(save(tmp_path / "g.png", bands=1), [])])
    image, _ = DetectionDataset(grey, EVERYTHING, bands=3)[0]
    assert image.shape == (3, 24, 24)
    assert torch.equal(image[0], image[2])
    colour = Annotations(("ship",), [record(save(tmp_path / "c.png"), [])])
    assert DetectionDataset(colour, EVERYTHING, bands=1)[0][0].shape == (1, 24, 24)


def test_oriented_truth(tmp_path):
    corners = [(10, 5, 30, 5, 30, 15, 10, 15)]
    truth = Annotations(("ship",), [record(save(tmp_path / "a.png"), corners, columns=8)], kind="obb")
    assert DetectionDataset(truth, EvalTransform(), "hbb")[0][1].boxes.tolist() == [[10, 5, 30, 15]]
    box = DetectionDataset(truth, EvalTransform(), "obb")[0][1].boxes
    torch.testing.assert_close(box, torch.tensor([[20.0, 10, 20, 10, 0]]))


def test_horizontal_truth_cannot_train_oriented_boxes(annotations):
    with pytest.raises(ConfigError, match="kind: obb needs oriented truth"):
        DetectionDataset(annotations, EvalTransform(), "obb")


def test_no_images():
    with pytest.raises(DataError, match="list no image"):
        DetectionDataset(Annotations(("ship",), []), EvalTransform())


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path):
    truth = Annotations(("ship",), [record(save(tmp_path / "a.png"), [(1, 1, 5, 5)], width=80, height=60)])
    with pytest.raises(DataError, match=r"a\.png is 40 x 30 pixels, but its annotation says 80 x 60"):
        DetectionDataset(truth, EvalTransform())[0]


def test_a_truncated_image_stops_by_default(annotations):
    truncate(annotations.records[1].image)
    with pytest.raises(DataError, match=r"b\.png") as error:
        DetectionDataset(annotations, EvalTransform())[1]
    assert "\n" not in str(error.value)


def test_a_truncated_image_can_be_skipped(annotations):
    truncate(annotations.records[1].image)
    annotations.records[2].image.unlink()
    dataset = DetectionDataset(annotations, EvalTransform(), on_bad_image="skip")
    names = [dataset[i][1].name for i in range(5)]
    assert names == ["a.png", "d.png", "d.png", "d.png", "e.png"]
    assert dataset.skipped == ["b.png", "c.png"]
    # A replaced view is the view of the image that replaces it, whoever found the bad one first.
    again = DetectionDataset(annotations, EVERYTHING, on_bad_image="skip")
    assert torch.equal(again[2, 1][0], again[2, 3][0])


def test_skipping_every_image_is_an_error(annotations):
    for truth in annotations.records:
        truncate(truth.image)
    dataset = DetectionDataset(annotations, EvalTransform(), on_bad_image="skip")
    with pytest.raises(DataError, match="none of the 5 images can be read"):
        dataset[0]


def test_cache_holds_to_its_budget(annotations):
    dataset = DetectionDataset(annotations, EVERYTHING, cache=int(2.5 * 3 * 30 * 40))
    fresh = DetectionDataset(annotations, EVERYTHING)
    for key in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]:
        assert torch.equal(dataset[key][0], fresh[key][0])
    for truth in annotations.records:
        truth.image.unlink()
    assert dataset[2, 0][1].name == "a.png"
    with pytest.raises(DataError):
        dataset[2, 2]


@dataclass
class Scene:
    image: np.ndarray
    corners: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


@pytest.fixture
def renders(monkeypatch):
    """A stand-in for the renderer: one bright box a scene, at a place that names the scene. Lists what was rendered."""
    calls = []

    def render(index, seed=0, size=32):
        calls.append((index, seed))
        image = np.zeros((size, size, 3), dtype=np.uint8)
        x = 2 + index % 10
        image[5:9, x : x + 6] = 200
        corners = np.array([[x, 5, x + 6, 5, x + 6, 9, x, 9]], dtype=np.float64)
        return Scene(image, corners, np.array([1]), np.array([[x + 1, 5, x + 6, 9]]))

    fake = types.SimpleNamespace(render=render, CLASSES=("plane", "ship"))
    monkeypatch.setitem(sys.modules, "skystill.data.synthetic", fake)
    return calls


@pytest.mark.parametrize("kind", ["hbb", "obb"])
def test_scenes(renders, kind):
    dataset = SyntheticDataset(3, 32, seed=9, first=100, transform=EvalTransform(), kind=kind)
    assert dataset.classes == ("plane", "ship")
    assert len(list(dataset)) == 3
    image, targets = dataset[1]
    assert image.shape == (3, 32, 32)
    assert targets.name == "scene_000101"
    assert targets.labels.tolist() == [1]
    expected = [[4.0, 5, 9, 9]] if kind == "hbb" else [[6.0, 7, 6, 4, 0]]
    torch.testing.assert_close(targets.boxes, torch.tensor(expected))
    assert image[0, 5:9, 3:9].min() == 200
    assert renders == [(100, 9), (101, 9), (102, 9)]


def test_scenes_are_rendered_again_beyond_the_cache(renders):
    dataset = SyntheticDataset(2, 32, seed=0, transform=EvalTransform(), cache=int(1.5 * 3 * 32 * 32))
    for index in (0, 1, 0, 1):
        dataset[index]
    assert renders == [(0, 0), (1, 0), (1, 0)]


def test_workers_share_what_they_rendered(renders):
    dataset = SyntheticDataset(4, 32, seed=0, transform=EvalTransform())
    for worker in (0, 1):
        process = multiprocessing.get_context("fork").Process(
            target=lambda w=worker: (dataset[2 * w], dataset[2 * w + 1])
        )
        process.start()
        process.join()
    assert len(list(dataset)) == 4
    assert renders == []  # this process rendered none of them


def test_no_scenes(renders):
    with pytest.raises(DataError, match="0 synthetic scenes"):
        SyntheticDataset(0, 32, seed=0, transform=EvalTransform())
