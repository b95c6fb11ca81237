"""The demo on a few tiny scenes: what it writes, and how it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from skystill import demo
from skystill.cli.main import main
from skystill.errors import SkystillError, WeightsError

SIZE = 96


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = demo.demo_recipe

    def recipe(out: Path, seed: int = 0) -> demo.Recipe:
        made = whole(out, seed)
        data = replace(
            made.data, scene_size=SIZE, scenes_train=4, scenes_val=2, scenes_test=6, scene_seed=3, crop=SIZE, batch=2
        )
        return replace(made, data=data, trainer=replace(made.trainer, epochs=2, val_every=1))

    monkeypatch.setattr(demo, "demo_recipe", recipe)


@pytest.mark.usefixtures("tiny")
def test_the_demo_walks_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--seed", "1"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    for key in ("teacher", "alone", "ltd"):
        assert {"ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "parameters", "gflops"} <= set(summary[key])
    assert summary["teacher"]["ap"] > demo.TEACHER_FLOOR
    assert summary["alone"]["parameters"] == summary["ltd"]["parameters"] < summary["teacher"]["parameters"]
    expected = (summary["ltd"]["ap"] - summary["alone"]["ap"]) / (summary["teacher"]["ap"] - summary["alone"]["ap"])
    assert summary["gap_closed"] == pytest.approx(expected, abs=1e-3)
    assert summary["seconds"] > 0
    assert summary["peak_mb"] > 100
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("<img") >= 3
    assert "student with LTD" in page
    assert "epoch 2/2" in capsys.readouterr().out

    weights = (out / "ltd" / "student.safetensors").read_bytes()
    (out / "alone" / "metrics.json").unlink()  # as if it had been stopped there
    assert main(["demo", "--out", str(out), "--seed", "1"]) == 0
    assert "ltd  epoch" not in capsys.readouterr().out  # it stays as it is
    assert (out / "ltd" / "student.safetensors").read_bytes() == weights
    assert json.loads((out / "summary.json").read_text())["ltd"]["ap"] == summary["ltd"]["ap"]
    assert main(["demo", "--out", str(out)]) == 2
    assert "with seed 1, and now that is 0" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_a_damaged_teacher_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TEACHER_FLOOR", 101.0)
    with pytest.raises(WeightsError, match="it is damaged"):
        demo.run_demo(tmp_path / "demo")


@pytest.mark.usefixtures("tiny")
def test_a_training_that_fails_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TEACHER", tmp_path / "teacher.safetensors")
    with pytest.raises(WeightsError, match="no such weights file"):
        demo.run_demo(tmp_path / "demo")
    recipe = demo.demo_recipe(tmp_path)
    recipe.detector.preset = "no_such_preset"
    runs = {"alone": tmp_path / "a", "ltd": tmp_path / "b"}
    with pytest.raises(SkystillError, match=r"student alone: .*no_such_preset"):
        demo._train_both(recipe, runs, demo.Console(quiet=True))
