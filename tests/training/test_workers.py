"""Two workers of one training: what their losses wait for, whichever of them has objects in its images."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from skystill import Distiller, Targets, create
from skystill.distillation.methods import make_method
from skystill.distributed import mean_over_workers

SMALL = {"neck_channels": 16, "head_channels": 16, "head_depth": 1, "norm": "gn"}
# one of each way to teach predictions: distributions of edges, boxes alone
PAIRS = {"gfl": ("gfl_mnv3s_050", SMALL), "fcos": ("tv_fcos_mnv3s", {})}


def work(rank: int, folder: str, family: str) -> None:
    torch.set_num_threads(1)
    preset, settings = PAIRS[family]
    # Workers that miss one another fail instead of waiting for half an hour.
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.manual_seed(0)
    student, teacher = (create(preset, ["a", "b"], **settings) for _ in range(2))
    student.train()
    distiller = Distiller(student, teacher, make_method("ltd"))
    wrapped = DistributedDataParallel(distiller, find_unused_parameters=True)
    images = torch.rand(2, 3, 96, 96)
    some = Targets(torch.tensor([[8.0, 8.0, 40.0, 36.0]]), torch.tensor([0]))
    targets = [some, Targets.empty()] if rank == 0 else [Targets.empty(), Targets.empty()]
    terms: dict[str, Tensor] = wrapped(images, targets)
    torch.stack(list(terms.values())).sum().backward()
    grads = torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None])
    mine = torch.tensor(4.0 * rank + 1)
    means = f"mean {mean_over_workers(mine).item()} of 1.0 and 5.0, {mine.item() == 4 * rank + 1}"
    Path(folder, f"{rank}.txt").write_text(
        f"{sorted(terms)} {grads.isfinite().all()} {grads.double().sum().item():.9e} {means}"
    )
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or os.name != "posix", reason="torch without gloo")
@pytest.mark.parametrize("family", list(PAIRS))
def test_a_worker_without_objects_keeps_up_with_one_that_has_some(family: str, tmp_path: Path) -> None:
    # Each worker is this file run as a script: what a test runner imports, and under which name, is not theirs to know.
    command = [sys.executable, __file__, str(tmp_path), family]
    workers = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors
    one, other = ((tmp_path / f"{rank}.txt").read_text() for rank in (0, 1))
    assert "True" in one
    assert one.endswith("mean 3.0 of 1.0 and 5.0, True")
    assert one == other


if __name__ == "__main__":
    work(int(sys.argv[3]), sys.argv[1], sys.argv[2])
