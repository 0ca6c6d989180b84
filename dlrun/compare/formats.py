"""Writes tables: for a terminal, a pipe, a spreadsheet, a program, a paper."""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dlrun.compare.tables import ESSENTIAL, Column, Table
from dlrun.errors import printable, safe

GAP = 2
LONGEST = 40  # characters of a cell on a terminal
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|\\[tr]")  # the latter are a tab and a return, escaped
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
ASCII = str.maketrans(
    {"–": "-", "−": "-", "±": "+-", "…": "..", "─": "-", "├": "|", "┤": "|", "●": "o", "≥": ">", "≤": "<"}
)


def table(table: Table) -> str:
    """For people: aligned, with colours and as wide as the screen on a terminal, whole in a pipe."""
    return _terminal(table) if sys.stdout.isatty() else _plain(table)


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown."""
    columns = _no_pictures(table)
    rows = [[escaped(cell) for cell in row] for row in _lines(columns)]
    rule = ["---:" if column.right else "---" for column in columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def latex(table: Table) -> str:
    """A ``tabular`` of the package booktabs; the best cells of a column are bold."""
    columns = _no_pictures(table)
    bold = [Column(c.name, [_bold(c, i) for i in range(len(c.cells))], c.right) for c in columns]
    head = " & ".join(_tex(column.name) for column in columns) + r" \\"
    rows = [" & ".join(row) + r" \\" for row in _lines(bold)[1:]]
    how = "".join("r" if column.right else "l" for column in columns)
    lines = [rf"\begin{{tabular}}{{{how}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"])


def to_csv(records: Sequence[dict[str, Any]]) -> str:
    """Comma-separated values with a header; lists are written as JSON.

    Text that a spreadsheet would take for a formula begins with an apostrophe; ``to_json`` has it as it is.
    """
    out = io.StringIO()
    names = {name: _inert(name) for record in records for name in record}
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names.values())
    for record in records:
        writer.writerow("" if (v := record.get(name)) is None else _csv_cell(v) for name in names)
    return out.getvalue().rstrip("\n")


def _csv_cell(value: Any) -> str | int | float:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | float) else _inert(value if isinstance(value, str) else json.dumps(value))


def _inert(text: str) -> str:
    """Text on one line, with an apostrophe before it if a spreadsheet would take it for a formula."""
    text = printable(text)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def to_json(value: dict[str, Any]) -> str:
    """JSON with one record per line; escaped to ASCII if the output can't encode its letters."""
    lines = []
    for key, found in value.items():
        listed = isinstance(found, list) and found and isinstance(found[0], dict)
        inner = ",\n    ".join(map(_json, found)) if listed else ""
        lines.append(f'  "{key}": ' + (f"[\n    {inner}\n  ]" if listed else _json(found)))
    return "{\n" + ",\n".join(lines) + "\n}"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if encodable(text) == printable(text) == text else json.dumps(value)


def _lines(columns: list[Column]) -> list[tuple[str, ...]]:
    """The names of the columns, then the cells of each line."""
    return list(zip(*(map(printable, (c.name, *c.cells)) for c in columns), strict=True))


def _no_pictures(table: Table) -> list[Column]:
    """The columns without those drawn in characters, which have no name."""
    return [column for column in table.columns if column.name]


def _plain(table: Table) -> str:
    columns = table.columns
    rows, lines = _lines(columns), []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{x:>{w}}" if c.right else f"{x:<{w}}" for x, w, c in zip(row, widths, columns, strict=True)]
        lines.append((" " * GAP).join(cells).rstrip())
    return encodable("\n".join(lines))


def _terminal(table: Table) -> str:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from dlrun.display.page import style

    console = Console(highlight=False)
    columns, gone = _fitting(table.columns, console.width)
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in columns:
        grid.add_column(
            encodable(printable(column.name)),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row, mark in zip(zip(*(c.cells for c in columns), strict=True), table.marks, strict=True):
        grid.add_row(
            *(Text(encodable(printable(cell))) for cell in row),
            style="bold" if mark == "baseline" else style(mark) if mark else None,
        )
    with console.capture() as captured:
        console.print(grid)
        if gone:
            names = _listed(gone, several=len({c.of for c in table.columns if c.of}) > 1)
            console.print(Text(f"no room for: {safe(names)} (--format csv has all)", "dim"))
    return captured.get().rstrip("\n")


def _fitting(columns: list[Column], width: int) -> tuple[list[Column], list[Column]]:
    """The columns that fit into a width, and the others."""
    cut = [replace(c, cells=[_cut(cell) for cell in c.cells]) for c in columns]
    needed = {id(c): max(map(len, (c.name, *c.cells))) + GAP for c in cut}
    gone = []
    while sum(needed[id(c)] for c in cut) - GAP > width and (less := [c for c in cut if c.rank < ESSENTIAL]):
        last = min(reversed(less), key=lambda c: c.rank)
        cut.remove(last)
        gone.append(last)
    return cut, gone[::-1]


def _listed(columns: list[Column], several: bool) -> str:
    """Names of columns: ``best, worst``; with ``several`` quantities ``act; best, worst of val/loss``."""
    found: dict[str, list[str]] = {}
    for column in columns:
        if column.name:
            found.setdefault(column.of if several else "", []).append(column.name)
    return "; ".join(", ".join(names) + (f" of {of}" if of else "") for of, names in found.items())


def _cut(cell: str) -> str:
    """The beginning and end of a long cell: paths differ at their ends."""
    return cell if len(cell) <= LONGEST else f"{cell[: LONGEST // 2 - 1]}…{cell[-(LONGEST // 2) :]}"


def encodable(text: str) -> str:
    """Text in which ASCII stands for characters that the output can't encode."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(ASCII).encode("ascii", "replace").decode()
    return text


def escaped(text: str) -> str:
    """Text as Markdown."""
    return "".join(f"\\{c}" if c in "|\\*_`<[]" else c for c in text)


def _bold(column: Column, line: int) -> str:
    text = _tex(column.cells[line])
    return rf"\textbf{{{text}}}" if line in column.strong else text


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs = {
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "…": r"\ldots{}",
        "≥": r"$\ge$",
        "≤": r"$\le$",
        "<": "$<$",
        ">": "$>$",
    }
    return "".join(special.get(c) or signs.get(c) or (f"\\{c}" if c in "&%$#_{}" else c) for c in printable(text))
