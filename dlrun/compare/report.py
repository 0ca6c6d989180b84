"""A comparison as one page for a browser. The file holds all that the page needs, and loads nothing from the network.

The page is made of the parts in web/: a frame, a style sheet, scripts. What the runs say is inserted as JSON. Only the
scripts read it, and they show it as text, never as markup. A policy allows only the page's own script and style.
"""

import base64
import hashlib
import json
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dlrun.compare import cells, confusion, curve_points, tables
from dlrun.compare.axes import per_step
from dlrun.compare.groups import Group, averaged, state
from dlrun.compare.measures import SHARES, Quantity
from dlrun.compare.statistics.comparison import Comparison
from dlrun.compare.view import View
from dlrun.errors import show
from dlrun.runs import atomic
from dlrun.runs.metric_names import SEEDS
from dlrun.runs.times import TIMES, instant

WEB = Path(__file__).with_name("web")
SCRIPTS = ("elements", "scale", "condition", "table", "chart", "curves", "effects", "confusion", "page")
LISTED = 50  # skipped folders that are named


def write(view: View, file: Path) -> None:
    """Writes the report, atomically."""
    atomic.write(file, page(contents(view, file)))


def page(values: dict[str, Any]) -> str:
    """The HTML of the page that shows what :func:`contents` returns."""
    script = "\n".join((WEB / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    style = (WEB / "page.css").read_text(encoding="utf-8")
    parts = {
        "policy": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:",
        "style": style,
        "script": script,
        # An escaped "<" means the same in JSON, but can't end the HTML element that holds the data.
        "data": json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c"),
    }
    frame = (WEB / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


def contents(view: View, file: Path) -> dict[str, Any]:
    """All that the page shows, as values that JSON can hold.

    Args:
      file: where the page will be: links to runs are relative to it.
    """
    paths = [os.path.abspath(run.path) for run in view.runs]
    root = os.path.commonpath(paths) if len(paths) > 1 else ""
    number = {id(run): i for i, group in enumerate(view.order) for run in group.runs}
    seeds = [some for group in view.order for some in group.by_seeds(group.runs)]
    seed = {id(run): i for i, some in enumerate(seeds) for run in some}
    baseline = view.groups.baseline
    sets = sorted(view.groups.sets(view.runs))
    return {
        "facts": _facts(view),
        "sets": sets,
        "shares": [name for name in view.runs.metrics if name.endswith(SHARES)],
        "skipped": list(view.runs.skipped.items())[:LISTED],
        "quantities": [q.name for q in view.quantities],
        "metrics": [q.metric.replace("test/", "val/") for q in view.quantities],  # the test split has no curves
        "verdicts": _verdicts(view),
        "methods": view.notes(),
        "groups": {
            "names": [group.name for group in view.order],
            "baseline": view.order.index(baseline) if baseline else None,
            "table": _groups(view) if view.groups.repeated or view.groups_only else None,
            "means": [_mean(group, view.quantities) for group in view.order],
        },
        "runs": {
            "names": [os.path.relpath(path, root) if root else path for path in paths],
            "below": root,
            "links": [link(path, file) for path in paths],
            "status": [state(run) for run in view.runs],
            "counted": [averaged(run) for run in view.runs],
            "group": [number[id(run)] for run in view.runs],
            "seed": [seed[id(run)] for run in view.runs],  # runs of one group with the same seed share a number
            "data": [sets.index(view.groups.data[run]) for run in view.runs],
            "perStep": {axis: [per_step(run, axis) for run in view.runs] for axis in ("epoch", "examples")},
            "columns": _columns(view),
        },
        "curves": curve_points.curves(view.runs),
        "confusion": confusion.matrices(view.order),
    }


def _facts(view: View) -> list[tuple[str, str]]:
    counts = Counter(state(run) for run in view.runs)
    runs = ", ".join(f"{n} {status}" for status, n in counts.items())
    return [
        ("folders", ", ".join(map(str, view.options.folders)) or "outputs"),
        ("runs", f"{len(view.runs)}: {runs}"),
        ("groups", str(len(view.order))),
        ("written", time.strftime("%Y-%m-%d %H:%M %z")),
        ("command", shlex.join(["dlrun", *sys.argv[1:]])),
        ("version", f"dlrun {version('dlrun')}"),
    ]


def _verdicts(view: View) -> list[dict[str, str]]:
    """Quantity and text of each verdict, and its side: ``better``, ``worse``, or empty if no difference is shown."""
    by_name = {group.name: group for group in view.order}
    found = []
    for verdict in view.verdicts:
        quantity = next(q for q in view.quantities if q.name == verdict.quantity)
        side = _side(view.compared[quantity][by_name[verdict.group]], quantity)
        found.append({"quantity": verdict.quantity, "text": verdict.text, "side": side})
    return found


def _side(c: Comparison, quantity: Quantity) -> str:
    if not c.significant or not c.difference:
        return ""
    return "better" if (c.difference > 0) == (quantity.measure.better == "max") else "worse"


def _groups(view: View) -> list[dict[str, Any]]:
    table = tables.of_groups(view.groups, view.order, view.quantities, view.compared)
    return [{"name": c.name, "cells": c.cells, "right": c.right} for c in table.columns]


def _mean(group: Group, quantities: Sequence[Quantity]) -> list[float | None]:
    """A group's mean of the first quantity, and the ends of its interval."""
    if not quantities:
        return [None] * 3
    s = group.summary(quantities[0])
    return [None if x is None else curve_points.rounded(x) for x in (s.mean, *(s.interval or (None, None)))]


def _columns(view: View) -> list[dict[str, Any]]:
    """The columns of the table of runs.

    ``kind``: ``key`` (of the configuration, and not a seed), ``metric`` (with ``better``: min or max), ``time`` (its
    values are seconds since 1970), or ``fact``.
    """
    runs = view.runs
    columns = []
    for name in [name for name in view.columns if name not in ("directory", "status")]:
        key = any(name in run.config for run in runs) and not name.endswith(SEEDS)
        kind, values = "key" if key else "fact", [run.value(name) for run in runs]
        if name in TIMES:
            kind, values = "time", [instant(value) for value in values]
        columns.append(_column(tables.column(runs, name), values, name, kind))
    for q in view.quantities:
        texts = tables.Column(q.name, [cells.number(q.values[run]) for run in runs], right=True)
        columns.append(
            {**_column(texts, [q.values[run] for run in runs], q.name, "metric"), "better": q.measure.better}
        )
    shown = {*view.columns, *(q.name for q in view.quantities)}
    for name in [m for m in runs.metrics if m.startswith(("val/", "test/")) and m not in shown]:
        column = _column(tables.column(runs, name), runs.metric(name), name, "metric")
        columns.append({**column, "better": runs.direction(name)})
    for name in [fact for fact in ("steps_per_second", "seconds") if fact not in shown]:
        columns.append(_column(tables.column(runs, name), [run.value(name) for run in runs], name, "fact"))
    return columns


def _column(column: tables.Column, values: Sequence[Any], name: str, kind: str) -> dict[str, Any]:
    plain = [_plain(value) for value in values]
    return {
        "name": column.name, "key": name, "kind": kind, "right": column.right, "cells": column.cells,
        "values": None if plain == column.cells else plain,
    }  # fmt: skip


def _plain(value: Any) -> str | float | int | None:
    """A value that the page can sort a column by: a number, or text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None if value is None else show(value, None)
    return value if abs(value) < 1e300 else show(value)  # JSON has no infinity, and no NaN


def link(path: str, file: Path) -> str:
    """A URL of a run's directory: relative to the page where they share more than the root."""
    folder = os.path.dirname(os.path.abspath(file))
    if os.path.commonpath([path, folder]) == "/":
        return "file://" + quote(os.fsencode(path))
    return quote(os.fsencode(os.path.relpath(path, folder))) + "/"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
