import json
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import auto_cli
from PIL import Image

from skystill.data.config import DataConfig
from skystill.data.module import DataModule, collate, ready
from skystill.errors import ConfigError, DataError
from skystill.structures import Targets

CLASSES = ("plane", "ship")


def write_split(root, split, count=6, classes=CLASSES, sizes=((40, 30),)):
    """A COCO split: file `split`.json beside images/`split`; every third image has no object."""
    folder = root / "images" / split
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for i in range(count):
        width, height = sizes[i % len(sizes)]
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
        images.append({"id": i, "file_name": f"{i}.jpg", "width": width, "height": height})
        if i % 3:
            box = {"bbox": [3, 4, 10, 12], "area": 120, "category_id": 1, "iscrowd": 0}
            boxes.append({"id": i + 1, "image_id": i, **box})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(classes)]
    truth = {"images": images, "annotations": boxes, "categories": categories}
    (root / f"{split}.json").write_text(json.dumps(truth))


@pytest.fixture
def config(tmp_path):
    for split in ("train", "val", "test"):
        write_split(tmp_path, split)
    return make_config(tmp_path)


def make_config(root, **changes):
    plain = {
        "root": str(root),
        "train": "train.json",
        "val": "val.json",
        "test": "test.json",
        "images_train": "images/train",
        "images_val": "images/val",
        "images_test": "images/test",
        "crop": 32,
        "batch": 4,
        "workers": 0,
    }
    return DataConfig(**(plain | changes))


def module(config, seed=0):
    data = DataModule(config, seed)
    data.setup()
    return data


def sample(height, width, dtype=torch.uint8, bands=3, boxes=0):
    image = torch.full((bands, height, width), 255 if dtype == torch.uint8 else 1, dtype=dtype)
    return image, Targets(torch.zeros(boxes, 4), torch.zeros(boxes, dtype=torch.int64))


def test_batches_hold_images_of_different_sizes():
    batch = collate([sample(33, 20, boxes=2), sample(5, 70)])
    assert batch.images.shape == (2, 3, 64, 96)
    assert batch.images.dtype == torch.uint8
    assert batch.sizes == [(33, 20), (5, 70)]
    assert [len(t) for t in batch.targets] == [2, 0]
    floats = ready(batch, "cpu")
    assert floats.images.dtype == torch.float32
    for image, (height, width) in zip(floats.images, batch.sizes, strict=True):
        assert image[:, :height, :width].min() == 1
        assert image.sum() == 3 * height * width  # zeros all around


def test_batch_of_one():
    batch = collate([sample(32, 64)])
    assert batch.images.shape == (1, 3, 32, 64)


def test_batches_fit_every_detector_that_takes_them(config):
    assert collate([sample(33, 20), sample(5, 70)], 48).images.shape == (2, 3, 48, 96)
    data = module(config)
    data.pad_for(48)
    assert next(iter(data.train_dataloader())).images.shape == (4, 3, 96, 96)
    data.pad_for(192)  # a teacher's
    assert next(iter(data.train_dataloader())).images.shape == (4, 3, 192, 192)
    data.pad_for(192, scored=48)
    assert next(iter(data.train_dataloader())).images.shape == (4, 3, 192, 192)
    assert next(iter(data.val_dataloader())).images.shape == (4, 3, 96, 96)


def test_deep_images_stay_floats_beside_bytes():
    batch = collate([sample(32, 32), sample(32, 32, torch.float32)])
    assert batch.images.dtype == torch.float32
    assert batch.images.min() == batch.images.max() == 1
    assert torch.equal(ready(batch, "cpu").images, batch.images)


def test_loaders(config):
    data = module(config)
    assert data.classes == CLASSES
    train = list(data.train_dataloader())
    assert [len(b.targets) for b in train] == [4]  # six images: the batch of two drops out
    assert train[0].images.shape == (4, 3, 32, 32)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        names = [t.name for b in loader for t in b.targets]
        assert names == [f"{i}.jpg" for i in range(6)]
        assert [len(t) for b in loader for t in b.targets] == [0, 1, 1, 0, 1, 1]
        assert next(iter(loader)).images.shape == (4, 3, 32, 64)


