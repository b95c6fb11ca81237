"""Packages that bring detectors and methods of their own, as the verbs find them."""

import sys
from pathlib import Path

import pytest

from skystill.cli.main import main
from skystill.distillation import methods
from skystill.errors import ConfigError
from skystill.plugins import load_plugins

METHOD = """
from skystill.distillation.methods import METHODS
from skystill.distillation.peers.pkd import PKD

class Mine(PKD):
    pass

METHODS["mine"] = Mine
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package whose one module is a plugin."""
    (tmp_path / "my_method.py").write_text(METHOD)
    (info := tmp_path / "mine-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[skystill]\nmine = my_method\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    yield tmp_path
    sys.modules.pop("my_method", None)


def test_the_verbs_know_what_an_installed_package_brings(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = package / "recipe.yaml"
    recipe.write_text("data: {format: synthetic}\nteacher: {weights: [none.safetensors]}\nmethod: {name: mine}\n")
    assert main(["distill", str(recipe), "--no_doctor"]) == 2
    assert "none.safetensors: no such weights file" in capsys.readouterr().err  # and not: no such method
    assert "mine" in methods.METHODS


def test_one_that_cannot_be_imported_is_named(package: Path) -> None:
    (package / "my_method.py").write_text("import no_such_library\n")
    with pytest.raises(
        ConfigError, match=r"plugin my_method of mine cannot be imported \(ModuleNotFoundError: .*Mend it"
    ):
        load_plugins()


def test_help_needs_no_plugin(package: Path) -> None:
    (package / "my_method.py").write_text("raise RuntimeError\n")
    assert main(["predict", "--help"]) == 0
