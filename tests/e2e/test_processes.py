"""What only real processes show: python -m skystill, Ctrl-C, two workers, help without heavy imports."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skystill.detectors.weights import load

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
RECIPE = """
data: {format: synthetic, scene_size: 96, scenes_train: 4, scenes_val: 3, scenes_test: 3, batch: 2, workers: 0}
detector: {preset: gfl_mnv3s_050, settings: {neck_channels: 16, head_channels: 16, head_depth: 1}}
optim: {warmup: 1}
trainer: {epochs: 400, accelerator: cpu}
"""


def start(*arguments: str, folder: Path, group: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "skystill", *arguments],
        cwd=folder,
        env=ONE_THREAD,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=group,
        # Shells start what runs in the background deaf to Ctrl-C, tests among it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return tmp_path


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_keeps_whole_epochs_and_says_how_to_go_on(sent: int, code: int, folder: Path) -> None:
    process = start("train", "tiny.yaml", "--out", "run", folder=folder)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(sent)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == code
    assert printed.startswith("skystill: interrupted in epoch ")
    assert "of 400; run holds all whole epochs. Give the same command with --resume to go on.\n" in printed
    assert "Traceback" not in printed
    assert torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] >= 0
    assert not (folder / "run" / "metrics.json").exists()


def test_a_signal_to_all_processes_of_a_run_is_no_crash(folder: Path) -> None:
    process = start("train", "tiny.yaml", "--out", "run", "--data.workers", "1", folder=folder, group=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    os.killpg(process.pid, signal.SIGTERM)  # as schedulers and `timeout` do
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 143, printed
    assert printed.startswith("skystill: interrupted in epoch ")
    assert "Traceback" not in printed


def test_two_workers_train_one_student_and_score_every_image(folder: Path) -> None:
    options = ["--trainer.epochs", "1", "--trainer.devices", "2", "--name", "both"]
    process = start("train", "tiny.yaml", "--out", "run", *options, folder=folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("epoch 1/1") == out.count("run folder: run") == 1  # the second process keeps quiet
    scores = json.loads((folder / "run" / "metrics.json").read_text())
    student = load(folder / "run" / "student.safetensors")
    assert all(p.isfinite().all() for p in student.parameters())
    # As many objects as one process counts: the final scores are those of the whole split.
    again = start("evaluate", "run/student.safetensors", "tiny.yaml", "--save", "scores", folder=folder)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    alone = json.loads((folder / "scores" / "metrics.json").read_text())
    objects = {name: row["objects"] for name, row in alone["per_class"].items()}
    assert sum(objects.values()) > 0
    assert {name: row["objects"] for name, row in scores["test"]["per_class"].items()} == objects
    assert scores["test"]["ap"] == pytest.approx(alone["ap"])


def test_help_loads_no_heavy_library(folder: Path) -> None:
    code = (
        "import sys; from skystill.cli.main import main; main([]); main(['data']);"
        "assert not {'torch', 'numpy', 'jsonargparse', 'matplotlib'} & set(sys.modules), 'heavy';"
        "main(['train', '--help']); found = {'pytorch_lightning', 'timm', 'matplotlib'} & set(sys.modules);"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    process = start("train", "--help", folder=folder)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.wait(timeout=60)
