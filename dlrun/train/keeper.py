"""What the loop does with a run's state and the files in its directory: log, evaluate, save, select, test."""

import math
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlrun.check.nonfinite import explain
from dlrun.display.progress import Progress
from dlrun.program.nonfinite import NonFinite
from dlrun.program.setup import Setup
from dlrun.runs import checkpoint, manifest, rundir
from dlrun.train import sinks
from dlrun.train.ends import Pruned, Stopped
from dlrun.train.position import Position
from dlrun.train.resumption import Resumption
from dlrun.train.signals import Stop
from dlrun.train.single import Member

SAVE_SECONDS = 2.0  # evaluations that follow one another faster save less often


class Run:
    """What the loop does with its member and with the files in the run directory."""

    def __init__(self, setup: Setup, directory: Path, member: Member, progress: Progress, stop: Stop):
        self.setup, self.directory, self.member = setup, directory, member
        self.progress, self.stop = progress, stop
        self.settings = setup.plan.settings
        self.writes = setup.first
        self.saved: set[int] = set()
        self.checked = 0
        self.saved_at = time.monotonic()
        self.best: tuple[Position, dict[str, np.ndarray]] | None = None

    def __enter__(self) -> "Run":
        self.checkpoints = checkpoint.Checkpoints(
            self.directory / rundir.CHECKPOINTS, keep=self.settings.checkpoint.keep
        )
        self.sinks: list[Any] = []
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status = "completed" if kind is None else "stopped" if kind in (Stopped, Pruned) else "failed"
        for sink in self.sinks:
            sink.close(status)
        self.member.close()
        self.checkpoints.close()

    # Where a run starts

    def begin(self) -> Position:
        """The state before the first step."""
        self.member.start()
        self._open_sinks()
        return Position()

    def restore(self, start: Resumption) -> Position:
        """The last sound state; without one, the state before the first step. Drops what was written after it."""
        last = -1 if start.step is None else start.step
        if start.unsound:
            where = "starting over" if start.step is None else f"going on from step {last}"
            self.progress.warn(f"the saved state of step {start.unsound[-1]} is incomplete or damaged; {where}")
        if self.writes:
            checkpoint.set_aside(self.directory / rundir.CHECKPOINTS, last)
            rundir.keep_rows(self.directory, partial(self._stands, last=-1 if start.forgets else last))
        self.member.start()
        if start.step is not None:
            self.member.place(start.arrays)
            start.arrays.clear()  # they are on the device
            self.saved, self.checked = {last}, last
            self.member.scale(start.at.lr_scale)
        self.progress.tell(f"going on from step {start.at.step} of {self.setup.total_steps}")
        if start.forgets:
            self.member.reset()
        self._open_sinks()
        return start.at

    # What the loop calls

    def log(self, at: Position) -> None:
        """Writes the mean metrics since the last row; stops the run where they are not finite."""
        self.check(at)
        totals, loss_scale = self.member.totals()
        count = float(totals["sum"].pop("count"))
        row = {k: float(v) / max(count, 1) for k, v in totals["sum"].items()} | {
            k: float(v) for k, v in totals["last"].items()
        }
        if loss_scale is not None:
            row["loss_scale"] = loss_scale
        self._write(at, "train", row)
        if at.step % self.settings.log.every == 0:  # not after the last, partial row: a longer run completes it
            self.member.reset()

    def evaluate(self, at: Position) -> float:
        """Validation: a row, the best value and the patience.

        Gives the metric that counts, NaN where the evaluation is no result: never best, and no improvement.
        """
        found = self.member.evaluate("val", partial(self.stop_if_asked, at))
        value = found.metrics[self.setup.metric.split("/")[1]]
        if found.problem or not math.isfinite(value):
            value = math.nan  # which compares to no number
        sign = -1 if self.setup.mode == "min" else 1
        best, mark = (-math.inf if v is None else sign * v for v in (at.best, at.mark))
        if sign * value >= best:  # of equals the later one, which saw more
            at.best, at.best_step = value, at.step
        if sign * value - mark > self.settings.early_stop.min_delta:
            at.mark, at.stale = value, 0
        else:
            at.stale += 1
        at.evaluated = at.step
        if "lr_scale" in self.setup.numbers:
            schedule = self.setup.plan.values["schedule"]
            at.lower_on_plateau(sign * value, **{k: v for k, v in schedule.items() if k != "name"})
            self.member.scale(at.lr_scale)
        self._write(at, "val", found.metrics)
        if found.problem:
            self.check(at)  # a step that failed says more
            if self.settings.on_nonfinite == "stop":
                raise NonFinite(f"{found.problem}, at step {at.step}")
            self.progress.warn(f"{found.problem}, at step {at.step}: this evaluation is no result")
        return value

    def prune(self, at: Position) -> None:
        """Gives the run up."""
        self.save(at)
        raise Pruned(at.step)

    def save_if_due(self, at: Position) -> None:
        """Saves the state, or after a moment only: then the best one is kept in memory, to be saved before the next."""
        if time.monotonic() - self.saved_at > SAVE_SECONDS * self.member.company:
            self.save(at)
        elif at.best_step == at.step:
            self.check(at)
            self.best = (replace(at), self.member.arrays())

    def save(self, at: Position) -> None:
        """Saves the state, finite or not at all; the best one stays beside the last."""
        if at.step in self.saved:
            return
        self.check(at)
        self.saved_at = time.monotonic()
        if self.best and self.best[0].step != at.best_step:
            self.best = None
        if self.writes:
            if self.best and (best := self.best[0]).step not in (at.step, *self.saved):
                self.checkpoints.save(best.step, self.best[1], asdict(best), best.step)
                self.saved.add(best.step)
            self.checkpoints.save(at.step, self.member.arrays(), asdict(at), at.best_step)
        self.saved.add(at.step)

    def check(self, at: Position) -> None:
        """Raises :class:`NonFinite` where a step failed or the state is not finite."""
        skipped, bad = self.member.health()
        if skipped > self.setup.numbers["max_skipped"] or any(bad.values()):
            raise explain(self.setup, self.member.state, self.member.feed, bad, (self.checked, at.step))
        self.checked = at.step

    def stop_if_asked(self, at: Position) -> None:
        """After a signal to any of the processes: saves and raises :class:`Stopped`."""
        signum = self.stop.signum or 0
        if jax.process_count() > 1:
            signum = int(multihost_utils.process_allgather(np.int32(signum)).max())
        if signum:
            self.save(at)
            self.checkpoints.wait()
            raise Stopped(signum, at.step)

    def select(self, at: Position) -> None:
        """Takes the best state, the one to be tested."""
        self.tested = at.step if at.best_step is None else at.best_step
        if at.best_step is None:
            self.progress.chosen = "last"
            self.progress.warn(f"no evaluation has a finite {self.setup.metric}: no state is best, testing the last")
        if self.tested == at.step:
            return
        if self.best and self.best[0].step == self.tested:
            arrays = self.best[1]
        else:
            arrays = self._saved(at)
        if jax.process_count() > 1:
            arrays = multihost_utils.broadcast_one_to_all(arrays)
        self.member.place(arrays)

    def test(self, at: Position) -> dict[str, Any]:
        """The test split, once, by the state that :meth:`select` took; gives its results for each class."""
        found = self.member.evaluate("test", partial(self.stop_if_asked, at))
        self._write(replace(at, step=self.tested), "test", found.metrics)
        if found.problem:
            raise NonFinite(f"{found.problem}, by the {self.progress.chosen} state, of step {self.tested}")
        return found.details

    # Details

    def _saved(self, at: Position) -> dict[str, np.ndarray]:
        """The best state from the disk; where it can't be read, the last one."""
        if not self.writes:
            return self.member.arrays()
        self.checkpoints.wait()
        folder = self.directory / rundir.CHECKPOINTS
        if not manifest.verify(folder / str(self.tested)):
            self.progress.warn(f"the best state, of step {self.tested}, is incomplete or damaged; testing the last one")
            self.tested, self.progress.chosen = at.step, "last"
        return checkpoint.read(folder, self.tested)[0]

    def _stands(self, row: dict[str, Any], last: int) -> bool:
        """Whether a resumed run leaves a row as it is: not those it will write again, nor those of a run's end."""
        closing = row["split"] == "test" or (row["split"] == "train" and row["step"] % self.settings.log.every)
        return row["step"] <= last and not closing

    def _open_sinks(self) -> None:
        if self.writes:
            log, values = self.settings.log, self.setup.plan.values
            others = sinks.Sinks(list(log.sinks), self.progress.warn, self.directory, log.project, values)
            self.sinks = [JsonLines(self.directory), others]

    def _write(self, at: Position, split: str, metrics: dict[str, float]) -> None:
        epoch = at.step / self.setup.steps_per_epoch
        row = {"step": at.step, "epoch": round(epoch, 4), "split": split, **metrics, "time": round(at.seconds, 3)}
        for sink in self.sinks:
            sink.write(row)
        self.progress.row(row)


class JsonLines:
    """metrics.jsonl as a sink."""

    def __init__(self, directory: Path):
        self.file = rundir.Metrics(directory)

    def write(self, row: dict[str, Any]) -> None:
        self.file.write(row)

    def close(self, status: str) -> None:
        self.file.close()
