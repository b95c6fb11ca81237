"""What the figures hold: lines, labels, numbers, and files that repeat."""

import base64
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex

from skystill.evaluation.coco import CocoScores
from skystill.evaluation.curves import binding_matrices, matrix_grid, step_lines, training_curves
from skystill.evaluation.figures import PALETTE, figure_to_svg, svg_data_uri
from skystill.evaluation.plots import compare_bars, confusion, cost_scatter, pr_curves


def scores(**curves):
    nan = math.nan
    per_class = {name: {"ap50": 100 * float(np.mean(curve))} for name, curve in curves.items()}
    return CocoScores(nan, 62.5, nan, nan, nan, nan, nan, per_class, curves)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_pr_curves_draw_each_class_with_objects_and_the_mean():
    figure = pr_curves(scores(ship=[1.0] * 101, plane=[0.5] * 101, harbour=[math.nan] * 101))
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["ship  100.0", "plane  50.0", "mean  62.5"]
    assert lines["mean  62.5"].get_ydata() == pytest.approx([0.75] * 101)
    assert lines["ship  100.0"].get_xdata() == pytest.approx(np.linspace(0, 1, 101))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")


def test_pr_curve_of_one_class_has_no_mean():
    (axes,) = pr_curves(scores(ship=[1.0] * 101)).axes
    assert len(axes.get_lines()) == 1


def test_many_classes_differ_in_colour_or_dash():
    (axes,) = pr_curves(scores(**{f"class {i}": [i / 20] * 101 for i in range(18)})).axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()[:-1]}
    assert len(looks) == 18


