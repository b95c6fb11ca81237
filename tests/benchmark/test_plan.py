"""Which trainings a benchmark is made of, and when a run on disk may stand for one."""

import json
from pathlib import Path

import pytest
import yaml

from skystill.benchmark.plan import Job, check_same, make_jobs
from skystill.data.config import DataConfig
from skystill.errors import ConfigError
from skystill.training.recipe import MethodConfig, OptimConfig, Recipe, TeacherConfig
from skystill.training.taught import file_digest

VARIANTS = {"ltd": MethodConfig("ltd"), "ltd explicit": MethodConfig("ltd", {"binding": "explicit"})}


def jobs(out: Path, recipe: Recipe | None = None) -> list[Job]:
    return make_jobs(recipe or Recipe(name="pair"), VARIANTS, [3, 5], out)


def test_every_variant_meets_every_seed_and_whole_pairs_come_first(tmp_path: Path) -> None:
    made = jobs(tmp_path)
    assert [(job.label, job.seed, job.verb) for job in made] == [
        (label, seed, verb)
        for seed in (3, 5)
        for label, verb in (("alone", "train"), ("ltd", "distill"), ("ltd explicit", "distill"))
    ]
    assert made[-1].folder == tmp_path / "ltd_explicit-seed5"
    assert made[-1].recipe.method.settings["binding"] == "explicit"
    assert made[-1].recipe.out == str(made[-1].folder)
    assert {job.recipe.optim.lr for job in made} == {OptimConfig().lr}  # one schedule for all


def test_every_run_has_a_recipe_and_a_log_of_its_own(tmp_path: Path) -> None:
    made = make_jobs(Recipe(), {f"peaks {share}": MethodConfig() for share in ("0.25", "0.5")}, [0, 1], tmp_path)
    assert len({job.recipe_file for job in made}) == len({job.log for job in made}) == len(made) == 6
    assert made[1].log == tmp_path / "peaks_0.25-seed0.log"


def test_seeds_that_one_cache_cannot_serve_are_refused(tmp_path: Path) -> None:
    cached = TeacherConfig(cache="lessons")
    with pytest.raises(ConfigError, match=r"the views of one seed, and several seeds.* --data\.view_seed 0"):
        make_jobs(Recipe(DataConfig(replay=2), teacher=cached), VARIANTS, [0, 1], tmp_path)
    make_jobs(Recipe(DataConfig(replay=2), teacher=cached), VARIANTS, [1], tmp_path)
    make_jobs(Recipe(DataConfig(replay=2, view_seed=0), teacher=cached), VARIANTS, [0, 1], tmp_path)


@pytest.mark.parametrize("label", ["", "../x", "a/b", "-x", ".x", "teacher"])
def test_labels_that_cannot_name_a_folder_are_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a variant"):
        make_jobs(Recipe(), {label: MethodConfig()}, [0], tmp_path)


@pytest.mark.parametrize("labels", [("x y", "x_y"), ("Pkd", "pkd"), ("alone",), ("Alone",)])
def test_labels_that_would_share_a_folder_are_refused(tmp_path: Path, labels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="would share a folder"):
        make_jobs(Recipe(), {label: MethodConfig() for label in labels}, [0], tmp_path)


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--seeds holds -1"):
        make_jobs(Recipe(), VARIANTS, [0, -1], tmp_path)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_that_are_no_set_are_refused(tmp_path: Path, seeds: list[int]) -> None:
    with pytest.raises(ConfigError, match="each seed once"):
        make_jobs(Recipe(), VARIANTS, seeds, tmp_path)


def test_a_run_of_the_same_recipe_is_taken(tmp_path: Path) -> None:
    for job in jobs(tmp_path, Recipe(DataConfig(view_seed=0), name="pair")):
        check_same(job)  # nothing there
        job.recipe.write(job.folder / "recipe.yaml")
    # Elsewhere, under another name, with other workers and a cache: the result is the same.
    moved = Recipe(DataConfig(view_seed=0), teacher=TeacherConfig(cache="elsewhere"), name="other")
    moved.data.root, moved.data.workers, moved.trainer.progress = "/data", 7, False
    for job in jobs(tmp_path, moved):
        check_same(job)


def test_a_run_of_an_older_version_lacks_keys_and_is_taken(tmp_path: Path) -> None:
    job = jobs(tmp_path)[1]
    job.recipe.write(job.folder / "recipe.yaml")
    values = yaml.safe_load((job.folder / "recipe.yaml").read_text())
    del values["data"]["replay"], values["method"]["weights"]
    (job.folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    check_same(job)


def test_a_run_of_another_recipe_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    for job in jobs(tmp_path):
        job.recipe.write(job.folder / "recipe.yaml")
    other = Recipe(name="pair", optim=OptimConfig(lr=0.5))
    with pytest.raises(
        ConfigError, match=r"alone-seed3: holds a run of another recipe: optim\.lr is 0\.001 there, 0\.5"
    ):
        check_same(jobs(tmp_path, other)[0])
    taught = Recipe(name="pair", teacher=TeacherConfig(["other.safetensors"]))
    alone, distilled, _ = jobs(tmp_path, taught)[:3]
    check_same(alone)  # it never saw a teacher
    with pytest.raises(ConfigError, match=r"teacher\.weights is \[\] there"):
        check_same(distilled)


def test_a_run_under_other_defaults_of_its_method_is_refused(tmp_path: Path) -> None:
    job = jobs(tmp_path)[1]
    job.recipe.write(job.folder / "recipe.yaml")
    check_same(job)
    values = yaml.safe_load((job.folder / "recipe.yaml").read_text())
    assert values["method"]["settings"]["sem"] == 1.0
    values["method"]["settings"]["sem"] = 0.5  # the default of another version
    (job.folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"method\.settings is .*'sem': 0\.5"):
        check_same(job)


def test_unlabelled_images_are_nothing_to_the_student_alone(tmp_path: Path) -> None:
    for job in jobs(tmp_path):
        job.recipe.write(job.folder / "recipe.yaml")
    alone, distilled, _ = jobs(tmp_path, Recipe(DataConfig(unlabelled="more", unlabelled_share=0.2), name="pair"))[:3]
    check_same(alone)
    with pytest.raises(ConfigError, match=r"data\.unlabelled is None there, more here"):
        check_same(distilled)


def test_a_run_that_learned_from_another_teacher_of_that_name_is_refused(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(b"one")
    alone, distilled, _ = jobs(tmp_path, Recipe(teacher=TeacherConfig([str(teacher)]), name="pair"))[:3]
    for job in (alone, distilled):
        job.recipe.write(job.folder / "recipe.yaml")
    told = {"teachers": [{"weights": "elsewhere", "digest": file_digest(teacher)}]}
    (distilled.folder / "metrics.json").write_text(json.dumps(told))  # all that is kept of a run
    check_same(distilled)
    teacher.write_bytes(b"another")
    check_same(alone)
    with pytest.raises(ConfigError, match=r"ltd-seed3: holds a run that learned from another teacher than .* is now"):
        check_same(distilled)
    for unknown in ({"teachers": [{"weights": "elsewhere"}]}, {"teachers": []}, {}, []):  # as older runs told it
        (distilled.folder / "metrics.json").write_text(json.dumps(unknown))
        check_same(distilled)
