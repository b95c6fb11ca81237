"""The verbs with detectors of another family, as teacher and as student."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.models import detection

import skystill
from skystill.cli.main import main
from skystill.detectors.weights import load

Capture = pytest.CaptureFixture[str]
TINY = {"neck_channels": 16, "head_channels": 16, "head_depth": 1}
TWO_STAGE = ["--detector.preset", "tv_fasterrcnn_lite2", "--detector.settings"]
TWO_STAGE += ["{backbone: mobilenetv3_small_050, width: 32}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a teacher of either family, a recipe, and an SSDlite taught by the GFL."""
    root = tmp_path_factory.mktemp("families")
    assert main(["data", "synth", str(root / "scenes"), "--scenes", "4", "--size", "96", "--seed", "3"]) == 0
    classes = [c["name"] for c in json.loads((root / "scenes" / "train.json").read_text())["categories"]]
    torch.manual_seed(0)
    teachers = {
        "gfl": skystill.create("gfl_mnv3s_050", classes, **TINY),
        "fasterrcnn": skystill.create("tv_fasterrcnn_r50", classes, model="fasterrcnn_mobilenet", backbone=""),
    }
    for name, teacher in teachers.items():
        skystill.save(teacher, root / f"{name}.safetensors", half=True)
    recipe = {
        "data": {"root": str(root / "scenes"), "batch": 2, "workers": 0, "crop": 96}
        | dict.fromkeys(("train", "val"), "train.json"),
        "detector": {"preset": "tv_ssdlite", "freeze": 1},
        "optim": {"warmup": 1},
        "trainer": {"epochs": 1, "accelerator": "cpu"},
    }
    (root / "ssd.yaml").write_text(yaml.safe_dump(recipe))
    assert distil(root, "ssd", "gfl.safetensors") == 0
    return root


def distil(place: Path, out: str, teacher: str, *options: str) -> int:
    """Without the doctor's looks, for these teachers have hardly learned."""
    words = [
        str(place / "ssd.yaml"),
        "--no_doctor",
        "--out",
        str(place / out),
        "--teacher.weights",
        f"[{place / teacher}]",
    ]
    return main(["distill", *words, *options])


def test_a_distilled_ssdlite_is_torchvisions_own(place: Path) -> None:
    metrics = json.loads((place / "ssd" / "metrics.json").read_text())
    assert (metrics["method"], metrics["cost"]["gflops"] > 0) == ("ltd", True)
    student = load(place / "ssd" / "student.safetensors")
    plain = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=len(student.classes) + 1
    )
    plain.load_state_dict(student.model.state_dict(), strict=True)  # type: ignore[union-attr, arg-type, operator]
    with torch.no_grad():
        assert plain.eval()([torch.rand(3, 96, 96)])[0].keys() == {"boxes", "labels", "scores"}


def test_it_is_evaluated_and_predicts_and_asks_for_its_size_to_be_exported(place: Path, capsys: Capture) -> None:
    weights, recipe = str(place / "ssd" / "student.safetensors"), str(place / "ssd" / "recipe.yaml")
    assert main(["evaluate", weights, recipe, "--split", "val", "--save", str(place / "val")]) == 0
    assert "M parameters" in capsys.readouterr().out
    assert main(["export", weights]) == 2
    assert "anchors grow with the image. Give --size" in capsys.readouterr().err
    out = place / "seen"
    assert main(["predict", weights, str(place / "scenes"), "--out", str(out), "--score", "0.001"]) == 0
    assert len(json.loads((out / "detections.json").read_text())["images"]) == 4


def test_a_two_stage_teacher_teaches_and_predicts_but_is_not_exported(place: Path, capsys: Capture) -> None:
    weights = str(place / "fasterrcnn.safetensors")
    settings = ["--detector.preset", "gfl_mnv3s_050", "--detector.settings", json.dumps(TINY)]
    kept = ["--data.replay", "1", "--teacher.cache", str(place / "lessons")]
    assert distil(place, "gfl", "fasterrcnn.safetensors", *settings, *kept) == 0
    assert list((place / "lessons").glob("shard-*"))
    logged = (place / "gfl" / "metrics.csv").read_text().splitlines()[0]
    assert {"train/ccd", "train/gates", "train/sem", "train/loc"} <= set(logged.split(","))
    assert load(place / "gfl" / "student.safetensors").family == "gfl"
    out = place / "found"
    assert main(["predict", weights, str(place / "scenes"), "--out", str(out), "--score", "0.01"]) == 0
    capsys.readouterr()
    assert main(["export", weights]) == 2
    told = capsys.readouterr().err
    assert "second stage sees depends on the image. Let it teach a one-stage student" in told
    assert told.count("\n") == 1
    assert not list(place.glob("fasterrcnn.onnx"))


