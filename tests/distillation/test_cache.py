"""The teacher cache: what comes back, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from skystill.detectors.gfl import GFL
from skystill.distillation.cache import Layout, TeacherCache, compare, digest_of, layout_of, pack, unpack
from skystill.distillation.distiller import Distiller
from skystill.distillation.ltd import LTD
from skystill.errors import ConfigError, DataError
from skystill.structures import Activation, Detections, Knowledge, Queries, Targets

KEY = {"teacher": "abc", "crop": 64, "scale_jitter": (0.8, 1.25)}
VIEWS, IMAGES = 2, 3


@pytest.fixture
def lessons(make_gfl: Callable[..., GFL]) -> tuple[Tensor, Knowledge]:
    """Six views and what a teacher says of them."""
    views = torch.rand(VIEWS * IMAGES, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return views, make_gfl(1)(views).knowledge.detach()


def make(folder: Path, knowledge: Knowledge, key: dict[str, Any] = KEY, limit: float = 1e9) -> TeacherCache:
    return TeacherCache(folder, key, layout_of(knowledge), VIEWS, IMAGES, limit)


@pytest.fixture
def filled(tmp_path: Path, lessons: tuple[Tensor, Knowledge], monkeypatch: pytest.MonkeyPatch) -> TeacherCache:
    """A cache in two shards: rows 0..3 and 4..5."""
    layout = layout_of(lessons[1])
    monkeypatch.setattr("skystill.distillation.cache.SHARD_BYTES", 4 * layout.row_bytes + 1)
    cache = make(tmp_path / "cache", lessons[1])
    rows = pack(lessons[1])
    assert [list(r) for r in cache.missing()] == [[0, 1, 2, 3], [4, 5]]
    for missing in cache.missing():
        cache.write(missing.start, {name: value[missing.start : missing.stop] for name, value in rows.items()})
    return cache


def test_rows_come_back_in_the_order_asked_within_half_precision(
    filled: TeacherCache, lessons: tuple[Tensor, Knowledge]
) -> None:
    assert filled.missing() == []
    keys = [(1, 2), (0, 0), (1, 0)]
    back, live = filled.read(keys), lessons[1]
    numbers = [view * IMAGES + index for view, index in keys]
    assert back.strides == live.strides
    for one, other in zip(back.pyramid, live.pyramid, strict=True):
        assert one.dtype == torch.float16
        torch.testing.assert_close(one.float(), other[numbers], rtol=2**-10, atol=1e-6)
    assert back.dense is not None
    assert live.dense is not None
    assert back.dense.edges is not None
    assert live.dense.edges is not None
    torch.testing.assert_close(back.dense.logits.float(), live.dense.logits[numbers], rtol=2**-10, atol=1e-6)
    torch.testing.assert_close(back.dense.edges.float(), live.dense.edges[numbers], rtol=2**-10, atol=1e-6)
    assert torch.equal(back.dense.places, live.dense.places)
    assert (back.dense.levels, back.dense.activation) == (live.dense.levels, live.dense.activation)
    centre = (live.dense.places[:, :2] + live.dense.places[:, 2:]) / 2
    offset = (live.dense.boxes[numbers] - centre.repeat(1, 2)).abs()
    assert ((back.dense.boxes - live.dense.boxes[numbers]).abs() <= offset * 2**-10 + 1e-4).all()


def test_oriented_boxes_keep_their_size_and_angle() -> None:
    places = torch.tensor([[0.0, 0, 16, 16], [600, 600, 640, 640]])
    boxes = torch.tensor([[[9.0, 8, 30, 10, 0.5], [630, 611, 44, 12, -1.5]]])
    from skystill.structures import Dense

    dense = Dense(torch.zeros(1, 2, 3), boxes, None, places, (2,))
    knowledge = Knowledge((torch.zeros(1, 4, 1, 2),), (16,), dense)
    back = unpack(pack(knowledge), layout_of(knowledge))
    assert back.dense is not None
    assert back.dense.edges is None
    # Half a pixel of float16 at 600 px would be lost without the offsets.
    torch.testing.assert_close(back.dense.boxes, boxes, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_queries_keep_their_boxes_to_a_hundredth_of_a_pixel(
    lessons: tuple[Tensor, Knowledge], activation: Activation
) -> None:
    queries = Queries(torch.randn(6, 7, 4), torch.rand(6, 7, 4) * 4000, activation)
    live = replace(lessons[1], dense=None, queries=queries)
    layout = layout_of(live)
    back = unpack(pack(live), layout)
    assert layout.row_bytes == sum(value[0].numel() * value.element_size() for value in pack(live).values())
    assert back.dense is None
    assert back.queries is not None
    assert back.queries.activation == activation
    torch.testing.assert_close(back.queries.scores(), queries.scores(), atol=1e-3, rtol=0)
    torch.testing.assert_close(back.queries.boxes, queries.boxes, atol=1e-2, rtol=0)
    order = torch.randperm(7)  # which query tells an object does not count
    other = replace(live, queries=replace(queries, logits=queries.logits[:, order], boxes=queries.boxes[:, order]))
    assert max(compare(back, other).values()) < 5e-3
    worse = replace(live, queries=replace(queries, logits=queries.logits * 1.1))
    assert compare(back, worse)["queries"] > 1e-2


def test_a_pyramid_alone_can_be_kept(lessons: tuple[Tensor, Knowledge]) -> None:
    knowledge = replace(lessons[1], dense=None)
    back = unpack(pack(knowledge), layout_of(knowledge))
    assert back.dense is None
    assert [p.shape for p in back.pyramid] == [p.shape for p in knowledge.pyramid]


def test_a_distiller_with_a_cache_teaches_as_the_live_teacher_does(
    filled: TeacherCache, lessons: tuple[Tensor, Knowledge], make_gfl: Callable[..., GFL]
) -> None:
    keys = [(0, 1), (1, 1)]
    images = lessons[0][[1, 4]]
    boxes, labels = torch.tensor([[8.0, 8, 40, 32]]), torch.tensor([1])
    targets = [Targets(boxes, labels, key=key) for key in keys]
    distiller = Distiller(make_gfl(0), make_gfl(1), LTD("related", places=4096)).eval()
    live = distiller(images, targets)
    distiller.use_caches([filled])
    told = distiller(images, targets)
    assert set(told) == set(live)
    for name, value in live.items():
        torch.testing.assert_close(told[name], value, rtol=5e-3, atol=1e-4)
    with pytest.raises(ConfigError, match="2 teacher caches for 1 teachers"):
        distiller.use_caches([filled, filled])


def test_compare_tells_equal_from_other(filled: TeacherCache, lessons: tuple[Tensor, Knowledge]) -> None:
    stored = filled.read([divmod(n, IMAGES) for n in range(VIEWS * IMAGES)])
    assert max(compare(stored, lessons[1]).values()) < 1e-3
    moved = replace(lessons[1], pyramid=tuple(p.roll(1, 0) for p in lessons[1].pyramid))
    assert max(compare(stored, moved).values()) > 0.05


@pytest.mark.parametrize("key", [None, (0, IMAGES), (VIEWS, 0), (-1, 0)])
def test_an_unknown_view_is_refused(filled: TeacherCache, key: tuple[int, int] | None) -> None:
    with pytest.raises(DataError, match="holds no view"):
        filled.read([key])


def test_other_lessons_are_refused_and_named(filled: TeacherCache, lessons: tuple[Tensor, Knowledge]) -> None:
    make(filled.folder, lessons[1])  # the same key: welcome
    words = "crop is 64 there, 96 here; it is of other images or labels; it is of other teacher weights"
    said = (
        rf"a teacher cache that does not fit this run: {words}\. Give another folder, --teacher\.cache DIR, or delete"
    )
    with pytest.raises(ConfigError, match=said):
        make(filled.folder, lessons[1], {**KEY, "teacher": "9f3a", "crop": 96, "images": "77b1"})
    (filled.folder / "cache.json").write_text("{")
    with pytest.raises(DataError, match=r"damaged\. Delete the folder, or give another teacher\.cache"):
        make(filled.folder, lessons[1])


def test_the_slower_of_two_that_claim_a_folder_mixes_nothing_in(
    tmp_path: Path, lessons: tuple[Tensor, Knowledge]
) -> None:
    first, second = make(tmp_path, lessons[1]), make(tmp_path, lessons[1], {**KEY, "teacher": "xyz"})
    first.write(0, pack(lessons[1]))
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match="it is of other teacher weights"):
        second.write(0, pack(lessons[1]))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    with pytest.raises(ConfigError, match="it is of other teacher weights"):
        second.missing()  # it does not take what it waited for as its own


def test_a_shard_is_one_process_at_a_time(tmp_path: Path, lessons: tuple[Tensor, Knowledge]) -> None:
    pytest.importorskip("fcntl")
    first, second = make(tmp_path, lessons[1]), make(tmp_path, lessons[1])
    with first.taken(0) as ours:
        assert ours
        with second.taken(0) as theirs:
            assert not theirs
        assert first.missing() == [range(VIEWS * IMAGES)]
    with second.taken(0) as ours:  # the first gave up
        assert ours
        second.write(0, pack(lessons[1]))
    with first.taken(0) as ours:
        assert not ours  # it is there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.json", "shard-00000.safetensors"]


def test_size_is_told_before_anything_is_written(
    tmp_path: Path, lessons: tuple[Tensor, Knowledge], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = make(tmp_path / "cache", lessons[1]).bytes
    assert size == sum(value.numel() * 2 for value in pack(lessons[1]).values())
    with pytest.raises(ConfigError, match=r"would take .* MiB .*6 views.*cache_gb"):
        make(tmp_path / "small", lessons[1], limit=size - 1)
    assert not (tmp_path / "small").exists()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": size - 1}))
    with pytest.raises(ConfigError, match="are free"):
        make(tmp_path / "full", lessons[1])


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_shard_is_refused(filled: TeacherCache, lessons: tuple[Tensor, Knowledge], damage: str) -> None:
    path = filled.folder / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
        assert [list(r) for r in filled.missing()] == [[4, 5]]
    else:
        data[-7] ^= 1
        path.write_bytes(data[:-100] if damage == "cut" else data)
    cache = make(filled.folder, lessons[1])
    cache.read([(0, 0)])
    with pytest.raises(DataError, match=r"shard-00001.* damaged or cut off\. Delete it"):
        cache.read([(1, 1)])


def test_values_beyond_half_precision_and_other_heads_are_refused(lessons: tuple[Tensor, Knowledge]) -> None:
    knowledge = lessons[1]
    with pytest.raises(ConfigError, match=r"pyramid\.0 holds a value beyond float16"):
        pack(replace(knowledge, pyramid=(knowledge.pyramid[0] * 1e6, *knowledge.pyramid[1:])))
    seen = [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))]
    with pytest.raises(ConfigError, match="no black boxes"):
        layout_of(replace(knowledge, detections=seen))


def test_a_digest_follows_names_and_values() -> None:
    one = {"a": torch.tensor(3), "b": torch.arange(4.0)}
    assert digest_of(one) == digest_of(dict(reversed(one.items())))
    others = [{**one, "a": torch.tensor(4)}, {"a": one["a"], "c": one["b"]}, {**one, "b": one["b"].flip(0)}]
    assert len({digest_of(one), *(digest_of(o) for o in others)}) == 4


def test_the_folder_says_what_its_lessons_are(filled: TeacherCache) -> None:
    assert json.loads((filled.folder / "cache.json").read_text()) == {**KEY, "scale_jitter": [0.8, 1.25]}
    assert isinstance(filled.layout, Layout)
