"""Fills teacher caches before a training: every view of the training images goes through the teachers once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from skystill.data.module import DataModule, ready
from skystill.detectors.base import Detector
from skystill.distillation.cache import KEY, Layout, TeacherCache, compare, digest_of, gib, layout_of, pack
from skystill.distillation.distiller import Distiller
from skystill.errors import ConfigError
from skystill.structures import Knowledge
from skystill.training.recipe import TeacherConfig

CHECKED = 8  # views that are asked live when a cache is opened
_POLL = 0.5  # seconds between looks at what other processes fill
# What float16 and another batch size may change, and what teachers in bfloat16 may: far below what other weights or
# another augmentation would.
TOLERANCE, TOLERANCE_BF16 = 5e-3, 5e-2
# How images are shown does not depend on these.
_NOT_VIEWS = {
    *("root", "format", "fix", "classes", "train", "val", "test", "images_train", "images_val", "images_test"),
    *("scenes_train", "scenes_val", "scenes_test", "scene_size", "scene_seed"),
    *(
        "unlabelled",
        "unlabelled_share",
        "views",
        "batch",
        "workers",
        "cache_mb",
        "on_bad_image",
        "replay",
        "view_seed",
        "group",
    ),
}


def fill_caches(
    distiller: Distiller, config: TeacherConfig, data: DataModule, device: torch.device, seed: int = 0
) -> tuple[list[TeacherCache], float]:
    """One complete cache for each teacher, filled as far as it was not, and checked against the live teacher.

    Also returns the seconds that this process spent on filling, 0 where all was there; waiting for other processes is
    not among them, so that those of all add up.
    seed: of the choice of views to check. Errors: ConfigError when a cache was made from other weights or views, does
    not hold what the teacher says, or would grow too large; when views differ in size.
    """
    distiller.to(device)
    data.pad_for(distiller.multiple)
    caches, seconds = [], 0.0
    for teacher, folder in _folders(distiller, config):
        cache = _open(folder, distiller, teacher, config, data, device)
        seconds += _fill(cache, distiller, teacher, data, device)
        _check(cache, distiller, teacher, data, device, seed)
        caches.append(cache)
    return caches, seconds


def missing_views(distiller: Distiller, config: TeacherConfig, data: DataModule, device: torch.device) -> int | None:
    """How many views caches that were begun still lack, None where none was. Nothing is written.

    What is complete is checked against the live teacher. Errors: as `fill_caches` has them, before it fills any.
    """
    data.pad_for(distiller.multiple)
    lacking = [
        _lacking(_open(folder, distiller, teacher, config, data, device), distiller, teacher, data, device)
        for teacher, folder in _folders(distiller, config)
        if (folder / KEY).exists()
    ]
    return sum(lacking) if lacking else None


def _lacking(
    cache: TeacherCache, distiller: Distiller, teacher: Detector, data: DataModule, device: torch.device
) -> int:
    missing = cache.missing()
    if not missing:
        _check(cache, distiller, teacher, data, device, seed=0)
    return sum(map(len, missing))


def _folders(distiller: Distiller, config: TeacherConfig) -> list[tuple[Detector, Path]]:
    """Every teacher that runs, and where its lessons lie."""
    assert config.cache is not None
    root, several = Path(config.cache), len(distiller.networks) > 1
    return [(teacher, root / str(n) if several else root) for n, teacher in enumerate(distiller.networks)]


def _open(
    folder: Path,
    distiller: Distiller,
    teacher: Detector,
    config: TeacherConfig,
    data: DataModule,
    device: torch.device,
) -> TeacherCache:
    layout = layout_of(_lesson(distiller, teacher, data, [(0, 0)], device))
    key = _key(distiller, teacher, data)
    return TeacherCache(folder, key, layout, data.config.replay, _images(data), config.cache_gb * 2**30)


def _fill(
    cache: TeacherCache, distiller: Distiller, teacher: Detector, data: DataModule, device: torch.device
) -> float:
    """Writes what lacks, and waits for what other processes are at: it is left to them as long as they live.

    Returns the seconds of the writing.
    """
    missing, start, seconds, waits = cache.missing(), time.perf_counter(), 0.0, False
    todo = sum(map(len, missing))
    if missing:
        print(f"teacher cache: {todo} views, {gib(todo * cache.layout.row_bytes)} in {cache.folder}", flush=True)
    while missing:
        for rows in missing:
            with cache.taken(rows.start) as ours:
                if ours:
                    seconds += _write(cache, rows, distiller, teacher, data, device)
            if ours:
                left = sum(map(len, cache.missing()))
                rate = (todo - left) / (time.perf_counter() - start)
                print(f"teacher cache: {todo - left}/{todo} views, {left / rate:.0f} s to go", flush=True)
        if missing := cache.missing():
            if not waits:
                print(f"teacher cache: other processes are at the last {sum(map(len, missing))} views", flush=True)
            waits = True
            time.sleep(_POLL)
    return seconds


def _write(
    cache: TeacherCache, rows: range, distiller: Distiller, teacher: Detector, data: DataModule, device: torch.device
) -> float:
    """Asks the teacher about the views of one shard. Returns the seconds that it took."""
    start = time.perf_counter()
    keys = [divmod(number, cache.images) for number in rows]
    parts = [pack(told) for told in _lessons(distiller, teacher, data, keys, device, cache.layout)]
    cache.write(rows.start, {name: torch.cat([part[name] for part in parts]) for name in cache.layout.shapes})
    return time.perf_counter() - start


def _check(
    cache: TeacherCache,
    distiller: Distiller,
    teacher: Detector,
    data: DataModule,
    device: torch.device,
    seed: int,
) -> None:
    """Random views, asked live and compared with what is stored."""
    numbers = random.Random(seed).sample(range(cache.rows), min(CHECKED, cache.rows))
    keys = [divmod(number, cache.images) for number in numbers]
    allowed = TOLERANCE_BF16 if distiller.teacher_bf16 else TOLERANCE
    for name, error in compare(cache.read(keys, device), _lesson(distiller, teacher, data, keys, device)).items():
        if not error <= allowed:
            raise ConfigError(
                f"{cache.folder}: stale: on {len(keys)} random views the teacher's {name} differ from the stored ones "
                f"by {error:.1%}. The images or the augmentation have changed; delete the folder."
            )


def _lesson(
    distiller: Distiller, teacher: Detector, data: DataModule, keys: list[tuple[int, int]], device: torch.device
) -> Knowledge:
    """The live teacher's answer to few views, as one batch."""
    return distiller.ask_to_keep(teacher, ready(data.few_views(keys), device).images)