def test_a_two_stage_student_learns_in_both_stages(place: Path) -> None:
    run = place / "two"
    student = ["--detector.preset", "tv_fasterrcnn_r50"]
    student += ["--detector.settings", "{model: fasterrcnn_mobilenet, backbone: ''}"]
    assert distil(place, "two", "gfl.safetensors", *student) == 0
    logged = (run / "metrics.csv").read_text().splitlines()[0]
    assert {"train/loss_objectness", "train/sem", "train/loc", "train/roi_sem", "train/roi_loc"} <= set(
        logged.split(",")
    )


def test_a_set_predictor_learns_teaches_and_predicts(place: Path, capsys: Capture) -> None:
    pytest.importorskip("transformers")
    recipe, run = str(place / "ssd.yaml"), place / "rtdetr"
    settings = json.dumps({"config": {"num_queries": 20, "decoder_layers": 2, "num_denoising": 4}})
    assert (
        distil(
            place, "rtdetr", "gfl.safetensors", "--detector.preset", "hf_rtdetrv2_r18", "--detector.settings", settings
        )
        == 0
    )
    logged = (run / "metrics.csv").read_text().splitlines()[0]
    assert {"train/vfl", "train/giou", "train/ccd", "train/sem", "train/loc"} <= set(logged.split(","))
    weights = str(run / "student.safetensors")
    capsys.readouterr()
    assert main(["doctor", recipe, "--teacher.weights", f"[{weights}]"]) == 0
    assert "the teacher, a set predictor, finds is told" in " ".join(capsys.readouterr().out.split())
    cached = ["--teacher.cache", str(place / "said"), "--data.replay", "1", "--data.crop", "64"]
    assert distil(place, "taught", "rtdetr/student.safetensors", *cached) == 0
    assert (place / "said" / "shard-00000.safetensors").exists()
    out = place / "queries"
    assert main(["predict", weights, str(place / "scenes"), "--out", str(out), "--score", "0.01"]) == 0
    assert len(json.loads((out / "detections.json").read_text())["detections"]) > 0
    capsys.readouterr()
    assert main(["export", weights]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_yolo_learns_from_either_by_the_verbs(place: Path, capsys: Capture) -> None:
    pytest.importorskip("ultralytics")
    run = place / "yolo"
    options = ["--detector.preset", "ul_yolo11n", "--detector.freeze", "2", "--detector.freeze_norms", "true"]
    assert distil(place, "yolo", "gfl.safetensors", *options) == 0
    logged = set((run / "metrics.csv").read_text().splitlines()[0].split(","))
    assert {f"train/{name}" for name in ("box_loss", "cls_loss", "dfl_loss", "ccd", "sem", "loc")} <= logged
    weights = str(run / "student.safetensors")
    assert load(weights).config() == {"model": "yolo11n", "in_chans": 3, "end2end": False}
    assert main(["evaluate", weights, str(run / "recipe.yaml"), "--split", "val"]) == 0
    assert "2.59 M parameters" in capsys.readouterr().out
    out = place / "yolo_seen"
    assert main(["predict", weights, str(place / "scenes"), "--out", str(out), "--score", "0.001"]) == 0
    assert len(json.loads((out / "detections.json").read_text())["images"]) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detector.preset", "tv_ssd"], "preset 'tv_ssd' is unknown; the presets are gfl"),
        (["--detector.settings", "{neck_channels: 16}"], "'neck_channels'"),
        (["--detector.settings", "{in_chans: three}"], "in_chans"),
        (["--detector.preset", "ul_yolo11n", "--detector.settings", "{model: mine.yaml}"], "'mine.yaml' is unknown"),
        (["--detector.settings", "{backbone: resnet18}"], "ssdlite has its own, mobilenet_v3_large"),
        (["--teacher.cache", "cache", *TWO_STAGE], "holds no second stages"),
        (["--method.name", "ld"], "the student's head has none. Methods that do without them: ltd"),
        (["--method.name", "crosskd"], "head cannot be opened"),
    ],
)
def test_faults_reach_the_user_as_one_line(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = f"[{place}/fasterrcnn.safetensors]"
    command = ["distill", str(place / "ssd.yaml"), "--out", str(tmp_path / "run"), "--teacher.weights", weights]
    assert main([*command, "--data.replay", "1", *options] if "cache" in options else [*command, *options]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()
