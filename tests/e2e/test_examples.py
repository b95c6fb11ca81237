"""Every example runs as its docstring says, and prints what it promises."""

import re
import runpy
import sys
from pathlib import Path

import pytest

import skystill
from skystill.distillation.method import Method
from skystill.testing import DetectorContract, MethodContract

EXAMPLES = Path(__file__).parents[2] / "examples"
# Example -> arguments, and what its output must hold.
RUNS: dict[str, tuple[list[str], list[str]]] = {
    "five_lines": ([], [r"^qfl +\d", r"^ccd +\d", r"^sem +\d", r"^loc +\d"]),
    "plain_loop": (
        ["2"],
        [r"^step 0: qfl", r"^step 1: qfl .* ccd .* gates .* sem .* loc", r"^beta$", r"^alpha$", "saved"],
    ),
    "own_method": ([], [r"'same_level': \d"]),
    "own_detector": (
        [],
        [r"'classification': .*'bbox_regression': .*'ccd': .*'sem': .*'loc': \d", "detections in noise"],
    ),
    "export_and_detect": ([], [r"MiB, compared: .*'detections': [1-9]", r"^ship 0\.0\d+ \["]),
}


@pytest.mark.parametrize("name", RUNS)
def test_example_prints_what_it_promises(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options, expected = RUNS[name]
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *options])
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    for pattern in expected:
        assert re.search(pattern, printed, re.MULTILINE), (pattern, printed)
    assert "nan" not in printed


def test_every_example_is_run() -> None:
    elsewhere = {"nwpu_to_voc"}  # by test_recipes.py
    assert {p.stem for p in EXAMPLES.glob("*.py")} == set(RUNS) | elsewhere


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_docstring_names_its_own_command(path: Path) -> None:
    assert f"    python examples/{path.name}" in path.read_text().split('"""')[1]


class TestOwnDetector(DetectorContract):
    steps = 3

    def make(self) -> skystill.Detector:
        made: skystill.Detector = runpy.run_path(str(EXAMPLES / "own_detector.py"))["FCOSDetector"](("ship", "plane"))
        return made


class TestOwnMethod(MethodContract):
    def make(self) -> Method:
        made: Method = runpy.run_path(str(EXAMPLES / "own_method.py"))["SameLevel"]()
        return made
