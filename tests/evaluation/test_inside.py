"""The report's section on looks inside: numbers read back from metrics.csv, and what is shown of them."""

import json

import pytest
from PIL import Image

from skystill.evaluation.inside import binding_figure, binding_names, by_size, curve, inside_section, series
from skystill.evaluation.runs import Run, read_runs

HEAD = (
    "epoch,step,train/loss,grad_neck/ccd,grad_neck/qfl,grad_head/ccd,grad_head/qfl,teacher/iou,student/iou,"
    "alpha_entropy/small,alpha_small/0_0,alpha_small/0_1,alpha_entropy/none,alpha_none/0_0,alpha_none/0_1\n"
)
LOOKS = (
    "0,0,,3,1,0,2,0.8,0.1,1,0.5,0.5,,,\n"
    "0,2,,5,1,0,4,0.8,0.1,0.5,0.9,0.1,0,1,0\n"
    "0,3,7.5,,,,,,,,,,,,\n"  # the epoch's own row
    "1,4,,30,1,0,3,0.9,0.2,0.4,0.8,0.2,,,\n"
    "2,6,,4,1,0,3,,,,,,0,0.75,0.25\n"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"name": "tiny", "method": "ltd", "seed": 0}))
    (tmp_path / "metrics.csv").write_text(HEAD + LOOKS)
    (tmp_path / "inside").mkdir()
    for epoch in (1, 2, 3):
        Image.new("RGB", (8, 8), "red").save(tmp_path / "inside" / f"epoch_{epoch:03d}.png")
    return tmp_path


@pytest.fixture
def run(folder):
    return read_runs([folder])[0]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_curves_are_told_by_step(run):
    assert curve(run, "teacher/iou") == [(0, 0.8), (2, 0.8), (4, 0.9)]
    assert list(series(run, "grad_neck/")) == ["ccd", "qfl"]
    assert series(run, "grad_head/")["qfl"] == [(0, 2), (2, 4), (4, 3), (6, 3)]
    assert (curve(run, "nothing"), series(run, "nothing")) == ([], {})


def test_bindings_are_means_over_an_epochs_looks(run):
    assert binding_names(run) == ["alpha"]
    found = by_size(run, "alpha", 0)
    assert list(found) == ["small", "none"]
    assert found["small"] == [pytest.approx([0.7, 0.3])]
    assert found["none"] == [[1, 0]]
    assert by_size(run, "alpha", 2) == {"none": [[0.75, 0.25]]}
    assert by_size(run, "alpha", 9) == {}


def test_the_binding_is_shown_by_size_from_the_first_to_the_last_epoch(run):
    figure = binding_figure(run, "alpha")
    shown = {axes.get_title(loc="left"): texts(axes) for axes in figure.axes if axes.axison}
    assert shown == {
        "small, epoch 1": ["0.70", "0.30"],
        "small, epoch 2": ["0.80", "0.20"],
        "none, epoch 1": ["1.00", "0.00"],
        "none, epoch 3": ["0.75", "0.25"],
    }


def test_the_section_holds_gradients_as_shares_curves_bindings_and_two_pictures(run):
    (section,) = inside_section([run])
    (table,) = section.tables
    assert table.columns == ["term", "neck", "share of neck", "head", "share of head"]
    assert table.rows == [["ccd", "4.5", "82%", "0", "0%"], ["qfl", "1", "18%", "3", "100%"]]  # medians
    captions = [words for _, words in section.images]
    assert [words.removeprefix("tiny ltd seed 0") for words in captions] == [
        ": length of each term's gradient",
        ": what teacher and student know, mean over objects",
        ": entropy of the binding by size of the objects",
        ": alpha by size of the objects",
        ", epoch 1: where a few training views were taught, and where teacher and truth disagree",
        ", epoch 3: where a few training views were taught, and where teacher and truth disagree",
    ]
    kinds = [uri.split(";")[0] for uri, _ in section.images]
    assert kinds == ["data:image/svg+xml"] * 4 + ["data:image/jpeg"] * 2


def test_runs_that_were_not_looked_into_have_no_section(run, folder, tmp_path):
    plain = Run(tmp_path / "elsewhere", run.metrics, [{"epoch": 0, "step": 3, "train/loss": 1.0, "alpha/0_0": 1.0}])
    assert inside_section([plain]) == []
    (section,) = inside_section([plain, run])
    assert len(section.images) == 6
    pictures = Run(folder, run.metrics, [])
    assert len(inside_section([pictures])[0].images) == 2
    assert inside_section([pictures])[0].tables == []
