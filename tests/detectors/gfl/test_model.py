from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from skystill.detectors.gfl import GFL, PRESETS, GFLConfig
from skystill.detectors.gfl.layers import LevelNorm, SharedNorm
from skystill.errors import ConfigError
from skystill.structures import Targets


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"levels": (3, 7), "convs": "dense", "norm": "gn"},
        {"levels": (2, 4), "norm": "gn"},
        {"levels": (4, 6), "in_chans": 1, "neck_channels": 48, "head_channels": 40, "norm": "gn"},
        {"in_chans": 4, "reg_max": 8, "head_depth": 2},
    ],
)
def test_pyramid_and_places_have_the_promised_shapes(make_gfl: Callable[..., GFL], fields: dict[str, object]) -> None:
    model = make_gfl(**fields)
    config = model.architecture
    out = model(torch.rand(2, config.in_chans, 128, 256))
    knowledge, dense = out.knowledge, out.knowledge.dense
    assert knowledge.strides == tuple(2**level for level in range(config.levels[0], config.levels[1] + 1))
    sizes = [(128 // s, 256 // s) for s in knowledge.strides]
    assert [tuple(p.shape) for p in knowledge.pyramid] == [(2, config.neck_channels, h, w) for h, w in sizes]
    assert dense.levels == tuple(h * w for h, w in sizes)
    n = sum(dense.levels)
    assert dense.logits.shape == (2, n, 3)
    assert dense.boxes.shape == (2, n, 4)
    assert dense.edges.shape == (2, n, 4, config.reg_max + 1)
    assert out.losses == {}
    assert len(model.place_strides(dense.levels, torch.device("cpu"))) == n


def test_training_step_reaches_every_parameter_even_without_objects(make_gfl: Callable[..., GFL]) -> None:
    model = make_gfl(levels=(3, 6)).train()
    losses = model(torch.rand(2, 3, 64, 64), [Targets.empty(), Targets.empty()]).losses
    sum(losses.values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_a_few_steps_find_the_object(make_gfl: Callable[..., GFL]) -> None:
    model = make_gfl(classes=("square",), head_depth=2).train()
    image = torch.full((2, 3, 64, 64), 0.2)
    image[0, :, 16:40, 20:44] = 0.9
    image[1, :, 30:56, 4:30] = 0.9
    truth = [
        Targets(torch.tensor([[20.0, 16.0, 44.0, 40.0]]), torch.tensor([0])),
        Targets(torch.tensor([[4.0, 30.0, 30.0, 56.0]]), torch.tensor([0])),
    ]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    first = last = 0.0
    for step in range(40):
        loss = sum(model(image, truth).losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.5 * first


def test_images_of_a_batch_do_not_touch_each_other(make_gfl: Callable[..., GFL]) -> None:
    model, images = make_gfl(levels=(3, 6), norm="gn", convs="dense"), torch.rand(3, 3, 64, 64)
    together = model.raw(images)
    for b in range(3):
        for whole, alone in zip(together, model.raw(images[b : b + 1]), strict=True):
            assert torch.allclose(whole[b], alone[0], atol=1e-4)


def test_a_batch_too_small_for_batch_norm_is_told(make_gfl: Callable[..., GFL]) -> None:
    with pytest.raises(ConfigError, match=r"1 image of 32 x 32 px\. Give a batch of 2 or more"):
        make_gfl().train()(torch.rand(1, 3, 32, 32))


def test_level_norm_keeps_statistics_apart() -> None:
    norm = LevelNorm(4, 2).train()
    norm(torch.randn(8, 4, 5, 5) + 7, 0)
    assert norm.norms[0].running_mean.abs().min() > 0.5  # type: ignore[union-attr,operator]
    assert norm.norms[1].running_mean.tolist() == [0, 0, 0, 0]  # type: ignore[union-attr,operator]


def test_group_norm_of_any_width() -> None:
    assert [SharedNorm(c).num_groups for c in (1, 7, 16, 32, 48, 64, 100, 256)] == [1, 1, 8, 16, 16, 32, 4, 32]


def test_group_norm_does_not_wipe_out_a_level_of_one_cell() -> None:
    assert SharedNorm(32)(torch.randn(1, 32, 1, 1)).abs().max() > 0.5


def test_one_mean_serves_all_bands_when_their_number_differs(make_gfl: Callable[..., GFL]) -> None:
    assert make_gfl(in_chans=4).mean.flatten().tolist() == pytest.approx([(0.485 + 0.456 + 0.406) / 3] * 4)
    assert make_gfl(in_chans=1, mean=(0.1,), std=(0.5,)).std.flatten().tolist() == [0.5]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"levels": (1, 3)}, "levels"),
        ({"levels": (5, 4)}, "levels"),
        ({"levels": (6, 7)}, "levels"),
        ({"convs": "sparse"}, "convs"),
        ({"norm": "ln"}, "norm"),
        ({"backbone": "resnet17"}, "resnet17"),
        ({"classes": ()}, "class"),
    ],
)
def test_bad_architectures_are_told_in_one_line(
    make_gfl: Callable[..., GFL], fields: dict[str, object], word: str
) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        make_gfl(**fields)
    assert "\n" not in str(caught.value)


def test_presets_are_architectures() -> None:
    assert {"gfl_r101", "gfl_r18", "gfl_lite2", "gfl_mnv3s_050"} <= set(PRESETS)
    assert all(isinstance(config, GFLConfig) for config in PRESETS.values())
    assert PRESETS["gfl_r101"] == GFLConfig("resnet101", levels=(3, 7), neck_channels=256, head_depth=4, reg_max=16)


def test_the_middle_of_the_head_is_seen_and_costs_nothing(make_gfl: Callable[..., GFL]) -> None:
    model = make_gfl(head_depth=2)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        known = model.knowledge(images)
        plain = model.head(model.neck(model.backbone((images - model.mean) / model.std)))
    assert known.dense is not None
    assert known.head is not None
    assert torch.equal(known.dense.logits, plain.logits)
    assert [c.shape[1:] for c, _ in known.head.maps] == [(32, 8, 8), (32, 4, 4), (32, 2, 2)]
    unseen = model.head_view()
    assert (unseen.widths, unseen.maps) == ((32, 32), ())
    assert torch.equal(unseen.finish(known.head.maps, (0, 1, 2)).boxes, plain.boxes)

    def operations(run: Callable[[], object]) -> int:
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            run()
        return counter.get_total_flops()

    whole = operations(lambda: model.knowledge(images))
    parts = operations(lambda: model.head(model.neck(model.backbone((images - model.mean) / model.std))))
    assert whole == parts > 0