def test_confusion_shows_counts_and_shades_shares():
    (axes,) = confusion([[6, 2, 2], [0, 0, 0], [3, 1, 0]], ["ship", "plane"]).axes
    assert texts(axes) == ["6", "2", "2", "0", "0", "0", "3", "1", "0"]
    assert axes.images[0].get_array().data == pytest.approx(np.array([[0.6, 0.2, 0.2], [0, 0, 0], [0.75, 0.25, 0]]))
    assert ticks(axes.xaxis) == ticks(axes.yaxis) == ["ship", "plane", "background"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("detected as", "truth")


RUNS = {
    "alone": [{"epoch": 0, "loss": 3.0}, {"epoch": 1, "loss": 2.0, "val/ap": 10.0}, {"epoch": 2, "loss": 1.0}],
    "LTD": [{"epoch": e, "loss": 2.0 - e / 2, "val/ap": 5.0 * e} for e in range(3)],
}


def test_training_curves_have_a_panel_per_quantity_and_a_line_per_run():
    figure = training_curves(RUNS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "val/ap"]
    assert [[line.get_label() for line in axes.get_lines()] for axes in figure.axes] == [["alone", "LTD"]] * 2
    assert figure.axes[1].get_lines()[0].get_xydata().tolist() == [[2, 10]]
    assert figure.axes[1].get_lines()[1].get_xydata().tolist() == [[1, 0], [2, 5], [3, 10]]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["alone", "LTD"]


def test_training_curves_of_chosen_columns_over_steps():
    rows = [{"step": 10, "a": 1.0, "b": 2.0}, {"step": 20, "a": 1.5, "b": 2.0}]
    (axes,) = training_curves({"run": rows}, columns=["b", "not there"]).axes
    assert axes.get_title(loc="left") == "b"
    assert axes.get_xlabel() == "step"
    assert axes.get_lines()[0].get_xdata().tolist() == [10, 20]


def test_training_curves_without_rows_are_empty():
    figure = training_curves({"run": []})
    assert figure.axes == []
    assert figure.legends == []


def test_binding_matrices_name_levels_and_share_a_scale():
    figure = binding_matrices({"alpha": [[0.5, 0.25, 0.25], [0, 1, 0]], "beta": [[2.0]]}, first_level=4)
    first, second = figure.axes
    assert texts(first) == ["0.50", "0.25", "0.25", "0.00", "1.00", "0.00"]
    assert (ticks(first.yaxis), ticks(first.xaxis)) == (["P4", "P5"], ["P4", "P5", "P6"])
    assert (first.get_ylabel(), first.get_xlabel()) == ("student level", "teacher level")
    assert (second.get_ylabel(), second.get_xlabel()) == ("calibrated level", "student level")
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["alpha", "beta"]


def test_numbers_stand_out_from_their_cell():
    (axes,) = binding_matrices({"alpha": [[0.0, 1.0]]}).axes
    assert [to_hex(text.get_color()) for text in axes.texts] == ["#222222", "#ffffff"]


def test_matrix_grid_puts_each_matrix_in_its_place_on_one_scale():
    matrices = {("small", "epoch 1"): [[0.5, 0.5]], ("large", "epoch 9"): [[0.0, 2.0]]}
    figure = matrix_grid("ltd_beta", ["small", "large"], ["epoch 1", "epoch 9"], matrices)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == ["small, epoch 1", "large, epoch 9"]
    assert [figure.axes.index(axes) for axes in shown] == [0, 3]
    assert [texts(axes) for axes in shown] == [["0.50", "0.50"], ["0.00", "2.00"]]
    assert {axes.images[0].get_clim() for axes in shown} == {(0, 2)}
    assert {(axes.get_ylabel(), axes.get_xlabel()) for axes in shown} == {("calibrated level", "student level")}
    (axes,) = matrix_grid("alpha", ["a"], ["b"], {("a", "b"): [[1.0]]}).axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("student level", "teacher level")


def test_step_lines_have_a_panel_a_quantity_and_a_colour_a_name():
    figure = step_lines(
        {"neck": {"ccd": [(0, 1.0), (5, 0.0), (10, 0.1)], "gone": [(0, 0.0)]}, "head": {"sem": [(0, 2.0)]}}, log=True
    )
    neck, head = figure.axes
    assert [line.get_label() for line in neck.get_lines()] == ["ccd"]  # what is never above 0 has no line
    assert neck.get_lines()[0].get_xydata().tolist() == [[0, 1.0], [10, 0.1]]
    assert head.get_lines()[0].get_xydata().tolist() == [[0, 2.0]]
    assert [to_hex(axes.get_lines()[0].get_color()) for axes in figure.axes] == [PALETTE[0].lower(), PALETTE[2].lower()]
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ccd", "sem"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["neck", "head"]


def test_many_steps_are_pale_behind_their_running_mean():
    points = [(float(k), k % 2) for k in range(45)]
    (axes,) = step_lines({"entropy": {"small": points}}).axes
    pale, mean = axes.get_lines()
    assert pale.get_xydata().tolist() == [list(p) for p in points]
    assert mean.get_xdata().tolist() == list(range(1, 44))
    assert mean.get_ydata() == pytest.approx(
        [(points[k - 1][1] + points[k][1] + points[k + 1][1]) / 3 for k in range(1, 44)]
    )
    assert (axes.get_yscale(), axes.get_ylim()) == ("linear", (0, 1.02))
    (empty,) = step_lines({}).axes
    assert not empty.has_data()


def test_compare_bars_show_the_mean_and_each_seed():
    nan = math.nan
    groups = {
        "alone": {"AP": [40.0, 42.0], "AP50": [60.0], "AP L": [nan, nan]},
        "LTD": {"AP": [45.0, 46.0, nan], "AP50": [nan]},
    }
    (axes,) = compare_bars(groups, unit="score").axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights[0] == [41, 60]
    assert heights[1][0] == 45.5
    assert math.isnan(heights[1][1])
    assert texts(axes) == ["41.0", "60.0", "45.5"]
    assert [line.get_ydata().tolist() for line in axes.get_lines()] == [[40, 42], [45, 46]]
    assert ticks(axes.xaxis) == ["AP", "AP50"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["alone", "LTD"]
    assert to_hex(axes.containers[1][0].get_facecolor()) == PALETTE[1].lower()


def test_files_repeat_and_parse():
    figures = [pr_curves(scores(ship=[1.0] * 101)) for _ in range(3)]
    first = figure_to_svg(figures[0])
    assert figure_to_svg(figures[1]) == first
    assert ElementTree.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"
    head, data = svg_data_uri(figures[2]).split(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == first


def test_figures_leave_the_users_style_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure_to_svg(confusion([[1, 0], [0, 1]], ["ship"]))
    assert dict(matplotlib.rcParams) == before


def test_names_of_points_do_not_cover_each_other():
    close = {"cwd": (4.8, 12.2), "pkd": (5.0, 12.1), "alone": (4.2, 6.0), "late": (9.0, 12.15)}
    (axes,) = cost_scatter(close, "minutes", "AP").axes
    tops = {
        text.get_text(): axes.transData.transform(text.xy)[1] * 72 / axes.figure.dpi + text.xyann[1]
        for text in axes.texts
    }
    assert set(tops) == set(close)
    assert abs(tops["cwd"] - tops["pkd"]) >= 9 - 1e-6
    assert axes.get_ylim()[0] >= 0
