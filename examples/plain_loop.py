"""Distillation in a plain PyTorch loop, without Lightning: for those who have a training loop already.

    python examples/plain_loop.py [STEPS]

Synthetic scenes, an untrained teacher, a few steps. Then the student is saved, loaded and asked for detections.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import skystill
from skystill.data.config import DataConfig
from skystill.data.module import DataModule, ready


def main(steps: int = 4) -> None:
    """Trains for some steps and prints what was learned from which layer."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = DataModule(DataConfig(format="synthetic", scene_size=128, scenes_train=4 * steps, batch=4, workers=0))
    data.setup()
    student = skystill.create("gfl_mnv3s_050", data.classes)
    teacher = skystill.create("gfl_mnv3s", data.classes)
    distiller = skystill.Distiller(student, teacher, skystill.LTD()).to(device).train()
    # The distiller's parameters are the student's and the adapters', never the teacher's.
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=2e-3)

    for step, raw in enumerate(islice(data.train_dataloader(), steps)):
        batch = ready(raw, device)
        distiller.set_progress(step / steps)  # bindings fade in and out over the training
        losses = distiller(batch.images, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(distiller.parameters(), 10.0)
        optimizer.step()
        print(f"step {step}: " + " ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))

    for name, matrix in distiller.matrices().items():
        print(f"{name}\n{matrix.cpu()}")
    with TemporaryDirectory() as folder:
        path = skystill.save(student, Path(folder) / "student.safetensors")
        found = skystill.load(path).predict(torch.rand(1, 3, 128, 128))
    print(f"saved, loaded, {len(found[0])} detections in noise")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