def test_a_single_small_batch_is_kept(tmp_path):
    write_split(tmp_path, "train", count=3)
    data = module(make_config(tmp_path, val=None, test=None))
    assert [len(b.targets) for b in data.train_dataloader()] == [3]
    assert data.val_dataloader() == []
    with pytest.raises(ConfigError, match=r"no test data. Give data\.test"):
        data.test_dataloader()


def test_views_multiply_the_epoch(tmp_path):
    write_split(tmp_path, "train", count=4)
    data = module(make_config(tmp_path, val=None, test=None, views=3))
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    first = {t.name: image for b in batches[:1] for t, image in zip(b.targets, b.images, strict=True)}
    later = {t.name: image for b in batches[1:2] for t, image in zip(b.targets, b.images, strict=True)}
    assert first.keys() == later.keys()
    assert not any(torch.equal(first[name], later[name]) for name in first)


def test_workers_do_not_change_the_batches(tmp_path):
    write_split(tmp_path, "train", sizes=((40, 30), (50, 20)))
    batches = []
    for workers in (0, 2):
        data = module(make_config(tmp_path, val=None, test=None, workers=workers, crop=0))
        batches.append(next(iter(data.train_dataloader())))
    assert torch.equal(batches[0].images, batches[1].images)
    assert [t.name for t in batches[0].targets] == [t.name for t in batches[1].targets]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_inside_an_epoch(config, workers):
    config.workers = workers
    bad = f"{config.root}/images/train/2.jpg"
    with open(bad, "rb+") as file:
        file.truncate(200)
    with pytest.raises(DataError, match=r"2\.jpg") as error:
        list(module(config).train_dataloader())
    assert "\n" not in str(error.value)
    config.on_bad_image = "skip"
    config.batch = 6
    data = module(config)
    names = [t.name for b in data.train_dataloader() for t in b.targets]
    assert sorted(names) == [f"{i}.jpg" for i in (0, 1, 3, 3, 4, 5)]
    assert data.datasets["train"].skipped == ["2.jpg"]


def test_evaluation_never_skips(config):
    config.on_bad_image = "skip"
    with open(f"{config.root}/images/val/2.jpg", "rb+") as file:
        file.truncate(200)
    with pytest.raises(DataError, match=r"2\.jpg"):
        list(module(config).val_dataloader())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("plane", "boat"), "train and val disagree on the classes: only train has ship; only val has boat"),
        (("plane",), "only train has ship"),
        (("ship", "plane"), r"another order \(plane, ship against ship, plane\)"),
    ],
)
def test_class_lists_that_differ(tmp_path, names, message):
    write_split(tmp_path, "train")
    write_split(tmp_path, "val", classes=names)
    with pytest.raises(ConfigError, match=message):
        module(make_config(tmp_path, test=None))


def test_testing_needs_the_test_split_alone(tmp_path):
    write_split(tmp_path, "test")
    data = DataModule(make_config(tmp_path))
    with pytest.raises(ConfigError, match=r"Call setup\(\) first"):
        _ = data.classes
    data.setup("test")
    assert data.classes == CLASSES
    assert len(data.test_dataloader()) == 2


def test_no_data_at_all():
    with pytest.raises(ConfigError, match="names no data"):
        module(DataConfig())


def test_a_split_that_the_recipe_does_not_name(config):
    config.test = None
    with pytest.raises(ConfigError, match=r"names no test data\. Give data\.test, or --split val\.$"):
        DataModule(config).setup("test")


def test_oriented_boxes_from_coco_without_any_are_refused(config):
    config.kind = "obb"
    with pytest.raises((ConfigError, DataError)) as error:
        module(config)
    assert "\n" not in str(error.value)


