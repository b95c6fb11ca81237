"""Writes the tables at the top of the README from the result files: of three pairs LTD's forms and the best peers, of
the others a row each.

python benchmarks/accuracy/readme.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import yaml

RESULTS = Path(__file__).parent / "results"
KEPT = Path(__file__).parent / "kept"
README = Path(__file__).parents[2] / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"
NAMES = {
    "teacher": "teacher",
    "alone": "student alone",
    "ltd": "student with LTD",
    "ltd_plus": "with `ltd_plus`, what we made of it",
    "ltd_released": "with LTD as its authors ran it",
    "pkd": "with PKD",
    "cwd": "with CWD",
    "pkd+bckd": "with PKD and BCKD",
}
ALWAYS = ("teacher", "alone", "ltd", "ltd_plus", "ltd_released")
PEERS = 4  # the best of the others that are shown
WHOLE = ("hit_uav_lite2_mnv3s", "aerial_airport_lite2_mnv3s", "synthetic_demo")


def test_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if row["split"] == "test" and "diverged" not in row]


def table(path: Path) -> str:
    result = json.loads(path.read_text())
    rows = test_rows(result)
    lines = [
        f"Test split of {result['data']}, {result['pair']}:",
        "",
        "| | seeds | AP | AP50 | AP75 | AP gain, by seed |",
    ]
    lines.append("|---|--:|--:|--:|--:|---|")
    alone = {row["seed"]: row["ap"] for row in rows if row["method"] == "alone"}
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    # Methods by their AP, under what they are measured against.
    ranked = sorted(by_method, key=lambda m: (m not in ALWAYS[:2], -statistics.mean(row["ap"] for row in by_method[m])))
    peers = [method for method in ranked if method not in ALWAYS]
    for method in (m for m in ranked if m not in peers[PEERS:]):
        mine = by_method[method]
        means = [f"{statistics.mean(row[f] for row in mine):.1f}" for f in ("ap", "ap50", "ap75")]
        gains = _gains([row["ap"] - alone[row["seed"]] for row in mine]) if method not in ("teacher", "alone") else ""
        name = NAMES.get(method, f"with {method.upper()}")
        lines.append(f"| {name} | {len(mine)} | " + " | ".join(means) + f" | {gains} |")
    said = f"{result['schedule']}. `{result['command']}`"
    if len(result.get("machines", {})) > 1:
        said = f"Not all runs were made on one machine; the file says which. {said}"
    if (count := len(peers) - PEERS) > 0:
        said = f"{count} more peers are behind these: [{path.stem}.md]({link(path.with_suffix('.md'))}). {said}"
    return "\n".join([*lines, "", said, ""])


def _gains(gains: list[float]) -> str:
    """Each seed's; of many their least, mean and most."""
    if len(gains) <= 6:
        return ", ".join(f"{gain:+.1f}" for gain in gains)
    return f"{min(gains):+.1f} .. {max(gains):+.1f}, mean {statistics.mean(gains):+.1f}"


def link(path: Path) -> Path:
    return path.relative_to(README.parent)


def across(paths: list[Path]) -> str:
    """One row a pair: how `ltd_plus` does where the student, or the teacher, is of another family."""
    lines = [
        "Other families, test split of HIT-UAV, the student alone and taught on the same schedule, by `ltd_plus`",
        "(where marked \\*, before its levels counted by what the teacher finds there, `finds` 0):",
        "",
        "| teacher -> student | seeds | teacher | alone | with `ltd_plus` | AP gain | 95% over seeds |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for path in paths:
        result = json.loads(path.read_text())
        (teacher,) = (row["ap"] for row in test_rows(result) if row["method"] == "teacher")
        alone, taught = (result["methods"][method] for method in ("alone", "ltd_plus"))
        gain, (one, other) = taught["gain"], result["pair"].partition("_ltd_")[0].split("_to_")
        cells = [
            f"[{one} -> {other}]({link(path.with_suffix('.md'))}){_before_finds(path.stem)}{_on_tiles(result['data'])}",
            f"{len(taught['seeds'])}",
            *(f"{ap:.1f}" for ap in (teacher, alone["ap"]["mean"], taught["ap"]["mean"])),
            f"{gain['mean']:+.1f}",
            f"{gain['t_low']:+.1f} .. {gain['t_high']:+.1f}" if gain["n"] > 1 else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _before_finds(pair: str) -> str:
    """A mark where a pair's kept runs were taught by the former default."""
    recipe = yaml.safe_load((KEPT / pair / "ltd_plus-seed0" / "recipe.yaml").read_text())
    return "" if recipe["method"]["settings"]["finds"] else " \\*"


def _on_tiles(data: str) -> str:
    """The data set hit_uav_256 is HIT-UAV in tiles of 256 px."""
    side = data.removeprefix("hit_uav").removeprefix("_")
    return f", tiles of {side} px" if side else ""


def main() -> None:
    text = README.read_text()
    head, rest = text.split(START)
    _, tail = rest.split(END)
    others = sorted((RESULTS / "families").glob("*.json"))
    parts = [table(RESULTS / f"{name}.json") for name in WHOLE] + ([across(others)] if others else [])
    body = "\n".join(parts)
    README.write_text(f"{head}{START}\n\n{body}\n{END}{tail}")


if __name__ == "__main__":
    main()
