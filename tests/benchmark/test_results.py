"""What a benchmark is scored on, and what it shows where nothing ended well."""

import json
from pathlib import Path

import pytest

from skystill.benchmark.launch import DIVERGED
from skystill.benchmark.page import write_page
from skystill.benchmark.plan import make_jobs
from skystill.benchmark.results import gather, scored_split
from skystill.benchmark.tables import machines_line, markdown
from skystill.data.config import DataConfig
from skystill.errors import ConfigError
from skystill.training.recipe import MethodConfig, Recipe, TrainerConfig


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
    assert text.count("diverged") == 2
    assert write_page(result, tmp_path / "report.html").read_text().count("diverged") >= 2


def test_runs_of_several_machines_are_told_apart() -> None:
    one = {"machine": "A", "machines": {"A": {"alone": [0, 1], "ltd": [0]}}}
    assert machines_line(one) == "Machine: A."
    two = {"machine": "A; B", "machines": {"A": {"alone": [1, 0]}, "B": {"alone": [2], "ltd": [0, 1, 2]}}}
    said = machines_line(two)
    assert said.startswith("Machines, with their methods and seeds: A (alone 0 1), B (alone 2; ltd 0 1 2). Two runs of")
