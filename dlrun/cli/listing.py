"""What ``dlrun ls`` and ``dlrun ls --watch`` share: finding the runs, and what a line says of a run."""

import argparse
import os

from dlrun.errors import show
from dlrun.runs import files, loading, rundir
from dlrun.runs.run import Run
from dlrun.runs.runs import Runs
from dlrun.runs.times import instant


def look(args: argparse.Namespace) -> Runs:
    """The runs that the command names; none if it names no folder and the default one does not exist.

    Raises:
      InvalidConfig: if a folder does not exist, or the condition can't be read or names a column that no run has.
    """
    if not args.folders and not os.path.isdir(rundir.OUTPUTS):
        return Runs([], {})
    runs = loading.load(args.folders or [rundir.OUTPUTS])
    return runs.where(args.where) if args.where and runs else runs


def none_found(args: argparse.Namespace) -> str:
    """The text that says that there is nothing to show."""
    condition = f" for which {args.where} holds" if args.where else ""
    return f"no runs below {', '.join(args.folders or [rundir.OUTPUTS])}{condition}"


def start(run: Run) -> float:
    """When a run started, in seconds since 1970; if run.json does not say, when run.json was last written."""
    found = instant(run.facts.get("start"))
    return (written(run.path) or 0.0) if found is None else found


def written(path: str) -> float | None:
    """When the run.json in a folder was last written, in seconds since 1970; None if there is none."""
    file = os.path.join(path, rundir.RUN)
    try:
        return os.lstat(file).st_mtime if files.kind(file) == "file" else None
    except OSError:
        return None


def best(runs: Runs) -> dict[Run, tuple[str, float | None]]:
    """The main metric of each run and its best value."""
    by_metric: dict[str, list[Run]] = {}
    for run in runs:
        by_metric.setdefault(run.main[0], []).append(run)
    return {
        run: (name, value)
        for name, some in by_metric.items()
        for run, value in zip(some, runs.of(some).metric(name), strict=True)
    }


def command_words(run: Run) -> str:
    """The words of the command line after the program's name, on one line."""
    return show(" ".join(run.facts["command"].split()[1:]), None)
