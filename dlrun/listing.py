"""``dlrun ls``: the runs below some folders, newest first. Reads what it can of directories that may be damaged."""

import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun import rundir
from dlrun.schema import InvalidConfig

DEFAULT = Path("outputs")


def ls(roots: list[Path]) -> int:
    """Prints a line a run: start, status, best value of the main metric, directory, what was chosen.

    Raises:
      InvalidConfig: when a folder that was named is not there.
    """
    if missing := [f"ls: {root}: no such folder" for root in roots if not root.is_dir()]:
        raise InvalidConfig(missing)
    folders = dict.fromkeys(folder for root in roots or [DEFAULT] for folder in sorted(rundir.find(root)))
    runs = [(folder, rundir.read_json(folder / rundir.RUN)) for folder in folders]
    rows = [_row(folder, run) for folder, run in sorted(runs, key=_start, reverse=True)]
    if not rows:
        print(f"no runs below {', '.join(map(str, roots or [DEFAULT]))}", file=sys.stderr)
        return 0
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        # On a terminal a long command is cut, its directory never.
        print(line if columns is None or len(line) <= columns else _cut(line, max(columns, sum(widths[:4]) + 6)))
    return 0


def _row(folder: Path, run: dict[str, Any] | None) -> tuple[str, ...]:
    when = datetime.fromtimestamp(_start((folder, run))).strftime("%Y-%m-%d %H:%M")
    if run is None:
        return when, "damaged", "-", str(folder), ""
    summary = rundir.read_json(folder / rundir.SUMMARY) if run.get("status") == "completed" else None
    name, value = metric(folder, run, summary)
    shown = f"{name} {value:.4f}" if value is not None else "-"
    return when, status(folder, run), shown, str(folder), chosen(run)


def _start(found: tuple[Path, dict[str, Any] | None]) -> float:
    """When a run started, in seconds since 1970; for a damaged one, when its run.json was last written."""
    folder, run = found
    try:
        return datetime.fromisoformat((run or {})["start"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        pass
    try:
        return (folder / rundir.RUN).stat().st_mtime
    except OSError:
        return 0.0


def status(folder: Path, run: dict[str, Any]) -> str:
    """The status in run.json; ``killed`` for a run that could not write its end."""
    found = run.get("status")
    if found == "running" and not rundir.in_use(folder):
        return "killed"
    return found if isinstance(found, str) else "damaged"


def metric(folder: Path, run: dict[str, Any], summary: dict[str, Any] | None) -> tuple[str, float | None]:
    """The main metric and its best value: from the summary, or from the rows of a run that has none."""
    if summary is not None and isinstance(name := summary.get("metric"), str):
        return name, _number(summary.get(f"best/{name}"))
    rows = [row for row in rundir.read_metrics(folder) if row.get("split") == "val"]
    try:
        name, mode = run["config"]["checkpoint"]["metric"], run["config"]["checkpoint"]["mode"]
    except (KeyError, TypeError):
        name = mode = None
    if not isinstance(name, str):
        name = "val/accuracy" if any("accuracy" in row for row in rows) else "val/loss"
    best = min if (mode or ("min" if name.endswith("loss") else "max")) == "min" else max
    values = [v for row in rows if (v := _number(row.get(name.removeprefix("val/")))) is not None]
    return name, best(values, default=None)


def chosen(run: dict[str, Any]) -> str:
    """What was said on the command line beside the program's name, on one line."""
    command = run.get("command")
    words = [str(word) for word in command[1:]] if isinstance(command, list) else []
    return " ".join(" ".join(words).split())


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
