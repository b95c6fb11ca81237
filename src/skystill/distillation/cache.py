"""Teacher cache: what a teacher says of a finite set of views, computed once and read back at every step.

A view is one augmented crop of one image, numbered view * images + index. The folder holds cache.json (what the
lessons were made from, the key) and shards of safetensors, each whole or absent and with a checksum of its own, so a
fill that was cut off goes on. Several processes can fill one cache together: each takes shards that no other is at, by
a lock on a file beside, which goes when the shard is there. Features and logits are stored as float16, boxes as float16
offsets from their places, whose rounding is below a thousandth of the offset; those of queries, which have no places,
as a float16 and what its rounding left.
n rows of a shard; B batch, C channels, H W cells, N places, Q queries, K classes, E edges, m+1 bins.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from skystill.errors import ConfigError, DataError
from skystill.files import alone_at, whole_file, write_text
from skystill.structures import Activation, Dense, Knowledge, Queries

SHARD_BYTES = 128 * 2**20  # small enough that a fill which is cut off loses little
KEY = "cache.json"
_HALF_MAX = 65504.0
# What differs where a key's value is a digest, which itself says nothing to a reader.
_DIGESTS = {"teacher": "it is of other teacher weights", "images": "it is of other images or labels"}


@dataclass(frozen=True)
class Layout:
    """What is the same for every view: what a Knowledge has beside its tensors, and the shape of each tensor of a row.

    shapes: name -> shape. places: (N, 4) anchors, empty without a dense head.
    """

    shapes: dict[str, tuple[int, ...]]
    strides: tuple[int, ...]
    levels: tuple[int, ...]
    activation: Activation
    places: Tensor

    @property
    def row_bytes(self) -> int:
        """Bytes of one view on disk."""
        return sum(2 * torch.Size(shape).numel() for shape in self.shapes.values())


def layout_of(knowledge: Knowledge) -> Layout:
    """The layout of a teacher's answers. Errors: ConfigError for a head that this cache cannot hold."""
    if knowledge.stages is not None or knowledge.detections is not None:
        raise ConfigError("teacher.cache holds no second stages and no black boxes; leave it away for this pair.")
    dense, queries = knowledge.dense, knowledge.queries
    shapes = {name: tuple(rows.shape[1:]) for name, rows in pack(knowledge).items()}
    if dense is None:
        activation: Activation = "sigmoid" if queries is None else queries.activation
        return Layout(shapes, knowledge.strides, (), activation, torch.zeros(0, 4))
    return Layout(shapes, knowledge.strides, dense.levels, dense.activation, dense.places.float().cpu())


def pack(knowledge: Knowledge) -> dict[str, Tensor]:
    """Tensors (B, ...) in float16 by name. Pyramid levels lie as (B, H, W, C): methods read whole cells.

    Errors: ConfigError where a value does not fit.
    """
    found = {f"pyramid.{i}": level.permute(0, 2, 3, 1) for i, level in enumerate(knowledge.pyramid)}
    if knowledge.dense is not None:
        dense = knowledge.dense
        found |= {"logits": dense.logits, "boxes": _offsets(dense.boxes, dense.places, -1)}
        if dense.edges is not None:
            found["edges"] = dense.edges
    if knowledge.queries is not None:
        boxes = knowledge.queries.boxes.float()
        found |= {"query_logits": knowledge.queries.logits, "query_boxes": boxes, "query_rest": boxes - boxes.half()}
    for name, value in found.items():
        if not bool((value.abs() <= _HALF_MAX).all()):
            raise ConfigError(f"the teacher's {name} holds a value beyond float16; leave teacher.cache away for it.")
    return {name: value.detach().half().contiguous().cpu() for name, value in found.items()}


