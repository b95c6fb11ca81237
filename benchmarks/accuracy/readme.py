"""Writes the table at the top of the README from the result files.

python benchmarks/accuracy/readme.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[2] / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"
NAMES = {
    "teacher": "teacher",
    "alone": "student alone",
    "ltd": "student with LTD",
    "ltd_released": "with LTD as released",
}


def table(path: Path) -> str:
    result = json.loads(path.read_text())
    rows = [row for row in result["rows"] if row["split"] == "test" and "diverged" not in row]
    lines = [
        f"Test split of {result['data']}, {result['pair']}:",
        "",
        "| | seeds | AP | AP50 | AP75 | AP gain, by seed |",
    ]
    lines.append("|---|--:|--:|--:|--:|---|")
    alone = {row["seed"]: row["ap"] for row in rows if row["method"] == "alone"}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        means = [f"{statistics.mean(row[f] for row in mine):.1f}" for f in ("ap", "ap50", "ap75")]
        gains = [f"{row['ap'] - alone[row['seed']]:+.1f}" for row in mine if method not in ("teacher", "alone")]
        lines.append(f"| {NAMES.get(method, method)} | {len(mine)} | " + " | ".join(means) + f" | {', '.join(gains)} |")
    return "\n".join(lines) + f"\n\n{result['schedule']}. `{result['command']}`\n"


def main() -> None:
    text = README.read_text()
    head, rest = text.split(START)
    _, tail = rest.split(END)
    body = "\n".join(table(path) for path in sorted(RESULTS.glob("*.json")))
    README.write_text(f"{head}{START}\n\n{body}\n{END}{tail}")


if __name__ == "__main__":
    main()
