"""Reports on a run while it trains: a line now and then on stderr, each of them also in log.txt.

Lines are thinned out: every number is in metrics.jsonl, and a log file should stay readable. Other displays override
how a line is shown (:meth:`Progress.show`), or what is done with each kind of line; the moving line of a terminal is in
:mod:`~dlrun.display.terminal`.
"""

import logging
import time
from typing import Any

from dlrun.display.units import fitted, number
from dlrun.errors import tell
from dlrun.runs.metric_names import ROW_KEYS

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # if no logging is set up, Python would print warnings a second time

SHARE = 0.01
"""Evaluations that follow each other within this share of the run get no line of their own."""

SILENCE = 30.0
"""After so many seconds without a line the next row gets one; in a long run, after ``SHARE`` of its time so far."""


class Progress:
    """Counts a run's steps, and reports its metrics in lines.

    Args:
      metric: the validation metric to show, such as ``val/accuracy``.

    Attributes:
      chosen: which state is tested, ``best`` or ``last``.
      stack: how many runs are trained side by side, this one included.
      steps_per_second: how fast the run is trained now (:class:`dlrun.train.pace.Pace`); None before that is known.
    """

    def __init__(self, metric: str = "val/loss"):
        self.metric, self.chosen, self.stack = metric, "best", 1
        self.steps_per_second: float | None = None
        self.total = self.step = 0
        self.epoch = 0.0
        self.timed: tuple[int, float] | None = None  # the first step after compiling, and the time then
        self.rows: dict[str, dict[str, Any]] = {}  # the last row of each split
        self.told_step, self.told_time, self.began = -1, time.perf_counter(), time.perf_counter()

    def start(self, step: int, total: int) -> None:
        """Training begins at ``step`` and ends at ``total``; time is counted from now on."""
        self.total, self.step = total, step
        self.began = self.told_time = time.perf_counter()

    def advance(self, step: int, epoch: float) -> None:
        """The run has come to ``step``."""
        self.step, self.epoch = step, epoch
        if self.timed is None:
            self.timed = (step, time.perf_counter())

    def row(self, row: dict[str, Any]) -> None:
        """A row of metrics was written."""
        split = row["split"]
        self.rows[split] = row
        if split == "test":
            if (last := self.rows.get("val")) and last["step"] > self.told_step:
                self._tell(last)
            if self.step < self.total:
                self.tell(f"stopped early at step {self.step} of {self.total}: no improvement in {self.metric}")
            everything = [name for name in row if name not in (*ROW_KEYS, "loss")]
            metrics = "  ".join(_metrics(row, self._name, *everything))
            self.tell(f"test  {metrics}  ({self.chosen} state, step {row['step']})")
        elif self._due(row):
            self._tell(row)

    def note(self, text: str) -> None:
        """Tells the person something."""
        log.info("%s", text)
        self.show(text)

    def tell(self, text: str, shown: str | None = None) -> None:
        """Reports progress; ``shown`` is the same line, cut to fit the terminal."""
        log.info("%s", text)
        self.show(text if shown is None else shown)

    def show(self, text: str) -> None:
        """Shows a line to the person."""
        tell(text)

    def warn(self, text: str) -> None:
        """Tells something that the person should not miss."""
        log.warning("%s", text)
        self.show(f"warning: {text}")

    def speed(self) -> float | None:
        """Steps per second by the clock, evaluation and saving included, but not the first ones: they wait to compile.

        None before there are more.
        """
        if self.timed is None or self.step == self.timed[0]:
            return None
        return (self.step - self.timed[0]) / max(time.perf_counter() - self.timed[1], 1e-9)

    @property
    def width(self) -> int | None:
        """Columns that a shown line may take; None for any number."""
        return None

    @property
    def _name(self) -> str:
        return self.metric.split("/")[-1]

    def _due(self, row: dict[str, Any]) -> bool:
        now = time.perf_counter()
        silent = now - self.told_time > max(SILENCE, SHARE * (now - self.began))
        first = self.told_step < 0
        return silent or (row["split"] == "val" and (first or row["step"] - self.told_step >= SHARE * self.total))

    def _tell(self, row: dict[str, Any]) -> None:
        self.told_step, self.told_time = row["step"], time.perf_counter()
        digits = len(str(self.total))
        parts = [(0, f"step {row['step']:>{digits}}/{self.total}"), (4, f"epoch {row['epoch']:<4g}")]
        if row["split"] == "val":
            metrics = _metrics(row, self._name)
            parts += [(1, f"val {metrics[0]}"), *((2, metric) for metric in metrics[1:])]
        if train := self.rows.get("train"):
            parts += [(3, f"train loss {number(train.get('loss'))}")]
        parts += [(5, speed) for speed in self._speed()]
        self.tell(fitted(parts, None), fitted(parts, self.width))

    def _speed(self) -> list[str]:
        speed = self.steps_per_second
        beside = f" x {self.stack} runs" if self.stack > 1 else ""
        return [] if speed is None else [(f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}") + f" steps/s{beside}"]


def _metrics(row: dict[str, Any], *first: str) -> list[str]:
    """The named metrics of a row, then its loss, as text."""
    return [f"{name} {number(row[name])}" for name in dict.fromkeys([*first, "loss"]) if name in row]
