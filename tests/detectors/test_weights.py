import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import skystill
from skystill.detectors.gfl import GFL
from skystill.detectors.weights import create, load, read_header, save
from skystill.errors import ConfigError, WeightsError

MakeGFL = Callable[..., GFL]


@pytest.fixture
def saved(make_gfl: MakeGFL, tmp_path: Path) -> Path:
    return save(make_gfl(4), tmp_path / "model.safetensors")


def test_what_is_loaded_predicts_bit_for_bit_what_was_saved(make_gfl: MakeGFL, tmp_path: Path) -> None:
    for fields in ({}, {"levels": (3, 6), "norm": "gn", "in_chans": 4, "mean": (0.1, 0.2, 0.3, 0.4), "reg_max": 8}):
        model = make_gfl(4, **fields)
        model.train()(torch.rand(2, model.in_chans, 64, 64))  # running statistics that are no longer the initial ones
        again = load(save(model.eval(), tmp_path / "deep" / "folder" / "m.safetensors"))
        assert isinstance(again, GFL)
        assert not again.training
        assert (again.classes, again.kind, again.architecture) == (model.classes, model.kind, model.architecture)
        image = torch.rand(1, model.in_chans, 64, 64)
        with torch.no_grad():
            for a, b in zip(model.raw(image), again.raw(image), strict=True):
                assert torch.equal(a, b)


def test_the_header_tells_the_architecture_and_the_notes(make_gfl: MakeGFL, tmp_path: Path) -> None:
    header = read_header(save(make_gfl(), tmp_path / "m.safetensors", notes={"AP": 0.25}))
    assert header["family"] == "gfl"
    assert header["classes"] == ["ship", "plane", "car"]
    assert header["config"]["levels"] == [3, 5]
    assert header["notes"] == {"AP": 0.25}
    with pytest.raises(ConfigError, match="notes: Object of type Tensor is not JSON serializable"):
        save(make_gfl(), tmp_path / "other.safetensors", notes={"AP": torch.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    assert header["version"] == skystill.__version__


def test_half_precision_halves_the_file_and_comes_back_as_float32(make_gfl: MakeGFL, tmp_path: Path) -> None:
    model = make_gfl()
    full, half = save(model, tmp_path / "f.safetensors"), save(model, tmp_path / "h.safetensors", half=True)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    again = load(half)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_saving_leaves_one_whole_file_and_the_model_as_it_was(make_gfl: MakeGFL, tmp_path: Path) -> None:
    model = make_gfl()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    save(model, tmp_path / "m.safetensors", half=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_folder_that_cannot_be_made_is_told(make_gfl: MakeGFL, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match="cannot be written"):
        save(make_gfl(), tmp_path / "file" / "m.safetensors")


def rewritten(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, object]], None]) -> Path:
    """The file with its tensors or its header changed."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["skystill"])
    state = load_file(path)
    change(state, header)
    save_file(state, path, metadata={"skystill": json.dumps(header)})
    return path


def missing(path: Path) -> None:
    rewritten(path, lambda state, _: state.pop("head.cls.weight"))  # type: ignore[arg-type,return-value]


def extra(path: Path) -> None:
    rewritten(path, lambda state, _: state.update(stranger=torch.zeros(1)))


def other_shape(path: Path) -> None:
    rewritten(path, lambda state, _: state.update({"head.cls.bias": torch.zeros(9)}))


def other_family(path: Path) -> None:
    rewritten(path, lambda _, header: header.update(family="yolo"))


def newer_config(path: Path) -> None:
    rewritten(path, lambda _, header: header["config"].update(attention="full"))  # type: ignore[attr-defined]


def no_classes(path: Path) -> None:
    rewritten(path, lambda _, header: header.pop("classes"))  # type: ignore[arg-type,return-value]


def no_header(path: Path) -> None:
    save_file(load_file(path), path)


def broken_header(path: Path) -> None:
    save_file(load_file(path), path, metadata={"skystill": "{not json"})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def nothing_in_it(path: Path) -> None:
    path.write_bytes(b"")


def pickle_instead(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (missing, "'head.cls.weight' does not fit"),
        (extra, "'stranger' does not fit"),
        (other_shape, "'head.cls.bias' does not fit"),
        (other_family, "family 'yolo' is unknown"),
        (newer_config, "whose architecture this one lacks"),
        (no_classes, "header"),
        (no_header, "no skystill header"),
        (broken_header, "header"),
        (cut, "truncated"),
        (cut_in_the_header, "truncated"),
        (nothing_in_it, "truncated"),
        (pickle_instead, "not a safetensors file"),
        (Path.unlink, "no such weights file"),
    ],
)
def test_each_harm_to_a_file_is_told_in_one_line(saved: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(saved)
    with pytest.raises(WeightsError, match=message) as caught:
        load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_create_overrides_parts_of_a_preset() -> None:
    made = create("gfl_mnv3s_050", ["ship"], in_chans=1, levels=[3, 4], neck_channels=32)
    assert (made.in_chans, made.architecture.levels, made.architecture.neck_channels) == (1, (3, 4), 32)
    assert made.architecture.convs == "depthwise"


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("gfl_r19", {}, "'gfl_r19' is unknown; the presets are gfl_r101"),
        ("gfl_mnv3s_050", {"depth": 3}, "'depth' is no part of a gfl_mnv3s_050; its parts are anchor_scale"),
    ],
)
def test_create_tells_what_it_does_not_know(preset: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(preset, ["ship"], **overrides)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own.pt", "such files can run code"),
        ("fcos.pth", "such files can run code"),
        ("y.onnx", "an exported detector has no layers to train"),
        ("saved", "is a folder. A model that transformers saved so"),
        ("run", "is the folder of a run. Give student.safetensors in it"),
    ],
)
def test_what_other_tools_wrote_is_told_its_way_in(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "student.safetensors").touch()
    with pytest.raises(WeightsError, match=words) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_a_run_points_to_its_weights(tmp_path: Path) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    for name in (None, "best.safetensors", "student.safetensors"):
        if name:
            (tmp_path / "run" / name).touch()
        with pytest.raises(WeightsError) as caught:
            load(last)
        told = f"Give the run's weights, {tmp_path / 'run' / name}." if name else "such files can run code"
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)
