"""One self-contained HTML page: text, tables, figures and pictures in sections. It opens offline and prints well."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skystill.errors import DataError
from skystill.files import write_text

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --page: #ffffff; --card: #f6f7f9;
  --mark: #0b6e4f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b4; --line: #333c48; --page: #14181e;
  --card: #1c222b; --mark: #5fd3a6; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; } .soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.mark td { color: var(--mark); font-weight: 600; }
figure { margin: 1rem 0; padding: .8rem; background: var(--card); border-radius: 8px; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { padding-top: .5rem; }
details { margin: .8rem 0; } pre { overflow-x: auto; background: var(--card); padding: .8rem; border-radius: 8px;
  font-size: .82rem; }
@media (max-width: 40rem) { figure img { max-width: 48rem; } }
@media print { figure, table { break-inside: avoid; } h2, caption { break-after: avoid; } body { font-size: 11px; }
  .wide { overflow: visible; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  th, td { padding: .2rem .25rem; white-space: normal; } table { font-size: .7rem; } details { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class TableData:
    """A table: column names, rows of texts, the row to stand out (or None), a caption."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    mark: int | None = None
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page. text: paragraphs. images: (data URI, caption). details: title -> text folded away."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[TableData] = ()
    images: Sequence[tuple[str, str]] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def write_report(path: Path, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Writes the page, whole or not at all. Errors: DataError when `path` cannot be written."""
    body = "\n".join(_section(section) for section in sections)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body><main><h1>{html.escape(title)}</h1>\n<p class='soft'>{html.escape(lead)}</p>\n{body}\n"
        "</main></body></html>\n"
    )
    try:
        write_text(path, page)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}). Give another place.") from error
    return path


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
    parts += [_table(table) for table in section.tables]
    for uri, caption in section.images:
        words = html.escape(caption)
        parts.append(
            f'<figure><div class="wide"><img src="{uri}" alt="{words}"></div><figcaption>{words}</figcaption></figure>'
        )
    for name, text in section.details.items():
        parts.append(f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre></details>")
    return "\n".join(parts)


def _table(table: TableData) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    rows = []
    for number, row in enumerate(table.rows):
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        rows.append(f'<tr class="mark">{cells}</tr>' if number == table.mark else f"<tr>{cells}</tr>")
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
