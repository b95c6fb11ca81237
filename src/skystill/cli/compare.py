"""skystill compare, skystill report: runs side by side, in the terminal and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def compare(runs: list[str], split: Literal["val", "test"] = "test", out: str | None = None) -> None:
    """Print runs side by side; the best of each figure stands out.

    skystill compare runs/alone runs/ltd --out comparison

    Args:
        runs: Folders that training wrote.
        split: Which scores to show.
        out: Folder for compare.md and compare.svg; nothing is written when left out.
    """
    from rich.console import Console

    from skystill.evaluation.compare import compare_markdown, compare_plot, compare_table, remarks
    from skystill.evaluation.runs import read_runs

    read = read_runs(runs)
    Console().print(compare_table(read, split))
    if said := remarks(read, split):
        print(said)
    if out is None:
        return
    from skystill.evaluation.figures import figure_to_svg
    from skystill.files import write_text

    folder = Path(out)
    write_text(folder / "compare.md", compare_markdown(read, split))
    write_text(folder / "compare.svg", figure_to_svg(compare_plot(read, split)))
    print(f"wrote {folder / 'compare.md'}, {folder / 'compare.svg'}")


def report(runs: list[str], out: str = "report.html", split: Literal["val", "test"] = "test") -> None:
    """Write one HTML page about some runs: scores, errors, curves, binding matrices. It needs no network to open.

    skystill report runs/alone runs/ltd --out report.html

    Args:
        runs: Folders that training wrote.
        out: The page to write.
        split: Which scores to show.
    """
    from skystill.evaluation.compare import compare_plot
    from skystill.evaluation.figures import svg_data_uri
    from skystill.evaluation.inside import inside_section
    from skystill.evaluation.report import Section, write_report
    from skystill.evaluation.runs import read_runs
    from skystill.evaluation.sections import (
        bindings_section,
        curves_section,
        errors_section,
        figures_text,
        scores_table,
    )

    read = read_runs(runs)
    names = [run.label for run in read]
    scores = Section(
        "Accuracy",
        tables=[scores_table(read, split)],
        images=[(svg_data_uri(compare_plot(read, split)), f"COCO's figures on {split}")],
        details={f"metrics.json of {name}": figures_text(run) for name, run in zip(names, read, strict=True)},
    )
    binding = [*bindings_section(read), *inside_section(read)]
    sections = [scores, *errors_section(read, split), *curves_section(read), *binding]
    print(f"wrote {write_report(Path(out), 'skystill: runs side by side', ', '.join(names), sections)}")
