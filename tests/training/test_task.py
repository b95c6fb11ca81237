"""Optimizer, schedule and freezing, re-stated slowly."""

import math

import pytest
import torch
from torch import nn

from skystill.detectors.gfl import GFL
from skystill.detectors.weights import create
from skystill.errors import ConfigError
from skystill.training.recipe import OptimConfig, Recipe
from skystill.training.task import Train, backbone_of, freeze_stages, keep_norms, lr_factor, make_optimizer


def test_cosine_climbs_then_falls_to_a_hundredth() -> None:
    optim = OptimConfig(warmup=4, schedule="cosine")
    factors = [lr_factor(optim, step, 20, 5) for step in range(21)]
    assert factors[:4] == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5])
    for step in range(4, 21):
        angle = math.pi * (step - 4) / 16
        assert factors[step] == pytest.approx(0.01 + 0.99 * (0.5 + 0.5 * math.cos(angle)))
    assert factors[4] == 1
    assert factors[20] == pytest.approx(0.01)
    assert lr_factor(optim, 999, 20, 5) == pytest.approx(0.01)  # never climbs again


def test_steps_divide_by_ten_after_each_named_epoch() -> None:
    optim = OptimConfig(warmup=0, schedule="step", drops=[2, 3])
    assert [lr_factor(optim, step, 12, 3) for step in range(12)] == pytest.approx([1.0] * 6 + [0.1] * 3 + [0.01] * 3)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_kernels_and_matrices_decay_and_frozen_tensors_are_left_out(name: str) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2))
    module[2].weight.requires_grad_(False)
    optimizer = make_optimizer(module, OptimConfig(optimizer=name, lr=0.5, weight_decay=0.125, momentum=0.75))  # type: ignore[arg-type]
    decays, stays = optimizer.param_groups
    assert [id(p) for p in decays["params"]] == [id(module[0].weight)]
    whole = make_optimizer(nn.LayerNorm([3, 1, 1]), OptimConfig(optimizer=name)).param_groups  # type: ignore[arg-type]
    assert [len(group["params"]) for group in whole] == [0, 2]
    assert {id(p) for p in stays["params"]} == {
        id(p) for p in (module[0].bias, *module[1].parameters(), module[2].bias)
    }
    assert (decays["weight_decay"], stays["weight_decay"]) == (0.125, 0.0)
    assert decays["lr"] == stays["lr"] == 0.5
    if name == "sgd":
        assert decays["momentum"] == stays["momentum"] == 0.75


@pytest.mark.parametrize(("name", "kept"), [("sgd", 1 - 0.5 * 0.125), ("adamw", 1 - 0.5 * 0.125)])
def test_without_gradient_a_kernel_shrinks_and_a_bias_stays(name: str, kept: float) -> None:
    layer = nn.Linear(2, 2)
    before = [p.detach().clone() for p in layer.parameters()]
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    make_optimizer(layer, OptimConfig(optimizer=name, lr=0.5, weight_decay=0.125)).step()  # type: ignore[arg-type]
    torch.testing.assert_close(layer.weight, before[0] * kept)
    assert torch.equal(layer.bias, before[1])


def test_a_detector_without_a_backbone_freezes_none() -> None:
    with pytest.raises(ConfigError, match="need a part called backbone, which Linear has not"):
        backbone_of(nn.Linear(2, 2))  # type: ignore[arg-type]


def test_stages_freeze_from_the_stem_on(make_gfl: type[GFL]) -> None:
    frozen = []
    for stages in range(8):
        backbone = make_gfl().backbone
        parts = len(backbone.blocks)
        if stages > parts + 1:
            with pytest.raises(
                ConfigError, match=f"detector.freeze is {stages}, but the backbone has {parts + 1} stages"
            ):
                freeze_stages(backbone, stages)
            continue
        freeze_stages(backbone, stages)
        still = {n for n, p in backbone.named_parameters() if not p.requires_grad}
        allowed = ("conv_stem", "bn1", *(f"blocks.{i}." for i in range(stages - 1)))
        assert still == ({n for n, _ in backbone.named_parameters() if n.startswith(allowed)} if stages else set())
        frozen.append(len(still))
    assert frozen == sorted(set(frozen))  # each stage adds some


def test_stages_of_torchvisions_backbones_freeze_from_the_input_on() -> None:
    for preset, first in (("tv_fcos_r18", {"conv1", "bn1", "layer1"}), ("tv_ssdlite", {"0", "1"})):
        backbone = create(preset, ["ship"]).get_submodule("backbone")
        freeze_stages(backbone, 2)
        still = {n.split(".")[0] for n, p in backbone.named_parameters() if not p.requires_grad}
        assert still == first


def test_kept_norms_do_not_move(make_gfl: type[GFL]) -> None:
    detector = make_gfl().train()
    keep_norms(detector.backbone)
    before = {k: v.clone() for k, v in detector.state_dict().items()}
    detector(torch.rand(2, 3, 64, 64))
    moved = {k for k, v in detector.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert not any(k.startswith("backbone") for k in moved)


def test_every_worker_draws_chance_of_its_own_and_the_same_again(
    make_gfl: type[GFL], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Train(Recipe(), make_gfl())
    drawn = []
    for rank in (0, 1, 0):
        monkeypatch.setattr(Train, "global_rank", rank)
        task.on_train_epoch_start()
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
