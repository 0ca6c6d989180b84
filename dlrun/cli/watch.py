"""``dlrun ls --watch``: runs while they train. On a terminal a table of those that fit, else a line for each change."""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from dlrun.cli.listing import command_words, look, none_found, start
from dlrun.display.streams import is_unread
from dlrun.display.terminal import can_move
from dlrun.display.units import clock, cut, fitted, number
from dlrun.errors import InvalidConfig, printable
from dlrun.runs import loading, rundir, status
from dlrun.runs.live import LiveState, Rows, live_state
from dlrun.runs.run import Run, stamp

LEAST = 12  # of a command line: fewer letters are not worth showing
RANKS = {"status": 0, "run": 0, "step": 3, "epoch": 6, "now": 4, "best": 1, "steps/s": 5, "left": 2}
"""The columns of the table; if there is no room, those of the largest rank are left out first."""
ALIGNED_LEFT = ("status", "run")


def watch(args: argparse.Namespace) -> int:
    """Shows runs until Ctrl-C, SIGTERM, or nobody reads any more.

    Raises:
      InvalidConfig: with what is wrong with the words.
    """
    watched = Watched(args)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the terminal gets its screen back
    try:
        watched.look()
        _table(watched) if can_move(sys.stdout) else _lines(watched)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


class Watched:
    """The runs that the command names: running ones first, then the newest first. Reads only files that changed."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.stamps: dict[str, tuple[str, str]] | None = None
        self.found: list[Run] = []
        self.rows: dict[str, Rows] = {}

    def look(self) -> list[Run]:
        """The runs as they are now. The first look raises :class:`InvalidConfig` for wrong folders or conditions."""
        paths = loading.find(self.args.folders or [rundir.OUTPUTS], {})
        stamps = {p: (stamp(f"{p}/{rundir.RUN}"), stamp(f"{p}/{rundir.SUMMARY}")) for p in paths}
        if stamps != self.stamps or self.args.where:  # a condition may depend on the rows, which always change
            try:
                self.found = sorted(look(self.args), key=start, reverse=True)
            except InvalidConfig:  # later a folder may vanish, or the last run that has a column
                if self.stamps is None:
                    raise
                self.found = []
            self.stamps = stamps
        for run in self.found:
            run.status = status.now(run.facts["status"], run.directory)
        return sorted(self.found, key=lambda run: run.status != "running")[: self.args.limit]

    def live_state(self, run: Run) -> LiveState:
        return live_state(run, self.rows.setdefault(run.path, Rows(run.directory)))


def _lines(watched: Watched) -> None:
    """Prints a line per run, and another whenever its status changes or it is evaluated; the newest run last."""
    told: dict[str, object] = {}
    while not is_unread(sys.stdout):
        for run in sorted(watched.look(), key=start):
            at = watched.live_state(run)
            if told.get(run.path) != (news := (run.status, at.evaluated)):
                told[run.path] = news
                print(printable(_line(run, at)))
        sys.stdout.flush()
        time.sleep(watched.args.watch)


def _line(run: Run, at: LiveState) -> str:
    cell = _cells(run, at)
    parts = [time.strftime("%H:%M:%S"), cell["run"], cell["status"]]
    parts += [f"{key} {cell[key]}" for key in ("step", "epoch") if cell[key]]
    parts += [f"{at.metric} {cell['now']}", f"best {cell['best']}"] if cell["best"] else []
    parts += [f"{cell['steps/s']} steps/s"] if cell["steps/s"] else []
    return "  ".join(parts + ([f"{cell['left']} left"] if cell["left"] else []))


def _cells(run: Run, at: LiveState) -> dict[str, str]:
    """The cells of a run, by the name of the column."""

    def of(value: float | None, end: int | None) -> str:
        text = "" if value is None else f"{value:.1f}".removesuffix(".0")
        return f"{text}/{end}" if text and end else text

    def shown(value: float | None) -> str:
        return "" if value is None else number(value)

    speed, left = at.speed, at.left if run.status == "running" else None
    return {
        "run": run.path,
        "status": run.status,
        "step": of(at.step, at.steps),
        "epoch": of(at.epoch, at.epochs),
        "now": shown(at.now),
        "best": shown(at.best),
        "steps/s": "" if speed is None else f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}",
        "left": "" if left is None else clock(left),
    }


def _table(watched: Watched) -> None:
    """Shows the runs that fit the screen until Ctrl-C; the last picture stays on the terminal."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while not is_unread(sys.stdout):
            live.update(picture(watched, console, "Ctrl-C ends"), refresh=True)
            time.sleep(watched.args.watch)
    console.print(picture(watched, console), no_wrap=True, overflow="crop")


def picture(watched: Watched, console: Any, hint: str = "") -> Any:
    """The table and a line of totals, as a ``rich`` text."""
    from rich.text import Text

    runs = watched.look()
    shown = runs[: max(1, console.height - 3)]
    counts = ", ".join(f"{n} {status}" for status, n in Counter(run.status for run in runs).most_common())
    parts = [(0, f"{len(shown)} of {len(runs)} runs" if len(shown) < len(runs) else "")]
    parts += [(2, counts or none_found(watched.args)), (1, hint)]
    lines = [Text(printable(line), style) for line, style in _rows(watched, shown, console.width)] if shown else []
    lines.append(Text(fitted([part for part in parts if part[1]], console.width), "dim"))
    text = Text("\n").join(lines)
    text.no_wrap, text.overflow = True, "crop"
    return text


def _rows(watched: Watched, runs: list[Run], width: int) -> Iterator[tuple[str, str]]:
    """The lines of the table with their styles; the first is the head."""
    from dlrun.display.page import style

    at = [watched.live_state(run) for run in runs]
    cells = [_cells(*each) for each in zip(runs, at, strict=True)]
    root, metrics = _root([run.path for run in runs]), list(dict.fromkeys(each.metric for each in at))
    for cell, each in zip(cells, at, strict=True):
        cell["run"] = cell["run"].removeprefix(root)
        if len(metrics) > 1 and cell["now"]:
            cell["now"] = f"{each.metric.split('/')[-1]} {cell['now']}"
    names = {name: name for name in RANKS} | {"run": root or "run", "now": metrics[0] if len(metrics) == 1 else "now"}
    used = [name for name in RANKS if any(cell[name] for cell in cells)]
    lines = [names, *cells]
    widths = {name: max(len(line[name]) for line in lines) for name in used}
    texts = [
        fitted([(RANKS[n], (str.ljust if n in ALIGNED_LEFT else str.rjust)(line[n], widths[n])) for n in used], width)
        for line in lines
    ]
    taken = max(map(len, texts)) + 2
    styles = ["bold", *(style(run.status) for run in runs)]
    for text, words, colour in zip(texts, ["", *map(command_words, runs)], styles, strict=True):
        more = cut(words, width - taken) if width - taken >= LEAST else ""
        yield f"{text:<{taken}}{more}".rstrip(), colour


def _root(paths: Sequence[str]) -> str:
    """The folder that all directories share; empty if there is none."""
    if len(paths) < 2 or len({os.path.isabs(path) for path in paths}) > 1:
        return ""
    return os.path.join(os.path.commonpath(paths), "") if os.path.commonpath(paths) else ""
