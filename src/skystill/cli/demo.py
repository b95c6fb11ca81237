"""skystill demo."""

from __future__ import annotations

from pathlib import Path

from skystill.cli.quiet import quiet_libraries


def demo(out: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Walk the whole path on synthetic scenes, in five minutes on two cores.

    Renders aerial scenes, checks the teacher that ships with skystill, trains a small student alone and again with LTD,
    and proves the difference on scenes that neither has seen.

    Args:
        out: Folder for the runs, report.html and summary.json.
        seed: Of the student's first weights, the order of scenes and their augmentation.
    """
    quiet_libraries()
    from skystill.demo import run_demo

    run_demo(out, seed)
