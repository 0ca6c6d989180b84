"""``dlrun ls``: the runs below some folders, newest first."""

import sys
from pathlib import Path
from typing import Any

from dlrun import rundir
from dlrun.schema import InvalidConfig


def ls(roots: list[Path]) -> int:
    """Prints a line a run: when, status, main metric, what was chosen, directory."""
    for root in roots:
        if not root.is_dir():
            raise InvalidConfig([f"ls: {root}: no such folder"])
    runs = [(folder, rundir.read_json(folder / rundir.RUN)) for root in roots for folder in rundir.find(root)]
    known = [(folder, run) for folder, run in runs if run is not None]
    rows = [_row(folder, run) for folder, run in sorted(known, key=lambda r: r[1].get("start") or "", reverse=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip())
    if not rows:
        print(f"no runs below {', '.join(map(str, roots))}", file=sys.stderr)
    return 0


def _row(folder: Path, run: dict[str, Any]) -> list[str]:
    status = run.get("status", "?")
    if status == "running" and not rundir.in_use(folder):
        status = "killed"
    summary = rundir.read_json(folder / rundir.SUMMARY) if status == "completed" else None
    name, value = metric(folder, summary)
    started = (run.get("start") or "?")[:16].replace("T", " ")
    return [started, status, f"{name} {value:.4f}" if value is not None else "-", chosen(run), str(folder)]


def metric(folder: Path, summary: dict[str, Any] | None) -> tuple[str, float | None]:
    """The main metric and its best value: from the summary, or from the rows of a run that has none yet."""
    if summary is not None:
        name = summary.get("metric", "val/loss")
        return name, summary.get(f"best/{name}")
    rows = [r for r in rundir.read_metrics(folder) if r.get("split") == "val"]
    if rows and "accuracy" in rows[-1]:
        return "val/accuracy", max(r["accuracy"] for r in rows if r.get("accuracy") is not None)
    return "val/loss", rows[-1].get("loss") if rows else None


def chosen(run: dict[str, Any]) -> str:
    """What was chosen on the command line."""
    words = run.get("command") or []
    return " ".join(w for w in words[1:] if "=" in w or w == "resume")
