"""Runs that read their teacher from a cache."""

import csv
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from skystill.data.module import DataModule
from skystill.doctor.patient import Patient
from skystill.errors import ConfigError, DataError
from skystill.training import lessons
from skystill.training.fit import distill
from skystill.training.recipe import Recipe

Make = Callable[..., Recipe]


@pytest.fixture
def make_cached(make_recipe: Make, tmp_path: Path) -> Make:
    """A recipe that trains for two epochs on one view each, and keeps its teacher's lessons."""

    def make(out: str = "run", **changes: object) -> Recipe:
        recipe = make_recipe(out, **{"crop": 64, "replay": 2, "view_seed": 5, **changes})
        recipe.teacher.cache = str(tmp_path / "cache")
        return recipe

    return make


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_a_cached_run_is_the_live_one_within_rounding_and_asks_no_teacher(
    make_cached: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live = make_cached("live")
    live.teacher.cache = None
    expected = losses(alive := distill(live))
    capsys.readouterr()
    first = losses(made := distill(make_cached("first")))
    said = capsys.readouterr().out
    assert "teacher cache: 8 views, " in said
    assert "8/8 views" in said
    asked: list[int] = []
    ask = lessons.Distiller.ask
    monkeypatch.setattr(lessons.Distiller, "ask", lambda self, t, x: asked.append(len(x)) or ask(self, t, x))
    second = losses(read := distill(make_cached("second")))
    assert "views" not in capsys.readouterr().out  # nothing was missing
    assert sum(asked) == 1 + 1 + lessons.CHECKED  # adapters, layout and the check; no step asked
    assert second == first
    filled = [json.loads((run / "metrics.json").read_text()).get("cache_fill_s") for run in (made, read, alive)]
    assert filled[0] > 0  # beside train_s
    assert filled[1:] == [0, None]
    assert first == pytest.approx(expected, rel=2e-2)


def test_runs_of_other_seeds_share_one_cache(make_cached: Make, capsys: pytest.CaptureFixture[str]) -> None:
    distill(make_cached("one"))
    capsys.readouterr()
    other = make_cached("two")
    other.seed = 1
    distill(other)
    assert "views" not in capsys.readouterr().out


def test_a_fill_goes_on_where_it_was_cut_off(
    make_cached: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("skystill.distillation.cache.SHARD_BYTES", 1)  # a shard a view
    write = lessons.TeacherCache.write

    def cut(self: lessons.TeacherCache, first: int, rows: dict[str, object]) -> None:
        if first == 5:
            raise KeyboardInterrupt
        write(self, first, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as context:
        context.setattr(lessons.TeacherCache, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            distill(make_cached())
    assert not (tmp_path / "run").exists()
    assert len(list((tmp_path / "cache").glob("shard-*"))) == 5
    capsys.readouterr()
    distill(make_cached())
    assert "teacher cache: 3 views" in capsys.readouterr().out


def test_what_another_process_is_at_is_left_to_it(
    make_cached: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr("skystill.distillation.cache.SHARD_BYTES", 1)  # a shard a view
    patient = Patient(make_cached())

    def fill() -> lessons.TeacherCache:
        ((cache,), seconds) = lessons.fill_caches(
            patient.distiller, patient.recipe.teacher, patient.data, patient.device
        )
        assert seconds > 0
        return cache

    other = fill()
    shards = sorted((tmp_path / "cache").glob("shard-*"))
    first = shards[0].read_bytes()
    for shard in shards:
        shard.unlink()
    written: list[int] = []
    write = lessons.TeacherCache.write
    monkeypatch.setattr(lessons.TeacherCache, "write", lambda self, n, rows: (written.append(n), write(self, n, rows)))
    with ExitStack() as ends, ExitStack() as dies:
        assert ends.enter_context(other.taken(0))
        assert dies.enter_context(other.taken(1))

        def later(seconds: float) -> None:
            shards[0].write_bytes(first)
            ends.close()
            dies.close()

        monkeypatch.setattr(lessons.time, "sleep", later)
        capsys.readouterr()
        fill()
    assert written == [2, 3, 4, 5, 6, 7, 1]
    said = capsys.readouterr().out
    assert "6/8 views" in said
    assert said.count("other processes are at the last 2 views") == 1
    assert sorted((tmp_path / "cache").iterdir()) == [tmp_path / "cache" / "cache.json", *shards]


def test_what_caches_lack_is_told_before_a_training(
    make_cached: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skystill.distillation.cache.SHARD_BYTES", 1)  # a shard a view

    def lacking(**changes: object) -> int | None:
        patient = Patient(make_cached(**changes))
        return lessons.missing_views(patient.distiller, patient.recipe.teacher, patient.data, patient.device)

    assert lacking() is None
    assert not (tmp_path / "cache").exists()
    distill(make_cached())
    assert lacking() == 0
    with pytest.raises(ConfigError, match="a teacher cache that does not fit this run: colour"):
        lacking(colour=0.1)
    shards = sorted((tmp_path / "cache").glob("shard-*"))
    shards[1].write_bytes(b"cut")
    with pytest.raises(DataError, match=r"shard-00001\.safetensors: damaged or cut off"):
        lacking()
    shards[1].unlink()
    shards[2].unlink()
    assert lacking() == 2
    (tmp_path / "cache" / "cache.json").write_text("[]")
    with pytest.raises(ConfigError, match="a teacher cache that does not fit this run"):
        lacking()
    (tmp_path / "cache" / "cache.json").write_text("[3]")
    with pytest.raises(DataError, match=r"cache\.json: damaged"):
        lacking()


def test_the_views_that_are_checked_start_no_workers(make_cached: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    distill(make_cached())
    patient = Patient(make_cached(workers=2))

    def refused(self: DataModule, keys: object) -> None:
        raise AssertionError(f"a loader with its workers for {keys}")

    monkeypatch.setattr(DataModule, "views_loader", refused)
    assert lessons.missing_views(patient.distiller, patient.recipe.teacher, patient.data, patient.device) == 0


def test_lessons_of_images_that_changed_are_refused(make_cached: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    distill(make_cached("one"))
    render = lessons.DataModule._dataset

    def upside_down(self: lessons.DataModule, split: str) -> object:
        dataset = render(self, split)  # type: ignore[arg-type]
        transform = dataset.transform
        dataset.transform = lambda image, targets: (lambda i, t: (i.flip(1), t))(*transform(image, targets))
        return dataset

    monkeypatch.setattr(lessons.DataModule, "_dataset", upside_down)
    with pytest.raises(ConfigError, match="stale: on 8 random views the teacher's pyramid"):
        distill(make_cached("two"))


def test_another_augmentation_or_teacher_is_refused(make_cached: Make, teacher_file: Path, tmp_path: Path) -> None:
    distill(make_cached("one"))
    with pytest.raises(
        ConfigError, match=r"a teacher cache that does not fit this run: colour is 0\.2 there, 0\.1 here"
    ):
        distill(make_cached("two", colour=0.1))
    other = make_cached("three")
    other.teacher.weights = [str(tmp_path / "one" / "student.safetensors")]
    with pytest.raises(ConfigError, match="it is of other teacher weights"):
        distill(other)


@pytest.mark.parametrize(
    ("part", "setting", "value", "told"),
    [
        ("teacher", "scale", 2.0, r"scale is 1\.0 there, 2\.0 here"),
        ("teacher", "bf16", True, "bf16 is False there, True here"),
        ("data", "replay", 3, "replay is 2 there, 3 here"),
        ("data", "view_seed", 7, "view_seed is 5 there, 7 here"),
        ("data", "scenes_train", 5, "(other images|count) "),
    ],
)
def test_whatever_the_lessons_depend_on_is_in_their_key(
    make_cached: Make, part: str, setting: str, value: object, told: str
) -> None:
    made, other = make_cached("one"), make_cached("two")
    made.trainer.epochs = 1
    distill(made)
    setattr(getattr(other, part), setting, value)
    with pytest.raises(ConfigError, match=f"a teacher cache that does not fit this run: .*{told}"):
        distill(other)


def test_views_padded_to_other_sides_are_other_lessons(make_cached: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    distill(make_cached("one"))
    monkeypatch.setattr(lessons.Distiller, "multiple", 64)  # as a student of coarser levels has it
    with pytest.raises(ConfigError, match="a teacher cache that does not fit this run: multiple is 32 there, 64 here"):
        distill(make_cached("two"))


def test_two_teachers_have_a_folder_each(make_cached: Make, teacher_file: Path, tmp_path: Path) -> None:
    recipe = make_cached()
    recipe.teacher.weights *= 2
    distill(recipe)
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["0", "1"]


def test_what_a_cache_cannot_serve_is_refused_before_a_folder_is_made(make_cached: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.cache needs a finite number of views.*--data\.replay 8"):
        distill(make_cached(replay=0))
    with pytest.raises(ConfigError, match=r"teacher\.cache needs views of one size.*data\.crop"):
        distill(make_cached(crop=0, scale_jitter=(0.5, 2.0)))
    assert not (tmp_path / "run").exists()
