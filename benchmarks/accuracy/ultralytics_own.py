"""A pair of YOLOs by ultralytics' own distillation, beside the same pair by skystill.

    python benchmarks/accuracy/ultralytics_own.py --recipe recipes/ul_yolo11s_to_ul_yolo11n_ltd_hit_uav.yaml \\
        --root path/to/hit_uav --ours runs/families/yolo_to_yolo/benchmark.json \\
        --out benchmarks/accuracy/results/ultralytics/hit_uav_yolo

What ultralytics does (8.4): teacher and student see the batch; at the three maps that enter the head the student's,
through two 1x1 convolutions with a ReLU between them, is held against the teacher's by squared differences, weighted by
the teacher's best score of each cell (skystill's `sl2` is of that kind); times `dis`, 6 by default.

The same for both: the teacher's weights, the views of each training image (drawn once by the recipe, 8 bits, no loss),
how many of them a student sees, batch, image size, AdamW, learning rate, cosine, weight decay, seeds, and the
evaluator, which is skystill's, on the last epoch's running average. By ultralytics: trainer, loss, warm-up, gradient
clip, running average, order of images, initial weights. So each gain counts from its own student alone.

Every run is a process of its own that no network reaches; one that is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

import skystill
from skystill.benchmark.tables import markdown_rows
from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.data.annotations import Annotations, Record
from skystill.data.layout import image_folder, write_dataset
from skystill.data.module import DataModule
from skystill.detectors.weights import PRESETS
from skystill.evaluation.compare import FIGURES, text_of
from skystill.evaluation.report import TableData
from skystill.files import whole_file
from skystill.training.fit import machine
from skystill.training.recipe import Recipe
from skystill.training.scoring import collect

METHODS = ("alone", "distilled")


def read_recipe(options: argparse.Namespace) -> Recipe:
    """With the whole paths that a process in another folder needs."""
    recipe, _ = parse_recipe(recipe_parser("distill", ""), [str(options.recipe), "--data.root", str(options.root)])
    epochs = options.epochs or recipe.trainer.epochs
    return replace(recipe, trainer=replace(recipe.trainer, epochs=epochs), data=replace(recipe.data, workers=0))


def prepare(recipe: Recipe, folder: Path, limit: int) -> None:
    """Every view of the training images as an image of its own, and the validation images, in YOLO's layout."""
    done = folder / "views.json"
    wanted = {"replay": recipe.data.replay, "crop": recipe.data.crop, "limit": limit, "seed": recipe.data.view_seed}
    if done.exists() and json.loads(done.read_text()) == wanted:
        return
    data = DataModule(recipe.data, recipe.seed)
    data.setup()
    every, images = data.datasets["train"], limit or len(data.datasets["train"])
    place, records = image_folder(folder, "yolo", "train"), []
    place.mkdir(parents=True, exist_ok=True)
    for view in range(recipe.data.replay):
        for index in range(images):
            pixels, truth = every[view, index]
            path = place / f"{view:02d}_{index:05d}.png"
            as_bytes = pixels if pixels.dtype == torch.uint8 else (pixels * 255).round().byte()
            Image.fromarray(as_bytes.permute(1, 2, 0).contiguous().numpy()).save(path, compress_level=1)
            boxes, labels = truth.counted().boxes.double().numpy(), truth.counted().labels.numpy()
            flags = torch.zeros(2, len(boxes), dtype=torch.bool).numpy()
            height, width = as_bytes.shape[1:]
            records.append(Record(path, width, height, boxes, labels, flags[0], flags[1], path.name))
    write_dataset(Annotations(data.classes, records, "hbb"), folder, "yolo", "train", "copy")
    # ultralytics validates once at the end, whatever it is told; its figures are not used.
    write_dataset(data._annotations("val"), folder, "yolo", "val", "link")
    done.write_text(json.dumps(wanted))


class Views(Dataset[Any]):
    """One view of each image, as an epoch of the recipe shows them. every: all views, view by view."""

    def __init__(self, every: Any, images: int) -> None:
        self.every, self.images, self.view = every, images, 0

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Any:
        return self.every[self.view * self.images + index]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.every, name)


class First(Dataset[Any]):
    """The first few images of a data set."""

    def __init__(self, every: Any, images: int) -> None:
        self.every, self.images = every, images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, key: Any) -> Any:
        return self.every[key]