def _lessons(
    distiller: Distiller,
    teacher: Detector,
    data: DataModule,
    keys: list[tuple[int, int]],
    device: torch.device,
    layout: Layout,
) -> Iterator[Knowledge]:
    for batch in data.views_loader(keys):
        told = distiller.ask_to_keep(teacher, ready(batch, device).images)
        if layout_of(told).shapes != layout.shapes:
            raise ConfigError(
                f"teacher.cache needs views of one size, and {batch.targets[0].name} gives another than the first "
                "image. Give data.crop, or leave teacher.cache away."
            )
        yield told


def _images(data: DataModule) -> int:
    return len(data.datasets["train"])


def _key(distiller: Distiller, teacher: Detector, data: DataModule) -> dict[str, Any]:
    """All that the teacher's answers depend on."""
    views = {f.name: getattr(data.config, f.name) for f in fields(data.config) if f.name not in _NOT_VIEWS}
    return {
        "format": 1,
        "teacher": digest_of(teacher.state_dict()),
        "scale": distiller.teacher_scale,
        "bf16": distiller.teacher_bf16,
        "images": data.datasets["train"].identity(),
        "count": _images(data),
        "replay": data.config.replay,
        "view_seed": data.view_seed,
        "multiple": data.multiple,  # what views are padded to hangs on the student too
        **views,
    }