def unpack(rows: dict[str, Tensor], layout: Layout, device: torch.device | str = "cpu") -> Knowledge:
    """The Knowledge of rows (B, ...) as `pack` makes them. Tensors stay float16, boxes are float32."""
    moved = {name: value.to(device, non_blocking=True) for name, value in rows.items()}
    pyramid = tuple(moved[f"pyramid.{i}"].permute(0, 3, 1, 2) for i in range(len(layout.strides)))
    if "query_logits" in moved:
        boxes = moved["query_boxes"].float() + moved["query_rest"]
        return Knowledge(pyramid, layout.strides, queries=Queries(moved["query_logits"], boxes, layout.activation))
    if "logits" not in moved:
        return Knowledge(pyramid, layout.strides)
    places = layout.places.to(device)
    boxes = _offsets(moved["boxes"].float(), places, 1)
    dense = Dense(moved["logits"], boxes, moved.get("edges"), places, layout.levels, layout.activation)
    return Knowledge(pyramid, layout.strides, dense)


def _offsets(boxes: Tensor, places: Tensor, sign: int) -> Tensor:
    """Boxes (B, N, 4|5) moved by their place's centre: sign -1 makes offsets of them, +1 makes boxes again."""
    centre = (places[:, :2] + places[:, 2:]) / 2
    if boxes.shape[-1] == 4:
        return boxes + sign * torch.cat([centre, centre], 1)
    return torch.cat([boxes[..., :2] + sign * centre, boxes[..., 2:]], -1)


