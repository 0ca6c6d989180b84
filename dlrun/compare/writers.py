"""An answer of ``dlrun compare`` as text: a table for people, Markdown, LaTeX, CSV, JSON."""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from dlrun.compare import formats, tables
from dlrun.compare.view import View
from dlrun.display.units import noun
from dlrun.errors import printable, tell


def _table(view: View) -> str:
    return "\n\n".join([*_tables(view, formats.table), *_said(view)])


def _markdown(view: View) -> str:
    said = [f"- {formats.escaped(line)}" for line in _lines_said(view)]
    return "\n\n".join([*_tables(view, formats.markdown, every=False), *(["\n".join(said)] if said else [])])


def _latex(view: View) -> str:
    """For a paper: of groups their keys, n and mean ± standard deviation; of runs keys and metrics."""
    said = [f"% {line}" for line in _lines_said(view)]
    keys = [*view.groups.keys, "n"] if view.groups_only else view.columns
    return "\n".join(
        [*_tables(view, formats.latex, every=False, names=[*keys, *(q.name for q in view.quantities)]), *said]
    )


def _lines_said(view: View) -> list[str]:
    """Verdicts, with their metric if there are several, and notes; nothing with a table of runs."""
    of = {q: f"{q.name}: " if len(view.quantities) > 1 else "" for q in view.quantities}
    verdicts = [of[q] + line for q in view.quantities for line in view.verdict_lines(q)]
    return [printable(line) for line in (*verdicts, *view.notes())] if view.groups_only else []


def _csv(view: View) -> str:
    if view.groups_only:
        return formats.to_csv(
            tables.records(view.groups, view.order, view.quantities, view.compared)[: view.options.limit]
        )
    return formats.to_csv(view.records()[: view.options.limit])


def _json(view: View) -> str:
    groups = tables.records(view.groups, view.order, view.quantities, view.compared)
    return formats.to_json(
        {
            "metrics": [q.name for q in view.quantities],
            "runs": view.records()[: view.options.limit],
            "groups": groups[: view.options.limit],
            "baseline": view.groups.baseline.name if view.groups.baseline else None,
            "verdicts": [vars(v) for v in view.verdicts],
            "notes": view.notes(),
            "skipped": view.runs.skipped,
        }
    )


WRITERS: dict[str, Callable[[View], str]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
    "md": _markdown,
    "latex": _latex,
}


def _tables(view: View, write: Callable[[Any], str], every: bool = True, names: Sequence[str] = ()) -> list[str]:
    """The table of runs, and that of groups if any has several runs; only one of the two if not ``every``.

    Args:
      names: the columns to show where the user names none; by default all.
    """
    found = []
    limit = view.options.limit or (view.options.lines if sys.stdout.isatty() and every else None)
    if not view.groups_only:
        some = view.runs[:limit] if limit else view.runs
        root = os.path.commonpath([run.path for run in some]) if len(some) > 1 and sys.stdout.isatty() else ""
        if view.options.columns:
            whole = tables.Table([tables.column(some, name) for name in view.columns], [""] * len(some))
        else:
            whole = _chosen(tables.of_runs(some, view.columns, view.quantities, root), names)
        found.append(
            (f"below {printable(root)}:\n" if root else "") + write(whole) + _more(len(view.runs), len(some), "run")
        )
    if view.groups_only or (every and view.groups.repeated and not view.options.columns):
        some = view.order[:limit]
        whole = tables.of_groups(view.groups, some, view.quantities, view.compared)
        whole = _chosen(whole, view.options.columns or names, any(view.compared.values()))
        found.append(write(whole) + _more(len(view.order), len(some), "group"))
    return found


def _chosen(table: tables.Table, names: Sequence[str], compared: bool = False) -> tables.Table:
    """The columns that are named, or all; says on stderr which of them the table does not have.

    Args:
      compared: whether groups were compared.
    """
    found, unknown = tables.chosen(table, names)
    if absent := [name for name in unknown if name in tables.OF_COMPARISONS]:
        tell(f"--columns: no {', '.join(absent)}, as nothing was {'tested' if compared else 'compared'}")
    if unknown := [name for name in unknown if name not in absent]:
        known = ", ".join(dict.fromkeys(tables.called(column) for column in table.columns if column.name))
        tell(f"--columns: groups have no {', '.join(unknown)}, only {known}")
    return found if found.columns else table


def _said(view: View) -> list[str]:
    """The verdicts, and the notes that explain them."""
    if not view.quantities:
        return []
    if not (view.groups_only or (view.groups.repeated and not view.options.columns)):
        return []
    limit = view.options.limit or (view.options.lines if sys.stdout.isatty() else None)
    blocks = []
    for names, found in _verdicts(view):
        lines = [_wrapped(line) for line in found[:limit]]
        more = _more(len(found), len(lines), "verdict")
        blocks += ["\n".join([f"{printable(names)}:", *lines]) + more] if lines else []
    blocks += [_wrapped(note, indent="") for note in view.notes()]
    return blocks


def _verdicts(view: View) -> list[tuple[str, Sequence[str]]]:
    """The names of metrics with the lines of their verdicts; metrics of which the same is said share them."""
    names: dict[tuple[str, ...], list[str]] = {}
    for quantity in view.quantities:
        names.setdefault(tuple(view.verdict_lines(quantity)), []).append(quantity.name)
    return [(", ".join(those), lines) for lines, those in names.items()]


def _wrapped(text: str, indent: str = "  ") -> str:
    """A line within a block, wrapped on a terminal."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    return textwrap.fill(
        printable(text), columns, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def _more(all_of: int, shown: int, what: str) -> str:
    more = all_of - shown
    return f"\n… {more} more {noun(more, what)} (--limit all)" if more else ""