class Watcher(pl.LightningModule):
    """Trains nothing much and writes down what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        assert batch.images.dtype == torch.float32
        assert 0 <= float(batch.images.min()) <= float(batch.images.max()) <= 1
        self.seen.append((self.current_epoch, [t.name for t in batch.targets], float(batch.images.sum())))
        return self.weight * batch.images.mean()

    def validation_step(self, batch, batch_idx):
        assert batch.images.dtype == torch.float32

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(config, folder, epochs, resume=None):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=epochs, default_root_dir=folder, num_sanity_val_steps=0, **quiet)
    watcher = Watcher()
    trainer.fit(watcher, datamodule=DataModule(config, seed=3), ckpt_path=resume)
    trainer.save_checkpoint(folder / "last.ckpt")
    return watcher.seen


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_sees_what_the_whole_run_saw(config, tmp_path):
    config.batch = 3
    whole = fit(config, tmp_path, 3)
    first = fit(config, tmp_path, 1)
    resumed = fit(config, tmp_path, 3, resume=tmp_path / "last.ckpt")
    assert first + resumed == whole
    assert [epoch for epoch, _, _ in whole] == [0, 0, 1, 1, 2, 2]
    assert len({total for _, _, total in whole}) == 6  # no view comes twice


def test_config_is_read_from_yaml():
    def command(data: DataConfig) -> DataConfig:
        return data

    recipe = "{root: x, crop: 512, scale_jitter: [0.5, 2], classes: [a, b], format: coco}"
    read = auto_cli(command, args=["--data", recipe], as_positional=False)
    assert read == DataConfig(root="x", crop=512, scale_jitter=(0.5, 2.0), classes=["a", "b"], format="coco")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, r"data\.batch is 0. Give at least 1"),
        ({"workers": -1}, r"data\.workers is -1"),
        ({"scale_jitter": (1.2, 0.8)}, "smallest <= largest"),
        ({"colour": 1.0}, r"data\.colour is 1\.0"),
        ({"p_object": 1.1}, r"data\.p_object is 1\.1"),
    ],
)
def test_values_out_of_range(change, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**change)


def unlabelled(root, names=("u0.jpg", "u1.jpg", "deep/u2.jpg")):
    rng = np.random.default_rng(1)
    for name in names:
        path = root / "more" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)


@pytest.mark.parametrize(("share", "added"), [(0.5, 4), (0.2, 1), (0.75, 12), (0.01, 1)])
def test_unlabelled_images_come_on_top_of_a_batch(config, tmp_path, share, added):
    unlabelled(tmp_path)
    plain = list(module(config).train_dataloader())
    data = module(replace(config, unlabelled="more", unlabelled_share=share))
    assert (data.datasets["train"].labelled, len(data.datasets["train"])) == (6, 9)
    batches = list(data.train_dataloader())
    assert len(batches) == len(plain)
    for batch, alone in zip(batches, plain, strict=True):
        assert [t.labelled for t in batch.targets] == [True] * 4 + [False] * added
        assert [t.name for t in batch.targets[:4]] == [t.name for t in alone.targets]
        assert torch.equal(batch.images[:4], alone.images)
        assert {t.name for t in batch.targets[4:]} <= {"u0.jpg", "u1.jpg", "u2.jpg"}
        assert all(len(t) == 0 for t in batch.targets[4:])
        assert {t.key[1] for t in batch.targets[4:]} <= {6, 7, 8}


def test_views_of_unlabelled_images_can_be_asked_for(config, tmp_path):
    unlabelled(tmp_path)
    data = module(replace(config, unlabelled="more/*.jpg"))
    (batch,) = data.views_loader([(1, 7), (0, 0)])
    assert [t.labelled for t in batch.targets] == [False, True]
    assert len(data.datasets["train"]) == 8  # the pattern does not go deeper
    data.setup()
    assert len(data.datasets["train"]) == 8


def test_images_of_the_splits_are_not_unlabelled(config, tmp_path, caplog):
    unlabelled(tmp_path)
    data = module(replace(config, unlabelled="."))
    assert [p.name for p in data.datasets["train"].images[6:]] == ["u2.jpg", "u0.jpg", "u1.jpg"]
    assert "18 images of the data's own splits are left out" in caplog.text
    with pytest.raises(DataError, match=r"all 6 images of .* belong to the data's own splits"):
        module(replace(config, unlabelled="images/val"))


def test_a_bad_unlabelled_image_is_replaced_by_its_own_kind(config, tmp_path):
    unlabelled(tmp_path)
    (tmp_path / "more" / "u1.jpg").write_bytes(b"nothing")
    data = module(replace(config, unlabelled="more", on_bad_image="skip"))
    (batch,) = data.views_loader([(0, 8)])
    assert batch.targets[0].name == "u2.jpg"
    assert data.datasets["train"].skipped == ["u1.jpg"]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"unlabelled": "none"}, DataError, "data.unlabelled: .*none: no image there"),
        ({"unlabelled": "more", "unlabelled_share": 1.0}, ConfigError, "unlabelled_share is 1.0. Give a share above 0"),
        ({"unlabelled": "more", "unlabelled_share": 0.0}, ConfigError, "unlabelled_share is 0.0"),
        ({"unlabelled": "more", "format": "synthetic"}, ConfigError, "format synthetic renders scenes"),
    ],
)
def test_faults_of_unlabelled_images_are_one_line(config, tmp_path, changes, kind, message):
    (tmp_path / "none").mkdir()
    with pytest.raises(kind, match=message) as caught:
        module(replace(config, **changes))
    assert "\n" not in str(caught.value)


def test_told_detections_come_with_every_view(config, tmp_path):
    unlabelled(tmp_path)
    rows = [
        {"image_id": 1, "category_id": 2, "bbox": [3, 4, 10, 12], "score": 0.7},
        {"file_name": "u1.jpg", "category": "plane", "bbox": [0, 0, 40, 30], "score": 0.9},
    ]
    (tmp_path / "found.json").write_text(json.dumps(rows))
    plain = replace(config, crop=0, scale_jitter=(1.0, 1.0), flip=False, turn=False, colour=0.0, unlabelled="more")
    data = module(plain)
    assert [len(found) for found in data.tell(tmp_path / "found.json", data.classes)] == [0, 1, 0, 0, 0, 0, 0, 0, 1]
    (batch,) = data.views_loader([(0, 1), (0, 0), (0, 8)])
    one, none, extra = batch.targets
    assert one.told.boxes.tolist() == one.boxes.tolist() == [[3, 4, 13, 16]]
    assert (one.told.labels.tolist(), one.labels.tolist()) == ([1], [0])
    assert len(none.told) == 0
    assert extra.told.boxes.tolist() == [[0, 0, 40, 30]]
    assert not extra.labelled
    assert data.datasets["val"][0][1].told is None


def test_images_of_several_sizes_are_scored_alone(tmp_path):
    """Padding beside a larger image would change what is found in a smaller one."""
    write_split(tmp_path, "train")
    write_split(tmp_path, "val", sizes=((40, 30), (96, 64)))
    write_split(tmp_path, "test")
    data = module(make_config(tmp_path))
    assert [tuple(batch.images.shape) for batch in data.val_dataloader()][:2] == [(1, 3, 32, 64), (1, 3, 64, 96)]
    assert [len(batch.images) for batch in data.test_dataloader()] == [4, 2]


def test_categories_named_by_numbers_are_told_of_by_id(tmp_path):
    for split in ("train", "val", "test"):
        write_split(tmp_path, split, classes=(7, 8))
    (tmp_path / "found.json").write_text('[{"image_id": 1, "category_id": 2, "bbox": [3, 4, 10, 12], "score": 0.7}]')
    data = module(make_config(tmp_path))
    assert data.tell(tmp_path / "found.json", data.classes)[1].labels.tolist() == [1]


def test_rendered_scenes_have_no_file_of_predictions(tmp_path):
    data = module(DataConfig(format="synthetic", scenes_train=1, scenes_val=0, scenes_test=0, scene_size=64))
    with pytest.raises(ConfigError, match=r"found.json: predictions are of image files"):
        data.tell(tmp_path / "found.json", data.classes)


def test_a_split_without_images_is_told_by_its_name(tmp_path):
    write_split(tmp_path, "train")
    write_split(tmp_path, "val", count=0)
    with pytest.raises(DataError, match=r"data\.val: .*val\.json lists no image"):
        module(make_config(tmp_path, test=None))
