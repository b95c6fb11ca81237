"""Times that were taken while other programs held the cores are known for it."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skystill.contention import BUSY, is_busy, marked, waited, yield_cores


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="Linux tells")
def test_a_program_on_the_same_core_makes_this_one_wait() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # the other inherits it
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        start, before = time.perf_counter(), waited()
        while time.perf_counter() < start + 1:
            pass
        share = (waited() - before) / (time.perf_counter() - start)
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, cores)
    assert BUSY < share < 1


def test_waiting_is_not_known_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert math.isnan(waited())


@pytest.mark.parametrize(("share", "text"), [(0.5, "7~"), (BUSY, "7"), (0.0, "7"), (math.nan, "7"), (None, "7")])
def test_a_time_is_marked_where_it_is_too_long(share: float | None, text: str) -> None:
    assert marked("7", share) == text
    assert is_busy(share) == text.endswith("~")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "4000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_variables_of_openmp_that_are_set_stay(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back after what follows
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    yield_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_the_command_sets_them_before_torch_loads() -> None:
    look = "import sys, skystill.cli.main, skystill.contention; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
