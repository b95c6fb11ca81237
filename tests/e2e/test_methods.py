"""`skystill distill` with peers and combinations, from the command line to the run folder and the report."""

import csv
import json
from pathlib import Path

import pytest

from skystill.cli.main import main
from skystill.detectors.weights import load

RECIPE = """
data: {format: synthetic, scene_size: 96, scenes_train: 4, scenes_val: 2, scenes_test: 2, batch: 2, workers: 0}
detector: {preset: gfl_mnv3s_050, settings: {neck_channels: 16, head_channels: 16, head_depth: 1}}
optim: {warmup: 1}
trainer: {epochs: 1, accelerator: cpu, test: false}
method: [{name: pkd, weight: 0.5, settings: {weight: 4.0}}, bckd]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and a teacher."""
    root = tmp_path_factory.mktemp("place")
    (root / "tiny.yaml").write_text(RECIPE)
    assert main(["train", str(root / "tiny.yaml"), "--out", str(root / "teacher")]) == 0
    return root


def distill(place: Path, *options: str) -> int:
    weights = f"[{place / 'teacher' / 'student.safetensors'}]"
    return main(["distill", str(place / "tiny.yaml"), "--teacher.weights", weights, "--no_doctor", *options])


def logged(folder: Path) -> set[str]:
    with (folder / "metrics.csv").open() as file:
        return {key for row in csv.DictReader(file) for key, value in row.items() if value}


def test_a_combination_in_a_recipe_runs_and_names_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert distill(place) == 0
    folder = place / "runs" / "tiny-pkd+bckd-seed0"
    assert json.loads((folder / "metrics.json").read_text())["method"] == "pkd+bckd"
    assert {"train/pkd", "train/bckd_sem", "train/bckd_loc", "train/qfl"} <= logged(folder)
    assert load(folder / "student.safetensors").classes
    again = ["distill", str(folder / "recipe.yaml"), "--no_doctor", "--out", str(place / "again")]
    assert main(again) == 0
    one, other = (load(f / "student.safetensors").state_dict() for f in (folder, place / "again"))
    assert all(value.equal(other[key]) for key, value in one.items())


def test_colliding_terms_are_logged_by_method(place: Path) -> None:
    out = place / "collides"
    assert distill(place, "--method", "[ltd_released, {name: ld, weight: 2}]", "--out", str(out)) == 0
    assert {"train/ltd_released_ld", "train/ld_ld", "train/att", "beta/0_0"} <= logged(out)
    assert "train/ld" not in logged(out)


def test_crosskd_takes_live_teachers_and_a_cache(place: Path) -> None:
    live, cached = place / "live", place / "cached"
    options = ["--method", "[crosskd]", "--data.replay", "2", "--data.crop", "96"]
    assert distill(place, *options, "--out", str(live)) == 0
    assert distill(place, *options, "--teacher.cache", str(place / "cache"), "--out", str(cached)) == 0
    for folder in (live, cached):
        assert {"train/crosskd_sem", "train/crosskd_loc"} <= logged(folder)
    one, other = (first(folder, "train/crosskd_loc") for folder in (live, cached))
    assert one > 0
    assert other == pytest.approx(one, rel=0.02)  # float16


def test_a_run_is_looked_into_and_the_report_shows_it(place: Path) -> None:
    out, page = place / "looked", place / "report.html"
    cache = ["--data.replay", "1", "--data.crop", "96", "--teacher.cache", str(place / "lessons")]
    assert distill(place, "--method", "[ltd]", "--trainer.inspect_every", "1", *cache, "--out", str(out)) == 0
    columns = logged(out)
    assert {"grad_neck/ccd", "grad_head/sem", "teacher/iou", "student/score", "train/ccd", "val/ap"} <= columns
    assert any(key.startswith("alpha_entropy/") for key in columns)
    assert [p.name for p in (out / "inside").iterdir()] == ["epoch_001.png"]
    assert main(["compare", str(out), "--split", "val"]) == 0
    assert main(["report", str(out), "--split", "val", "--out", str(page)]) == 0
    html = page.read_text()
    assert "<h2>Inside the distillation</h2>" in html
    assert "tiny ltd seed 0, epoch 1: where a few training views were taught" in html
    assert "data:image/jpeg;base64," in html
    again = [
        "distill",
        str(out / "recipe.yaml"),
        "--trainer.inspect_every",
        "0",
        "--no_doctor",
        "--out",
        str(place / "unseen"),
    ]
    assert main(again) == 0
    one, other = (load(f / "student.safetensors").state_dict() for f in (out, place / "unseen"))
    assert all(value.equal(other[key]) for key, value in one.items())


def first(folder: Path, term: str) -> float:
    with (folder / "metrics.csv").open() as file:
        return next(float(row[term]) for row in csv.DictReader(file) if row.get(term))


def test_what_cannot_run_stops_in_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(place / "refused")
    for options, message in (
        (["--method.name", "pkd+lttd", "--method.settings", "{}"], "method 'lttd' is unknown; the methods are ltd"),
        (["--method", "[pkd, {name: bckd, settings: {loca: 1}}]"], "method bckd has no setting 'loca'"),
        (["--method.weights", "{ltd: 2}"], "no use for 'ltd'; the methods are pkd, bckd"),
    ):
        assert distill(place, *options, "--out", out) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
    assert not Path(out).exists()