def settings(recipe: Recipe, folder: Path, views: Path, seed: int, images: int) -> dict[str, Any]:
    """ultralytics' own words for the recipe. Its augmentation is off, since the views are augmented."""
    architecture: Any = PRESETS[recipe.detector.preset]
    optim, steps = recipe.optim, -(-images // recipe.data.batch)
    return {
        "model": f"{architecture.model}.yaml",
        "data": str(views / "data.yaml"),
        "project": str(folder.parent),
        "name": folder.name,
        "exist_ok": True,
        "epochs": recipe.trainer.epochs,
        "batch": recipe.data.batch,
        "nbs": recipe.data.batch,  # a step a batch
        "imgsz": recipe.data.crop,
        "seed": seed,
        "device": "cpu",
        "optimizer": "AdamW",
        "lr0": optim.lr,
        "lrf": 0.01,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": optim.weight_decay,
        "warmup_epochs": optim.warmup / steps,
        "warmup_bias_lr": 0.0,
        "workers": 0,  # the view of an epoch is told in this process
        **dict.fromkeys(("amp", "pretrained", "plots", "val", "verbose"), False),
        **dict.fromkeys(("mosaic", "scale", "translate", "fliplr", "hsv_h", "hsv_s", "hsv_v", "close_mosaic"), 0),
    }


def train(recipe: Recipe, method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run by ultralytics, scored by skystill. Returns its row."""
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionTrainer

    data = DataModule(recipe.data, seed)
    data.setup()
    images = options.limit or len(data.datasets["train"])
    folder = options.runs / f"{method}-seed{seed}"
    wanted = settings(recipe, folder, options.runs / "data", seed, images)
    if method == "distilled":
        wanted["distill_model"] = str(_teacher(recipe, options.runs / "teacher.pt"))

    class Trainer(DetectionTrainer):  # type: ignore[misc]
        def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
            every = super().build_dataset(img_path, mode, batch)
            if mode != "train":
                return every
            if len(every) != images * recipe.data.replay:
                raise SystemExit(f"{img_path}: {len(every)} views of {images} images are no {recipe.data.replay} each")
            return Views(every, images)

    trainer = Trainer(overrides=wanted)
    steps: list[float] = []
    start = [0.0]

    def show(trainer: Any) -> None:
        trainer.train_loader.dataset.view = trainer.epoch % recipe.data.replay

    trainer.add_callback("on_train_epoch_start", show)
    trainer.add_callback("on_train_batch_start", lambda _: start.__setitem__(0, time.perf_counter()))
    trainer.add_callback("on_train_batch_end", lambda _: steps.append(time.perf_counter() - start[0]))
    trainer.train()

    student = skystill.wrap(YOLO(folder / "weights" / "last.pt"), data.classes).eval()
    if options.limit:
        data.datasets["test"] = First(data.datasets["test"], options.limit)  # type: ignore[assignment]
    scores = collect(student, data, "test", recipe.trainer.max_dets).compute()
    step = statistics.median(steps[10:] or steps)
    cost = {"step_s": round(step, 4), "machine": machine()}
    return {"by": "ultralytics", "method": method, "seed": seed, **scores.summary(), **cost}


def _teacher(recipe: Recipe, path: Path) -> Path:
    """The recipe's teacher as a file that ultralytics reads: 16 bits, which is how it keeps weights."""
    from ultralytics import YOLO

    if not path.exists():
        detector: Any = skystill.load(recipe.teacher.weights[0])
        whole = YOLO(f"{detector.config()['model']}.yaml")
        whole.model = detector.model
        whole.save(path)
    return path


def ours(path: Path | None) -> list[dict[str, Any]]:
    """The rows of skystill's benchmark of the same recipe."""
    if path is None:
        return []
    rows = [row for row in json.loads(path.read_text())["rows"] if row["split"] == "test" and "ap" in row]
    return [{"by": "skystill", **row} for row in rows if row["method"] != "teacher"]


def markdown(result: dict[str, Any]) -> str:
    """A line a trainer and method: means over seeds, and each seed's gain over the student alone by that trainer."""
    rows, lines = result["rows"], []
    for by, method in dict.fromkeys((row["by"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["by"], row["method"]) == (by, method)]
        alone = {row["seed"]: row["ap"] for row in rows if (row["by"], row["method"]) == (by, "alone")}
        gains = [row["ap"] - alone[row["seed"]] for row in mine if row["seed"] in alone and method != "alone"]
        figures = [text_of(statistics.mean(row[name] for row in mine), 2) for name in ("ap", "ap50", "ap75")]
        speed = text_of(1e3 * statistics.mean(row["step_s"] for row in mine) / result["batch"], 1)
        mean = f"{statistics.mean(gains):+.2f}" if gains else ""
        lines.append([by, method, str(len(mine)), *figures, mean, ", ".join(f"{g:+.2f}" for g in gains), speed])
    names = [FIGURES[name] for name in ("ap", "ap50", "ap75")]
    table = TableData(("trained by", "method", "seeds", *names, "gain", "by seed", "ms an image, training"), lines)
    head = [f"# {result['name']}: skystill beside ultralytics' own", "", f"`{result['command']}`", ""]
    return "\n".join([*head, f"{result['schedule']} {result['machine']}", "", *markdown_rows(table), ""])


def write(rows: list[dict[str, Any]], recipe: Recipe, options: argparse.Namespace) -> None:
    """The result so far, as json and md."""
    from importlib.metadata import version

    data, optim = recipe.data, recipe.optim
    result = {
        "name": recipe.name,
        "command": f"python benchmarks/accuracy/ultralytics_own.py --recipe recipes/{recipe.name}.yaml "
        f"--root path/to/data --seeds {' '.join(map(str, options.seeds))}",
        "machine": f"{_machines(rows)}; ultralytics {version('ultralytics')}.",
        "schedule": f"Test split; {recipe.trainer.epochs} epochs, crops of {data.crop} px, {data.replay} views an "
        f"image, batch {data.batch}, AdamW lr {optim.lr}, cosine.",
        "batch": data.batch,
        "rows": [*ours(options.ours), *rows],
    }
    for suffix, text in ((".json", json.dumps(result, indent=1) + "\n"), (".md", markdown(result))):
        with whole_file(options.out.with_suffix(suffix)) as part:
            part.write_text(text)


def _machines(rows: list[dict[str, Any]]) -> str:
    """Where ultralytics' runs were made, and of several machines which seeds."""
    seeds: dict[str, set[int]] = {}
    for row in rows:
        seeds.setdefault(row["machine"], set()).add(row["seed"])
    if len(seeds) == 1:
        return next(iter(seeds))
    return "; ".join(f"{name} (seed {' '.join(map(str, sorted(mine)))})" for name, mine in seeds.items())


def no_network(*_: Any, **__: Any) -> Any:
    """In the place of all that opens connections."""
    raise OSError("this run needs no network")


def main() -> None:
    def path(text: str) -> Path:
        return Path(text).resolve()

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=path, required=True, help="of a student and a teacher that are YOLOs")
    parser.add_argument("--root", type=path, required=True, help="folder of the data set")
    parser.add_argument("--teacher", type=path, help="weights by skystill; left out, the recipe's")
    parser.add_argument("--ours", type=path, help="benchmark.json of skystill on the same recipe")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=path, default=path("runs/ultralytics_own"))
    parser.add_argument("--out", type=path, required=True, help="without suffix: .json and .md are written")
    parser.add_argument("--epochs", type=int, default=0, help="other than the recipe's, to try it")
    parser.add_argument("--limit", type=int, default=0, help="so many images of each split, to try it")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    recipe = read_recipe(options)
    weights = [str(options.teacher or Path(recipe.teacher.weights[0]).resolve())]
    recipe = replace(recipe, teacher=replace(recipe.teacher, weights=weights))
    if options.one:
        socket.socket.connect = no_network  # type: ignore[assignment, method-assign]
        socket.getaddrinfo = no_network
        method, seed = options.one[0], int(options.one[1])
        row = train(recipe, method, seed, options)
        with whole_file(options.runs / f"{method}-seed{seed}.json") as part:
            part.write_text(json.dumps(row))
        return
    options.runs.mkdir(parents=True, exist_ok=True)
    prepare(recipe, options.runs / "data", options.limit)
    alone = {"YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": str(options.runs / "config"), "YOLO_AUTOINSTALL": "0"}
    told = {**vars(options), "teacher": weights[0]}
    given = [f"--{name}={told[name]}" for name in ("recipe", "root", "teacher", "runs", "out", "epochs", "limit")]
    rows = []
    for seed in options.seeds:
        for method in METHODS:
            found = options.runs / f"{method}-seed{seed}.json"
            if not found.exists():
                command = [sys.executable, str(Path(__file__).resolve()), *given, "--one", method, str(seed)]
                with (options.runs / f"{method}-seed{seed}.log").open("wb") as log:
                    print(f"{method}, seed {seed}: started, {log.name} follows it", flush=True)
                    subprocess.run(
                        command, env=os.environ | alone, cwd=options.runs, stdout=log, stderr=log, check=True
                    )
            rows.append(json.loads(found.read_text()))
            write(rows, recipe, options)


if __name__ == "__main__":
    main()
