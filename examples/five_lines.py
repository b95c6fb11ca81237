"""The whole API on one screen: one training step of a student under a teacher.

    python examples/five_lines.py

The teacher here is untrained, so that the script needs no file. Yours comes from a file:
`skystill.load("teacher.safetensors")`.
"""

import torch

import skystill

images = torch.rand(2, 3, 128, 128)  # in 0..1
truth = skystill.Targets(torch.tensor([[20.0, 30.0, 60.0, 50.0]]), torch.tensor([1]))
targets = [truth, skystill.Targets.empty()]  # one per image; the second shows no object

student = skystill.create("gfl_mnv3s_050", ["ship", "plane"])
teacher = skystill.create("gfl_mnv3s", ["ship", "plane"])
distiller = skystill.Distiller(student, teacher, skystill.LTD())
losses = distiller(images, targets)
sum(losses.values()).backward()

for name, value in losses.items():
    print(f"{name:6} {value.item():.3f}")
