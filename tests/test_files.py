"""Files that one process at a time has to itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from skystill import files
from skystill.files import alone_at

HOLD = """
import sys, time
from pathlib import Path
from skystill.files import alone_at
with alone_at(Path(sys.argv[1])) as alone:
    print(alone, flush=True)
    time.sleep(600)
"""


def test_a_process_that_is_killed_leaves_its_file_to_others(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "made"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    with alone_at(path) as alone:
        assert not alone
    process.kill()
    process.wait()
    with alone_at(path) as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks_everyone_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: object, how: int) -> None:
        raise OSError("no locks available")

    fcntl = pytest.importorskip("fcntl")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refused)
        with alone_at(tmp_path / "made") as one, alone_at(tmp_path / "made") as other:
            assert one
            assert other
        with alone_at(tmp_path / "no folder" / "made") as alone:
            assert alone
    monkeypatch.setattr(files, "fcntl", None)
    with alone_at(tmp_path / "made") as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_fails_gives_its_file_back(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "made"
    with pytest.raises(error), alone_at(path):
        raise error
    with alone_at(path) as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []
