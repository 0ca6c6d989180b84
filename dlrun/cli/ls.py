"""``dlrun ls``: the runs below some folders, newest first. Reads what it can of directories that may be damaged."""

import argparse
import io
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dlrun.cli.arguments import Parser, add_folders, add_where
from dlrun.cli.listing import best, command_words, look, none_found, start, written
from dlrun.display.units import cut, number
from dlrun.errors import printable, show, tell
from dlrun.runs.run import Run

REFRESH, FASTEST, SLOWEST = 2.0, 0.1, 86400.0  # seconds
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
EPILOG = """\
Prints one line per run: start, status, best value of the metric that chooses
the best state, directory, and what was set on the command line. The status is
running, completed, failed, diverged (a number was not finite), stopped (by a
signal), killed (its process is gone), pruned (given up by a search) or damaged
(the reason comes last).

  dlrun ls                   all runs below outputs/
  dlrun ls SWEEP --where 'act=relu and not status=completed'
  dlrun ls --watch           a live table; in a pipe, one line per change
"""


def parser() -> Parser:
    """The parser of the command's words and flags."""
    p = Parser("dlrun ls", description="Lists runs, newest first.", epilog=EPILOG)
    add_folders(p)
    add_where(p)
    p.add_argument("--limit", type=_count, metavar="N", help="show only the newest N")
    how = p.add_mutually_exclusive_group()
    how.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    how.add_argument(
        "--watch", nargs="?", type=_seconds, const=REFRESH, metavar="SECONDS",
        help=f"keep showing what changes until Ctrl-C, every SECONDS seconds (default: {REFRESH:g})",
    )  # fmt: skip
    return p


def main(argv: list[str]) -> int:
    """Prints a line a run, or watches them.

    Raises:
      InvalidConfig: with what is wrong with the words.
    """
    args = parser().read(_words(argv))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names of folders may hold anything
    if args.watch is not None:
        from dlrun.cli import watch

        return watch.watch(args)
    runs = look(args)
    damaged = {} if args.where else {path: why for path, why in runs.skipped.items() if written(path) is not None}
    for path in runs.skipped.keys() - damaged.keys():
        tell(f"skipped: {path}: {runs.skipped[path]}")
    starts = {run.path: start(run) for run in runs} | {path: written(path) or 0.0 for path in damaged}
    newest = dict.fromkeys(sorted(starts, key=starts.__getitem__, reverse=True)[: args.limit])
    found = best(runs.of(run for run in runs if run.path in newest))
    if not newest:
        tell(none_found(args))
    for run in runs:
        if run.lost:
            tell(f"notice: {run.path}: {run.lost}")
    if args.format == "json":
        from dlrun.display.page import print_json

        of = {run.path: _record(run, *of) for run, of in found.items()}
        of |= {path: {"directory": path, "status": "damaged", "damage": why} for path, why in damaged.items()}
        print_json([{"start": _when(starts[path], "%Y-%m-%dT%H:%M:%S%z"), **of[path]} for path in newest])
        return 0
    told = {path: ("damaged", "-", path, why) for path, why in damaged.items()}
    for run, (name, value) in found.items():
        told[run.path] = (run.status, "-" if value is None else f"{name} {number(value)}", run.path, command_words(run))
    _print([(_when(starts[path], "%Y-%m-%d %H:%M"), *told[path]) for path in newest])
    return 0


def _when(seconds: float, how: str) -> str:
    """A time in the local zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime(how)


def _record(run: Run, metric: str, value: float | None) -> dict[str, Any]:
    """What a line says of a run, as plain values."""
    found = {"directory": run.path, "status": run.status, "damage": run.damage}
    return found | {"metric": metric, "best": value, "command": run.facts["command"]}


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    directory_ends = sum(widths[:4]) + 6
    for row in rows:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        if len(line) > columns:  # on a terminal a long command is cut, or left out; its directory never
            line = cut(line, columns) if columns > directory_ends + 2 else line[:directory_ends].rstrip()
        print(line)


def _words(argv: list[str]) -> list[str]:
    """The words, with a value joined to ``--watch``: the word after it, if that is a number, not a folder."""
    found = list(argv)
    for i, word in enumerate(argv):
        if word == "--watch" and not (i + 1 < len(argv) and NUMBER.fullmatch(argv[i + 1])):
            found[i] = f"--watch={REFRESH:g}"
    return found


def _seconds(text: str) -> float:
    if not NUMBER.fullmatch(text) or not FASTEST <= float(text) <= SLOWEST:
        allowed = f"{FASTEST:g} to {SLOWEST:g} seconds"
        raise argparse.ArgumentTypeError(f"{show(text)}: not allowed; allowed: {allowed}")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{show(text)}: not allowed; allowed: a whole number >= 1")
    return int(text)
