"""Runs read back from their folders, and the tables, bars and page made of them."""

import io
import json
import math
from html.parser import HTMLParser

import pytest
from rich.console import Console

from skystill.contention import NOTE
from skystill.errors import DataError
from skystill.evaluation.compare import (
    compare_markdown,
    compare_plot,
    compare_table,
    errors_plot,
    gap_closed,
    missed_plot,
    text_of,
)
from skystill.evaluation.errors import KINDS
from skystill.evaluation.report import Section, TableData, write_report
from skystill.evaluation.runs import best_ap, other_images, read_curves, read_runs
from skystill.evaluation.sections import bindings_section, curves_section, errors_section, figures_text, scores_table


def write_run(folder, method="ltd", seed=0, ap=30.0, curves="", **more):
    folder.mkdir()
    scores = {"ap": ap, "ap50": ap + 20, "ap75": ap + 1, "ap_s": ap - 10, "ap_m": ap + 5, "ap_l": None}
    metrics = {
        "name": "tiny",
        "method": method,
        "seed": seed,
        "val": {"ap": 1.0},
        "test": scores,
        "step_s": 0.25,
        **more,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if curves:
        (folder / "metrics.csv").write_text(curves)
    return folder


@pytest.fixture
def runs(tmp_path):
    bindings = (
        "epoch,train/loss,val/ap,alpha/0_0,alpha/0_1,alpha/1_0,alpha/1_1\n"
        "0,3.0,,0.9,0.1,0.5,0.5\n0,,10.0,,,,\n1,2.0,,0.75,0.25,0,1\n1,,20.0,,,,\n"
    )
    return read_runs(
        [
            write_run(tmp_path / "a", "alone", 0, 30.0),
            write_run(tmp_path / "b", "alone", 1, 32.0),
            write_run(tmp_path / "c", "ltd", 0, 35.0, bindings),
        ]
    )


def printed(table, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_a_run_says_what_its_files_hold(runs):
    assert runs[2].label == "tiny ltd seed 0"
    assert runs[2].figure("ap50", "test") == 55
    assert math.isnan(runs[2].figure("ap_l", "test"))
    assert math.isnan(runs[2].figure("ap50", "val"))
    assert runs[2].curves[1] == {"epoch": 0, "val/ap": 10}
    assert runs[2].matrices() == {"alpha": [[0.75, 0.25], [0, 1]]}
    assert (runs[0].curves, runs[0].matrices()) == ([], {})


def test_gap_closed():
    assert gap_closed(teacher=50, alone=40, distilled=44) == pytest.approx(0.4)
    assert gap_closed(50, 40, 52) == pytest.approx(1.2)
    assert gap_closed(50, 40, 38) == pytest.approx(-0.2)
    assert math.isnan(gap_closed(40, 40, 41))
    assert math.isnan(gap_closed(teacher=40, alone=41, distilled=42))
    assert math.isnan(gap_closed(math.nan, 40, 41))


def test_table_shows_every_run_and_figure_and_fits_a_terminal(runs):
    text = printed(compare_table(runs), width=80)
    assert text.splitlines()[0].strip() == "tiny, test split"  # what all runs are called
    rows = [line.split() for line in text.splitlines() if line.strip().startswith(("alone", "ltd"))]
    assert rows == [
        ["alone", "0", "30.0", "50.0", "31.0", "20.0", "35.0", "-", "0.250", "-"],
        ["alone", "1", "32.0", "52.0", "33.0", "22.0", "37.0", "-", "0.250", "-"],
        ["ltd", "0", "35.0", "55.0", "36.0", "25.0", "40.0", "-", "0.250", "-"],
    ]


def test_the_best_of_each_figure_stands_out(runs):
    table = compare_table(runs)
    column = {c.header: list(c.cells) for c in table.columns}
    assert column["AP"] == ["30.0", "32.0", "[bold]35.0[/]"]
    assert column["AP L"] == ["-", "-", "-"]
    assert list(compare_table(runs[:1]).columns[2].cells) == ["30.0"]


def test_names_are_not_taken_for_markup(tmp_path):
    run = read_runs([write_run(tmp_path / "a", name="x[red]y[/]")])
    assert "x[red]y[/]" in printed(compare_table(run))


def test_markdown(runs):
    lines = compare_markdown(runs).splitlines()
    assert lines[0] == "| run | method | seed | AP | AP50 | AP75 | AP S | AP M | AP L | s/step | MiB |"
    assert lines[1].count("|") == lines[0].count("|")
    assert lines[4] == "| tiny | ltd | 0 | 35.0 | 55.0 | 36.0 | 25.0 | 40.0 | - | 0.250 | - |"


def test_seconds_that_other_programs_made_longer_are_marked(tmp_path, runs):
    busy = read_runs([write_run(tmp_path / "d", waited=0.4), write_run(tmp_path / "e", seed=1, waited=0.01)])
    *_, first, second, _, note = compare_markdown(busy).splitlines()
    assert ("| 0.250~ |" in first, "| 0.250 |" in second, note) == (True, True, NOTE)
    assert [row[-1] for row in scores_table(busy, "test").rows] == ["0.250~", "0.250"]
    assert scores_table(busy, "test").caption.endswith(NOTE)
    assert "0.250~" in printed(compare_table(busy))
    assert "~" not in compare_markdown(runs)


def test_a_page_holds_figures_and_no_points_of_curves(tmp_path):
    test = {"ap": 30.0, "curves": {"ship": [0.125] * 101}}
    (run,) = read_runs([write_run(tmp_path / "d", test=test)])
    assert "0.125" not in figures_text(run)
    assert json.loads(figures_text(run))["test"]["ap"] == 30.0
    assert run.metrics["test"] == test


def test_bars_group_the_seeds_of_a_method(runs):
    (axes,) = compare_plot(runs).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["alone", "ltd"]
    assert [bars[0].get_height() for bars in axes.containers] == [31, 35]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["AP", "AP50", "AP75", "AP S", "AP M"]
    assert axes.get_ylabel() == "score on test"


def test_half_a_row_is_no_obstacle(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,loss,lr\n0,1.5,0.1\n1,1.2e\n2,2.5,nope,7\n")
    assert read_curves(tmp_path / "metrics.csv") == [
        {"epoch": 0, "loss": 1.5, "lr": 0.1},
        {"epoch": 1},
        {"epoch": 2, "loss": 2.5},
    ]
    assert read_curves(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("content", "mend"),
    [
        (None, "Give folders that training wrote"),
        *((text, "Delete it and train with --resume") for text in ("{", "[]", '{"name": "a"}')),
    ],
)
def test_a_folder_that_is_no_run_gets_one_clear_line(tmp_path, content, mend):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(DataError, match=mend) as caught:
        read_runs([tmp_path])
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_for_tables():
    assert [text_of(1.25), text_of(0.12345, 3), text_of(math.nan), text_of(None)] == ["1.2", "0.123", "-", "-"]


def test_sections_of_runs(runs):
    table = scores_table(runs, "test")
    assert table.mark == 2
    assert table.rows[2][:2] == ["tiny ltd seed 0", "35.0"]
    assert scores_table(runs[:1], "test").mark is None
    (curves,) = curves_section(runs)
    assert curves_section(runs[:2]) == []
    assert curves.images[0][0].startswith("data:image/svg+xml;base64,")
    (bindings,) = bindings_section(runs)
    assert [caption for _, caption in bindings.images] == ["tiny ltd seed 0"]
    assert bindings_section(runs[:2]) == []


def test_runs_that_are_alike_are_told_apart_by_their_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    folders = [write_run(tmp_path / name / f"ltd-seed{seed}", seed=seed) for name in ("one", "two") for seed in (0, 1)]
    runs = read_runs(folders)
    assert [run.place for run in runs] == ["one", "one", "two", "two"]
    assert runs[2].label == "tiny ltd seed 0 in two"
    assert "| tiny | ltd | 1 | two | 30.0 |" in compare_markdown(runs)
    assert [c.header for c in compare_table(runs).columns][:3] == ["method", "seed", "in"]
    (axes,) = compare_plot(runs).axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["ltd in one", "ltd in two"]
    beside = read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b")])
    assert [run.place for run in beside] == ["a", "b"]
    with pytest.raises(DataError, match="given twice"):
        read_runs([folders[0], folders[0].parent / "." / folders[0].name])


def test_bars_of_other_recipes_stand_apart(tmp_path):
    runs = read_runs([write_run(tmp_path / "a", name="lite"), write_run(tmp_path / "b", name="heavy")])
    (axes,) = compare_plot(runs).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["lite ltd", "heavy ltd"]


def test_no_run_is_the_best_of_unlike_images_or_without_scores(tmp_path):
    def write(name, ap, objects):
        folder = write_run(tmp_path / name, name, ap=ap)
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["test"]["per_class"] = {"car": {"ap": ap, "objects": objects}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    runs = read_runs([write("a", 30.0, 7), write("b", 40.0, 7), write("c", 90.0, 3)])
    assert (best_ap(runs[:2], "test"), best_ap(runs, "test")) == (1, None)
    said = other_images(runs, "test")
    assert said.startswith(
        "not scored on the same test images: 7 objects for tiny a seed 0, 3 objects for tiny c seed 0."
    )
    assert said in compare_markdown(runs)
    assert scores_table(runs, "test").caption == said
    assert "[bold]" not in "".join(str(cell) for column in compare_table(runs).columns for cell in column.cells)
    empty = [write_run(tmp_path / name, name) for name in ("d", "e")]
    assert best_ap(read_runs(empty), "val2") is None


@pytest.fixture
def asked(tmp_path):
    """Two seeds alone and one distilled that say what they lost AP50 by, and an older run that does not."""

    def write(folder, method, seed, gain, missed):
        path = write_run(tmp_path / folder, method, seed)
        metrics = json.loads((path / "metrics.json").read_text())
        metrics["test"]["errors"] = {
            "ap50": 50.0,
            "dap50": {kind: gain + i for i, kind in enumerate(KINDS)},
            "counts": dict.fromkeys(KINDS, 7),
            "missed": {"small": missed, "medium": 1, "large": 0},
            "objects": {"small": 40, "medium": 10, "large": 0},
        }
        (path / "metrics.json").write_text(json.dumps(metrics))
        return path

    folders = [write("p", "alone", 0, 1.0, 10), write("q", "alone", 1, 3.0, 20), write("r", "ltd", 0, 0.5, 4)]
    return read_runs([*folders, write_run(tmp_path / "old", "fgd")])


def test_runs_say_what_they_lost_by_or_nothing(asked):
    assert asked[1].errors("test").dap50["missed"] == 8
    assert asked[1].errors("val") is None
    assert asked[3].errors("test") is None


def test_bars_of_errors_and_of_missed_objects(asked):
    (axes,) = errors_plot(asked).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"]
    assert [[bar.get_height() for bar in bars] for bars in axes.containers] == [
        [2, 3, 4, 5, 6, 7],
        [0.5, 1.5, 2.5, 3.5, 4.5, 5.5],
    ]
    assert axes.get_title(loc="left") == "What each kind of error costs (bar: mean, dot: seed)"
    (axes,) = missed_plot(asked).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["small", "medium"]
    assert [[bar.get_height() for bar in bars] for bars in axes.containers] == [[37.5, 10], [10, 10]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["alone", "ltd"]


def test_section_of_errors(asked):
    (section,) = errors_section(asked, "test")
    gains, counts, missed = section.tables
    assert gains.columns == ["run", *KINDS]
    assert gains.rows[1] == ["tiny alone seed 1", "3.0", "4.0", "5.0", "6.0", "7.0", "8.0"]
    assert counts.rows[2] == ["tiny ltd seed 0", *["7"] * 6]
    assert missed.rows[0] == ["tiny alone seed 0", "10 of 40", "1 of 10", "0 of 0"]
    assert [len(table.rows) for table in section.tables] == [3, 3, 3]
    assert len(section.images) == 2
    assert errors_section(asked[3:], "test") == []


class Page(HTMLParser):
    """Collects texts and attributes, and holds the page to closing what it opens."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.tags, self.attributes = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def test_the_page_holds_its_sections_and_needs_nothing_else(tmp_path):
    table = TableData(["run", "AP"], [["alone <0>", "30.0"], ["ltd", "35.0"]], mark=1, caption="on test")
    sections = [
        Section(
            "One & two", ["A < B."], [table], [("data:image/png;base64,AAAA", 'the "figure"')], {"raw": '{"a": "<b>"}'}
        ),
        Section("Empty"),
    ]
    path = write_report(tmp_path / "new" / "report.html", "Title <x>", "lead", sections)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    for place in [
        ("title", "Title <x>"),
        ("h1", "Title <x>"),
        ("h2", "One & two"),
        ("h2", "Empty"),
        ("p", "A < B."),
        ("caption", "on test"),
        ("th", "AP"),
        ("td", "alone <0>"),
        ("figcaption", 'the "figure"'),
        ("summary", "raw"),
        ("pre", '{"a": "<b>"}'),
    ]:
        assert place in page.texts
    assert ("img", "alt", 'the "figure"') in page.attributes
    assert [value for tag, name, value in page.attributes if (tag, name) == ("tr", "class")] == ["mark"]
    links = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert links == ["data:image/png;base64,AAAA"]
    assert "http" not in text
    assert "prefers-color-scheme: dark" in text
    assert ("meta", "name", "viewport") in page.attributes
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_report(tmp_path / "report.html", "t", "l", [])
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
