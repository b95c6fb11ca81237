"""What a benchmark is scored on, and what it shows where nothing ended well."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skystill.benchmark.launch import DIVERGED
from skystill.benchmark.page import _left_out, write_page
from skystill.benchmark.plan import make_jobs
from skystill.benchmark.results import _check_run, _filling, _leader, gather, scored_split
from skystill.benchmark.tables import machines_line, markdown
from skystill.data.config import DataConfig
from skystill.errors import ConfigError, DataError
from skystill.training.recipe import MethodConfig, Recipe, TeacherConfig, TrainerConfig


@pytest.mark.parametrize(
    ("data", "test", "expected"),
    [
        (DataConfig(val="val.json", test="test.json"), True, "test"),
        (DataConfig(val="val.json", test="test.json"), False, "val"),
        (DataConfig(val="val.json"), True, "val"),
        (DataConfig(format="synthetic", scenes_test=0), True, "val"),
        (DataConfig(format="synthetic"), True, "test"),
    ],
)
def test_methods_are_compared_on_test_where_there_is_one(data: DataConfig, test: bool, expected: str) -> None:
    assert scored_split(Recipe(data, trainer=TrainerConfig(test=test))) == expected


@pytest.mark.parametrize("data", [DataConfig(train="train.json"), DataConfig(test="test.json")])
def test_nothing_to_compare_on_is_refused(data: DataConfig) -> None:
    with pytest.raises(ConfigError, match=r"nothing to compare methods on. Give data\.test or data\.val"):
        scored_split(Recipe(data, trainer=TrainerConfig(test=False)))


def test_a_benchmark_of_which_every_run_diverged_is_shown(tmp_path: Path) -> None:
    recipe = Recipe(DataConfig(format="synthetic", scene_size=64, scenes_train=1, scenes_val=1, scenes_test=1))
    jobs = make_jobs(recipe, {"ltd": MethodConfig()}, [0], tmp_path)
    for job in jobs:
        job.folder.mkdir()
        (job.folder / DIVERGED).write_text("epoch 0, step 1: loss term giou is nan\n")
    result = gather(jobs, "skystill benchmark")
    assert [row["split"] for row in result["rows"]] == ["test", "test"]
    text = markdown(json.loads(json.dumps(result)))
    assert text.count("| seed 0 diverged |") == 2
    assert result["leader"] == {}
    assert write_page(result, tmp_path / "report.html").read_text().count("diverged") >= 2
    result["cache_fill_s"] = 312.4
    page = write_page(result, tmp_path / "report.html").read_text()
    assert "training time, validation included; filling the teacher cache once (312 s) is not in it" in page


def test_runs_of_several_machines_are_told_apart() -> None:
    one = {"machine": "A", "machines": {"A": {"alone": [0, 1], "ltd": [0]}}}
    assert machines_line(one) == "Machine: A."
    two = {"machine": "A; B", "machines": {"A": {"alone": [1, 0]}, "B": {"alone": [2], "ltd": [0, 1, 2]}}}
    said = machines_line(two)
    assert said.startswith("Machines, with their methods and seeds: A (alone 0 1), B (alone 2; ltd 0 1 2). Two runs of")


def rows(**points: list[float | None]) -> dict[str, Any]:
    """A result of methods with an AP a seed; None diverged."""
    found = [
        {"method": label, "seed": seed, "split": "test"} | ({"diverged": "nan"} if ap is None else {"ap": ap})
        for label, each in points.items()
        for seed, ap in enumerate(each)
    ]
    return {"rows": found, "methods": {label: {} for label, each in points.items() if set(each) != {None}}}


@pytest.mark.parametrize(
    ("points", "leader"),
    [
        ({"alone": [1, 2], "pkd": [3, 4], "cwd": [4, 5]}, "cwd"),
        ({"alone": [1, 9], "pkd": [3], "cwd": [2]}, "pkd"),  # a seed of one's own does not count
        ({"alone": [1, 2], "pkd": [3, 4], "cwd": [9, None]}, None),  # half of it diverged
        ({"alone": [0, 0], "pkd": [0, 0]}, None),  # a tie
        ({"alone": [5, 5], "pkd": [3, 4]}, "alone"),
        ({"alone": [1]}, "alone"),
        ({"alone": [None]}, None),
    ],
)
def test_who_leads_is_ahead_of_all_at_common_seeds(points: dict[str, list[float | None]], leader: str | None) -> None:
    found = _leader(rows(**points), "test")
    assert found.get("method") == leader
    if leader is not None:
        assert set(found["ahead_of"]) == {name for name, each in points.items() if set(each) != {None}} - {leader}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"images": {"val": "x"}}, None),
        ({"images": {"test": "others"}}, "was scored on other test images or objects than those of data.root here now"),
        ({"test": None}, "holds no 'test'. Delete it; the same command mends it"),
        ({"machine": None}, "holds no 'machine'"),
        ({"test": {"ap": None}}, "no object that counts is in the test split"),
    ],
)
def test_a_run_that_cannot_stand_in_the_tables_is_told(
    changed: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    whole = {
        "test": {"ap": 1.0},
        "images": {"test": "these"},
        "machine": "m",
        "versions": {},
        "step_s": 1,
        "train_s": 1,
    }
    metrics = {name: value for name, value in (whole | {"peak_mb": 1} | changed).items() if value is not None}
    job: Any = SimpleNamespace(folder=tmp_path, recipe=Recipe(DataConfig(root="here")))
    if words is None:
        _check_run(job, metrics, "test", "these")
        return
    with pytest.raises(DataError, match=words):
        _check_run(job, metrics, "test", "these")


@pytest.mark.parametrize(
    ("cache", "told", "words"),
    [
        ("lessons", [312.4, 0.0], "; filling the teacher cache once (312 s) is not in it"),
        ("lessons", [0.0, 0.0], "; filling the teacher cache once is not in it"),  # by others
        ("lessons", [312.4, None], "; filling the teacher cache once is not in it"),
        (None, [None, None], ""),
    ],
)
def test_the_page_says_that_filling_a_cache_is_no_training_time(
    cache: str | None, told: list[float | None], words: str
) -> None:
    runs = [{} if seconds is None else {"cache_fill_s": seconds} for seconds in told]
    filling = _filling(Recipe(teacher=TeacherConfig(cache=cache)), runs)
    assert _left_out(json.loads(json.dumps(filling))) == words
