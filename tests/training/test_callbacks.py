"""The running average, re-stated slowly."""

import mmap
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from skystill.detectors.gfl import GFL
from skystill.training import callbacks
from skystill.training.callbacks import EMA, StepTimer
from skystill.training.recipe import Recipe
from skystill.training.task import Train


def test_ema_follows_weights_and_statistics_with_a_growing_decay(make_gfl: type[GFL]) -> None:
    task, ema = Train(Recipe(), make_gfl()), EMA(0.3)
    trainer = SimpleNamespace(global_step=0)
    ema.on_fit_start(trainer, task)
    ema.on_train_start(trainer, task)
    name, counter = "head.scales", "head.cls_tower.norms.0.norms.0.num_batches_tracked"
    statistic = "head.cls_tower.norms.0.norms.0.running_mean"
    values = {n: t.double().clone() for n, t in task.detector.state_dict().items() if n in (name, statistic)}
    gen = torch.Generator().manual_seed(0)
    for n in range(6):
        with torch.no_grad():
            for tensor in task.detector.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(torch.randn(tensor.shape, generator=gen) * 0.1)
            task.detector.get_buffer(counter).add_(1)
        trainer.global_step += 1
        ema.on_train_batch_end(trainer, task)
        for key, value in values.items():
            now = task.detector.state_dict()[key].double()
            decay = min(0.3, (1 + n) / (10 + n))
            values[key] = now.clone() if n == 0 else decay * value + (1 - decay) * now  # the first step replaces
    averaged = task.best_weights.state_dict()
    assert task.best_weights is not task.detector
    for key, value in values.items():
        torch.testing.assert_close(averaged[key].double(), value, rtol=1e-5, atol=1e-6)
    assert averaged[counter] == task.detector.get_buffer(counter)


def test_ema_waits_for_the_optimizer(make_gfl: type[GFL]) -> None:
    task, ema = Train(Recipe(), make_gfl()), EMA(0.9)
    trainer = SimpleNamespace(global_step=0)
    ema.on_fit_start(trainer, task)
    trainer.global_step = 7  # of a checkpoint, whose count comes back between the two
    ema.on_train_start(trainer, task)
    before = task.best_weights.head.scales.clone()
    with torch.no_grad():
        task.detector.head.scales.add_(1)
    ema.on_train_batch_end(trainer, task)  # a batch whose gradient is only accumulated
    assert torch.equal(task.best_weights.head.scales, before)


def test_timer_leaves_warm_up_out() -> None:
    timer = StepTimer()
    assert timer.summary()["step_s"] == 0
    timer.steps = [9.0] * 10 + [1.0, 3.0, 2.0]
    assert timer.summary()["step_s"] == 2.0
    assert timer.summary()["peak_mb"] > 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is mapped")
def test_memory_leaves_out_files_that_were_read(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(bytes(64 * 2**20))
    timer = StepTimer()
    timer.on_train_start(pl.Trainer(accelerator="cpu", logger=False))
    before = timer.summary()["peak_mb"]
    with (tmp_path / "shard").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0  # every page is in memory now
        assert timer.summary()["peak_mb"] < before + 32


def test_the_peak_of_what_came_before_a_resume_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_mapped", lambda: 0.0)
    monkeypatch.setattr(callbacks, "peak_memory", lambda device: 3 * 2**20)
    first = StepTimer()
    first.steps = [1.0]
    held = first.state_dict()
    monkeypatch.setattr(callbacks, "peak_memory", lambda device: 2**20)
    again = StepTimer()
    again.load_state_dict(held)
    assert again.summary() == {"step_s": 1.0, "peak_mb": 3.0, "waited": 0.0}
    held["filled"] = 8.0
    held["waited"] = 0.25
    cached = StepTimer()
    cached.filled = 2.0  # what lacked since
    cached.load_state_dict(held)
    assert cached.summary()["cache_fill_s"] == 10
    assert cached.summary()["waited"] == 0.25
    older = StepTimer()
    older.load_state_dict({"steps": [], "seconds": 1.0})  # of a version that kept none
    assert older.summary() == {"step_s": 0.0, "peak_mb": 1.0}
