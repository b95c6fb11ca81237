"""Processes side by side: kept, resumed, marked or stopped."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from skystill.benchmark import launch
from skystill.benchmark.launch import DIVERGED, run_jobs
from skystill.benchmark.plan import Job, make_jobs
from skystill.errors import ConfigError, SkystillError
from skystill.training.folder import LAST
from skystill.training.recipe import MethodConfig, Recipe

# What stands in for a training: it says its verb and whether it resumes, and ends as its label demands.
RUN = """
import json, sys, time
from pathlib import Path
words, label = sys.argv[1:-1], sys.argv[-1]
recipe = Path(words[1])
folder = recipe.parent / recipe.name.removesuffix(".yaml")
folder.mkdir(exist_ok=True)
print("epoch 1/1", " ".join(words))
if label == "bad": print("skystill: no such teacher."); sys.exit(2)
if label == "nan": print("skystill: epoch 0, step 1: loss term giou is nan"); sys.exit(3)
if label == "slow": time.sleep(60)
time.sleep(0.2)
(folder / "metrics.json").write_text(json.dumps({"started": time.time(), "epochs": 99}))
"""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Starts RUN instead of a training; returns the command lines."""
    started: list[list[str]] = []
    real = subprocess.Popen

    def start(words: list[str], **how: object) -> subprocess.Popen[bytes]:
        started.append(words)
        assert words[:3] == [sys.executable, "-m", "skystill"]
        label = Path(words[4]).stem.rsplit("-", 1)[0]
        return real([sys.executable, "-c", RUN, *words[3:], label], **how)  # type: ignore[call-overload]

    monkeypatch.setattr(launch.subprocess, "Popen", start)
    return started


def make(out: Path, *labels: str, seeds: tuple[int, ...] = (0,)) -> list[Job]:
    return make_jobs(Recipe(), {label: MethodConfig() for label in labels}, seeds, out)


def test_runs_what_is_missing_by_the_users_own_command(tmp_path: Path, stand_in: list[list[str]]) -> None:
    said: list[str] = []
    first = make(tmp_path, "ltd")
    run_jobs(first, 1, said.append)
    alone, taught = first
    assert [words[3:] for words in stand_in] == [
        ["train", str(alone.recipe_file)],
        ["distill", str(taught.recipe_file), "--no_doctor"],  # the benchmark has looked already
    ]
    assert [line.split(" after")[0] for line in said if "done" in line] == ["alone, seed 0: done", "ltd, seed 0: done"]
    assert "epoch 1/1 distill" in first[1].log.read_text()
    stand_in.clear()
    run_jobs(make(tmp_path, "ltd", "pkd"), 1, said.append)  # a method more
    assert [Path(words[4]).name for words in stand_in] == ["pkd-seed0.yaml"]
    assert "2 of 3 runs are there already" in said


def test_one_of_which_no_whole_checkpoint_is_left_begins_anew(tmp_path: Path, stand_in: list[list[str]]) -> None:
    jobs = make(tmp_path)
    (jobs[0].folder / LAST).parent.mkdir(parents=True)
    (jobs[0].folder / LAST).write_bytes(b"PK\x03\x04 and no end")
    run_jobs(jobs, 1, lambda line: None)
    assert "--resume" not in stand_in[0]
    assert not (jobs[0].folder / LAST).exists()
    (jobs[0].folder / "metrics.json").write_text("{")  # damaged since
    stand_in.clear()
    run_jobs(jobs, 1, lambda line: None)
    assert len(stand_in) == 1


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, stand_in: list[list[str]]) -> None:
    jobs = make(tmp_path)
    (jobs[0].folder / LAST).parent.mkdir(parents=True)
    with ZipFile(jobs[0].folder / LAST, "w") as checkpoint:
        checkpoint.writestr("data.pkl", "")
    run_jobs(jobs, 1, lambda line: None)
    assert stand_in[0][-1] == "--resume"


def test_several_run_at_once(tmp_path: Path) -> None:
    said: list[str] = []
    run_jobs(make(tmp_path, "ltd", "pkd"), 3, said.append)
    assert ["started" in line for line in said] == [True, True, True, False, False, False]


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path: Path, stand_in: list[list[str]]) -> None:
    fcntl = pytest.importorskip("fcntl")
    jobs = make(tmp_path, "ltd", "pkd")
    said: list[str] = []
    with jobs[0].log.open("ab") as log, jobs[1].log.open("ab") as other:
        fcntl.flock(log, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX)

        def say(line: str) -> None:
            said.append(line)
            if line.startswith("pkd, seed 0: done"):  # the others end: one had finished its run, one was killed
                jobs[0].folder.mkdir()
                (jobs[0].folder / "metrics.json").write_text('{"epochs": 99}')
                fcntl.flock(log, fcntl.LOCK_UN)
                fcntl.flock(other, fcntl.LOCK_UN)

        run_jobs(jobs, 1, say)
    assert [line for line in said if "another process" in line] == [
        f"{name}, seed 0: another process is at it" for name in ("alone", "ltd")
    ]
    assert [Path(words[4]).stem for words in stand_in] == ["pkd-seed0", "ltd-seed0"]


def test_a_training_keeps_its_claim_when_its_benchmark_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    (job, *_) = make(tmp_path, "slow")[1:]
    log = launch._claim(job)
    assert log is not None
    process = launch._start(job, log, 0, 1)
    assert log.closed
    assert launch._claim(job) is None
    process.kill()
    process.wait()
    again = launch._claim(job)
    assert again is not None
    again.close()


def test_a_diverged_run_is_marked_and_the_others_go_on(tmp_path: Path, stand_in: list[list[str]]) -> None:
    jobs = make(tmp_path, "nan", "ltd")
    said: list[str] = []
    run_jobs(jobs, 1, said.append)
    assert "giou is nan" in (jobs[1].folder / DIVERGED).read_text()
    assert any(line.startswith("nan, seed 0: diverged") for line in said)
    assert (jobs[2].folder / "metrics.json").exists()
    stand_in.clear()
    run_jobs(jobs, 1, said.append)
    assert stand_in == []  # it would diverge again


def test_a_failed_run_stops_the_others_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bad, seed 0 failed: no such teacher\. \(.*bad-seed0\.log\)"):
        run_jobs(make(tmp_path, "bad", "slow"), 3, lambda line: None)
    assert not (tmp_path / "slow-seed0" / "metrics.json").exists()


def test_a_killed_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_last_line", lambda path: "Killed")
    job = make(tmp_path)[0]

    class Dead:
        returncode = -9

    with pytest.raises(SkystillError, match="alone, seed 0 failed: Killed"):
        launch._ended(job, Dead())  # type: ignore[arg-type]


def test_a_folder_of_another_recipe_is_refused_before_anything_runs(tmp_path: Path, stand_in: list[list[str]]) -> None:
    jobs = make(tmp_path, "ltd")
    replace(jobs[1].recipe, method=MethodConfig("pkd")).write(jobs[1].folder / "recipe.yaml")
    with pytest.raises(ConfigError, match=r"method\.name is pkd there"):
        run_jobs(jobs, 1, lambda line: None)
    assert stand_in == []


def test_processes_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    each = [launch._environment(place, 3) for place in range(3)]
    assert [e["OMP_NUM_THREADS"] for e in each] == ["2"] * 3
    assert [e["CUDA_VISIBLE_DEVICES"] for e in each] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")  # those that the user leaves to it
    assert [launch._environment(place, 3)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["2", "GPU-5", "2"]
    assert "OMP_NUM_THREADS" not in launch._environment(0, 1)
