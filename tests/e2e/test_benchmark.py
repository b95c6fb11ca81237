"""`skystill benchmark` as a user types it, on scenes of 64 px."""

import json
from pathlib import Path

import pytest

from skystill.cli.main import main

RECIPE = """
data: {{format: synthetic, scene_size: 64, scenes_train: 4, scenes_val: 2, scenes_test: 4, batch: 2, workers: 0}}
detector: {{preset: gfl_mnv3s_050, settings: {{neck_channels: 16, head_channels: 16, head_depth: 1}}}}
optim: {{warmup: 1}}
trainer: {{epochs: 1, accelerator: cpu}}
teacher: {{weights: [{teacher}]}}
"""


def test_methods_and_seeds_are_compared_and_the_command_can_be_repeated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    teacher = tmp_path / "teacher.yaml"
    teacher.write_text(RECIPE.format(teacher=""))
    recipe = tmp_path / "pair.yaml"
    recipe.write_text(RECIPE.format(teacher=""))
    variants = tmp_path / "variants.yaml"
    variants.write_text("two at once: [pkd, {name: bckd, weight: 2}]\n")
    words = ["benchmark", str(recipe), "--variants", str(variants), "--teacher_recipe", str(teacher)]
    words += ["--no_doctor", "--seeds", "0", "1", "--out", str(tmp_path / "out"), "--jobs", "2"]
    assert main(words) == 0
    said = capfd.readouterr().out
    assert "teacher: alone, seed 0: done" in said
    assert "two at once" in said
    out = tmp_path / "out"
    result = json.loads((out / "benchmark.json").read_text())
    rows = {(row["method"], row["seed"], row["split"]) for row in result["rows"]}
    runs = {
        (method, seed, split) for method in ("alone", "two at once") for seed in (0, 1) for split in ("val", "test")
    }
    assert rows == runs | {("teacher", 0, "test")}
    assert {"ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "step_s", "peak_mb"} <= set(result["rows"][-1])
    taught = next(row for row in result["rows"] if (row["method"], row["split"]) == ("teacher", "test"))
    assert list(taught["per_class"]) == result["classes"]
    assert taught["ap"] == json.loads((out / "teacher" / "metrics.json").read_text())["test"]["ap"]
    stored = [json.loads((out / f"alone-seed{s}" / "metrics.json").read_text())["test"]["errors"] for s in (0, 1)]
    lost = sum(e["dap50"]["background"] for e in stored) / 2
    assert result["methods"]["alone"]["errors"]["dap50"]["background"] == pytest.approx(lost)
    found = result["methods"]["two at once"]
    assert found["gain"]["n"] == 2
    assert found["gain_images"]["images"] == 4
    assert set(found["errors"]["missed"]) == {"small", "medium", "large"}
    own = json.loads((out / "two_at_once-seed1" / "metrics.json").read_text())
    assert own["method"] == "pkd+bckd"
    for name in ("benchmark.md", "report.html", "gains.svg", "sizes.svg", "classes.svg", "time.svg"):
        assert (out / name).stat().st_size > 500, name
    disturbed = out / "alone-seed0" / "metrics.json"
    disturbed.write_text(json.dumps(json.loads(disturbed.read_text()) | {"waited": 0.9}))
    before = (out / "two_at_once-seed1" / "metrics.json").stat().st_mtime_ns
    assert main(words) == 0  # nothing to do but to score
    alone = next(line for line in (out / "benchmark.md").read_text().splitlines() if line.startswith("| alone"))
    assert alone.split(" | ")[8].endswith("~")
    assert "4 of 4 runs are there already" in capfd.readouterr().out
    assert (out / "two_at_once-seed1" / "metrics.json").stat().st_mtime_ns == before
    for name in ("student.safetensors", "detections_test.safetensors"):  # the figures alone are kept
        (out / "two_at_once-seed1" / name).unlink()
    assert main(words) == 0
    kept = json.loads((out / "benchmark.json").read_text())
    assert "gain_images" not in kept["methods"]["two at once"]
    assert kept["methods"]["two at once"]["gain"] == found["gain"]
    (out / "two_at_once-seed1" / "metrics.json").rename(tmp_path / "away.json")
    assert main([*words, "--collect"]) == 0  # what is there so far
    assert "3 of 4 runs are there already" in capfd.readouterr().out
    part = json.loads((out / "benchmark.json").read_text())["methods"]
    assert (part["alone"]["seeds"], part["two at once"]["seeds"]) == ([0, 1], [0])
    assert main([*words[:-3], str(tmp_path / "empty"), "--collect"]) == 2
    assert "holds none of the 4 runs. Leave --collect away to train them." in capfd.readouterr().err
    (out / "two_at_once-seed1" / "metrics.json").write_text("{")
    assert main([*words, "--collect"]) == 2
    assert "metrics.json: damaged, or not what training writes" in capfd.readouterr().err
    assert main(words) == 0  # it is made anew
    assert json.loads((out / "benchmark.json").read_text())["methods"]["two at once"]["gain"] == found["gain"]
    assert main([*words, "--data.scene_seed", "5"]) == 2
    assert "data.scene_seed is 0 there, 5 here" in capfd.readouterr().err
    assert main([*words, "--optim.lr", "0.5"]) == 2
    assert "holds a run of another recipe: optim.lr is 0.001 there, 0.5 here" in capfd.readouterr().err
    (out / "teacher" / "student.safetensors").write_bytes(b"another")
    assert main([*words, "--collect"]) == 2
    assert "two_at_once-seed0: holds a run that learned from another teacher than" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to compare"),
        (["--methods", "ldt"], "method 'ldt' is unknown; the methods are ltd"),
        (["--methods", "ltd"], "names no teacher"),
        (["--methods", "ltd", "--jobs", "0"], "--jobs is 0"),
        (["--methods", "ltd", "--teacher.weights", "[t]", "--data.group", "x("], "group 'x(' is no regular expression"),
        (["--methods", "ltd", "--seeds", "0,1"], "--seeds takes a whole number, not '0,1'"),
        (["--methods", "alone"], "'alone' is the student without a teacher"),
        (["--variants", "none.yaml"], "--variants none.yaml: no such file. Give a YAML file"),
        (["--variants", "twice.yaml"], "twice.yaml line 2: mine is there twice"),
        (["--variants", "list.yaml"], "list.yaml: takes a mapping"),
        (["--variants", "key.yaml"], "key.yaml: mine has no key 'setting'. Its keys are name, settings, weights"),
        (["--variants", "type.yaml"], "type.yaml: mine: settings takes a mapping"),
        (["--variants", "value.yaml"], "value.yaml: mine: method pkd: weight is 'abc'. Give a number"),
        (["--variants", "alone.yaml"], "'alone' is the student without a teacher"),
        (["--variants", "value.yaml", "--methods", "ldt"], "--methods: method 'ldt' is unknown"),
        (["--variants", "fine.yaml", "--methods", "pkd"], "fine.yaml: --methods names 'pkd' too"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.yaml").write_text("[ltd, pkd]\n")
    Path("twice.yaml").write_text("mine: pkd\nmine: cwd\n")
    Path("key.yaml").write_text("mine: {name: ltd, setting: {}}\n")
    Path("type.yaml").write_text("mine: {name: ltd, settings: 3}\n")
    Path("value.yaml").write_text("mine: {name: pkd, settings: {weight: abc}}\n")
    Path("alone.yaml").write_text("alone: pkd\n")
    Path("fine.yaml").write_text("pkd: {name: pkd, settings: {weight: 5}}\n")
    Path("pair.yaml").write_text(RECIPE.format(teacher=""))
    assert main(["benchmark", "pair.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()
