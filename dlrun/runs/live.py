"""How far a run has come, read from its files while it still writes them."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.runs import files, rundir
from dlrun.runs.run import Run, stamp
from dlrun.runs.rundir import is_number


@dataclass(frozen=True)
class LiveState:
    """How far a run has come; None for what can't be known.

    Args:
      step, epoch: what it has reached.
      steps, epochs: what it reaches at its end, unless it stops early.
      evaluated: step of the last evaluation.
      metric, now, best: name, last value and best value of the metric that chooses the best state.
      speed: optimizer steps a second.
    """

    step: float | None
    epoch: float | None
    steps: int | None
    epochs: int | None
    evaluated: float | None
    metric: str
    now: float | None
    best: float | None
    speed: float | None

    @property
    def left(self) -> float | None:
        """Seconds of training that are left."""
        if self.step is None or not self.speed or not self.steps:
            return None
        return max(0.0, (self.steps - self.step) / self.speed)


class Rows:
    """What metrics.jsonl says so far. Each look reads only the rows that were added since the last one."""

    def __init__(self, directory: Path):
        self.file = directory / rundir.METRICS
        self.stamp = "-"
        self._begin(None)

    def _begin(self, inode: int | None) -> None:
        self.inode, self.offset = inode, 0
        self.last_rows: dict[str, dict[str, float]] = {}  # numbers of the last row of each split
        self.least: dict[str, float] = {}  # the smallest and the largest value of each metric
        self.most: dict[str, float] = {}

    def read(self) -> "Rows":
        """Reads the new rows; returns itself."""
        now = stamp(str(self.file))
        if now not in ("-", self.stamp):
            with suppress(OSError), files.reader(self.file) as f:
                info = os.fstat(f.fileno())
                if info.st_ino != self.inode or info.st_size < self.offset:  # a resumed run writes the file anew
                    self._begin(info.st_ino)
                if info.st_size - self.offset > rundir.MOST_ROWS:
                    raise files.too_large(self.file, rundir.MOST_ROWS)
                f.seek(self.offset)
                for line in f:
                    if not line.endswith(b"\n"):
                        break
                    self.offset += len(line)
                    if (row := rundir.parsed(line)) is not None:
                        self.take(row)
                self.stamp = now
        return self

    def take(self, row: dict[str, Any]) -> None:
        """Takes up a row: the last values, and the extremes of each metric."""
        split, numbers = row["split"], {k: float(v) for k, v in row.items() if is_number(v)}
        self.last_rows[split] = numbers
        if "nonfinite" not in row:  # such an evaluation is no result
            for key, value in numbers.items():
                name = f"{split}/{key}"
                self.least[name] = min(value, self.least.get(name, value))
                self.most[name] = max(value, self.most.get(name, value))

    def last(self, name: str) -> float | None:
        """The last value of a metric such as ``val/loss``."""
        split, _, key = name.partition("/")
        return self.last_rows.get(split, {}).get(key)

    def furthest(self, key: str) -> float | None:
        """The largest ``step``, ``epoch`` or ``time`` of training."""
        return max((row[key] for split, row in self.last_rows.items() if split != "test" and key in row), default=None)


def live_state(run: Run, rows: Rows) -> LiveState:
    """How far a run has come: by its summary if it completed, else by its rows, of which the new ones are read."""
    config, facts = run.config, run.facts
    epochs, given = _whole(config.get("epochs")), _whole(config.get("steps"))
    examples, batch = _whole(facts.get("rows.train")), _whole(config.get("batch_size"))
    steps = given or (epochs * (examples // batch) if epochs and examples and batch else None)
    if run.summary:
        name, speed = run.main[0], facts.get("steps_per_second")
        step, epoch = (v if is_number(v) else None for v in (run.summary.get("step"), run.summary.get("epoch")))
        now, best, evaluated = run.metric(name, "last"), run.metric(name), step
        speed = speed if is_number(speed) else None
    else:
        rows.read()
        name, mode = run.main_among(lambda: rows.least)
        step, epoch, seconds = map(rows.furthest, ("step", "epoch", "time"))
        now, evaluated = rows.last(name), rows.last("val/step")
        best = (rows.least if mode == "min" else rows.most).get(name)
        side_by_side = _whole(facts.get("stack")) or 1  # the time is shared by all runs of the stack
        speed = step / seconds / side_by_side if step and seconds else None
    return LiveState(step, epoch, steps, None if given else epochs, evaluated, name, now, best, speed)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