class TeacherCache:
    """Rows of one teacher in `folder`. `key`: plain values that say what the lessons depend on.

    Errors: ConfigError when the folder holds lessons of another key, or `views * images` rows exceed `limit` bytes or
    the disk. DataError when a shard is damaged.
    """

    def __init__(
        self, folder: str | Path, key: dict[str, Any], layout: Layout, views: int, images: int, limit: float
    ) -> None:
        self.folder, self.layout, self.views, self.images = Path(folder), layout, views, images
        self.key = json.loads(json.dumps(key))
        self.rows_per_shard = max(1, SHARD_BYTES // layout.row_bytes)
        self._open: dict[int, Any] = {}
        self._claim(limit)

    @property
    def rows(self) -> int:
        """How many views there are."""
        return self.views * self.images

    @property
    def bytes(self) -> int:
        """What the whole cache takes on disk."""
        return self.rows * self.layout.row_bytes

    def missing(self) -> list[range]:
        """Row numbers of each shard that is not there yet. Errors: ConfigError when others have filled the folder with
        other lessons in the meantime."""
        starts = range(0, self.rows, self.rows_per_shard)
        every = [range(start, min(start + self.rows_per_shard, self.rows)) for start in starts]
        lacking = [rows for shard, rows in enumerate(every) if not self._path(shard).exists()]
        self._claimed()  # after the look: a key is written before the first shard
        return lacking

    @contextmanager
    def taken(self, first: int) -> Iterator[bool]:
        """Whether the shard from row `first` on is ours to write: it lacks, and no other process is at it.

        Others pass it over until this ends, or the process dies.
        """
        path = self._path(first // self.rows_per_shard)
        with alone_at(path) as ours:
            yield ours and not path.exists()

    def write(self, first: int, rows: dict[str, Tensor]) -> None:
        """One whole shard: rows (n, ...) from number `first` on.

        Errors: DataError when it cannot be written. ConfigError when another process has claimed the folder for other
        lessons in the meantime.
        """
        data = serialize(rows, metadata={"sum": digest_of(rows)})
        try:
            if not self._claimed():
                write_text(self.folder / KEY, json.dumps(self.key, indent=1) + "\n")
            with whole_file(self._path(first // self.rows_per_shard)) as part:
                part.write_bytes(data)
        except OSError as error:
            raise DataError(_unwritable(self.folder, error)) from error

    def read(self, keys: Sequence[tuple[int, int] | None], device: torch.device | str = "cpu") -> Knowledge:
        """What the teacher said of the views (view, index), in this order."""
        found: list[dict[str, Tensor]] = []
        for key in keys:
            if key is None or not (0 <= key[0] < self.views and 0 <= key[1] < self.images):
                raise DataError(f"{self.folder}: holds no view {key}. Leave teacher.cache away for these images.")
            number = key[0] * self.images + key[1]
            shard, row = divmod(number, self.rows_per_shard)
            file = self._shard(shard)
            found.append({name: file.get_slice(name)[row : row + 1] for name in self.layout.shapes})
        rows = {name: torch.cat([row[name] for row in found]) for name in self.layout.shapes}
        return unpack(rows, self.layout, device)

    def _path(self, shard: int) -> Path:
        return self.folder / f"shard-{shard:05d}.safetensors"

    def _shard(self, shard: int) -> Any:
        """The open shard; its checksum is verified when it is opened for the first time."""
        if shard not in self._open:
            path = self._path(shard)
            try:
                file = safe_open(path, "pt")
                whole = {name: file.get_tensor(name) for name in self.layout.shapes}  # type: ignore[no-untyped-call]
                sound = (file.metadata() or {}).get("sum") == digest_of(whole)  # type: ignore[no-untyped-call]
            except (SafetensorError, OSError):
                sound = False
            if not sound:
                raise DataError(f"{path}: damaged or cut off. Delete it; the next run fills it again.")
            self._open[shard] = file
        return self._open[shard]

    def _claimed(self) -> bool:
        """Whether the folder is for these lessons; False where it has no key yet. Errors: as the class has them."""
        path = self.folder / KEY
        if not path.exists():
            return False
        try:
            theirs = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: damaged. Delete the folder, or give another teacher.cache.") from error
        if differs := [name for name in {**self.key, **theirs} if self.key.get(name) != theirs.get(name)]:
            said = "; ".join(
                _DIGESTS.get(n, f"{n} is {theirs.get(n)!r} there, {self.key.get(n)!r} here") for n in sorted(differs)
            )
            mend = "Give another folder, --teacher.cache DIR, or delete this one."
            if differs == ["view_seed"]:
                mend = f"Give --data.view_seed {theirs['view_seed']} to learn from it, or another teacher.cache."
            raise ConfigError(f"{self.folder}: a teacher cache that does not fit this run: {said}. {mend}")
        return True

    def _claim(self, limit: float) -> None:
        """Checks the key, or where there is none yet the limit and the disk."""
        if self._claimed():
            return
        size = self.bytes
        if size > limit:
            raise ConfigError(
                f"the teacher cache would take {gib(size)} ({self.rows} views of "
                f"{self.layout.row_bytes / 2**20:.2f} MiB), and teacher.cache_gb is {limit / 2**30:g}. "
                "Lower data.replay or data.crop, or raise teacher.cache_gb."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(_unwritable(self.folder, error)) from error
        if size > (free := shutil.disk_usage(self.folder).free):
            raise ConfigError(
                f"{self.folder}: the teacher cache would take {gib(size)}, but {gib(free)} are free. "
                "Lower data.replay or give a teacher.cache on another disk."
            )


def gib(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _unwritable(folder: Path, error: OSError) -> str:
    return f"{folder}: cannot be written ({error.strerror}). Give another teacher.cache."


def compare(stored: Knowledge, live: Knowledge) -> dict[str, float]:
    """Relative error of each stored tensor: root mean square of the difference over that of the live one.

    Of queries their best scores in order are compared: which query tells an object turns on the last bit.
    """
    one, other = _comparable(stored), _comparable(live)
    return {name: _relative(one[name].float(), other[name].float()) for name in other}


def _comparable(knowledge: Knowledge) -> dict[str, Tensor]:
    found = {name: value for name, value in pack(knowledge).items() if not name.startswith("query_")}
    if knowledge.queries is not None:
        found["queries"] = knowledge.queries.scores().amax(2).sort(1).values.cpu()
    return found


def _relative(stored: Tensor, live: Tensor) -> float:
    return float((stored - live).square().mean().sqrt() / live.square().mean().sqrt().clamp(min=1e-12))


def digest_of(tensors: dict[str, Tensor]) -> str:
    """A short digest of named tensors: names and values."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
