"""The one loop, top to bottom: data, step, log, evaluate, save, by name."""

import signal
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlrun import checkpoint, rundir, sinks, step
from dlrun.data.feed import feed
from dlrun.diagnose import explain, nonfinite
from dlrun.evaluate import Evaluator
from dlrun.progress import Progress
from dlrun.settings import in_steps
from dlrun.setup import Setup
from dlrun.signals import Stop
from dlrun.snapshot import Position, kept, with_kept

DISPATCH_SECONDS = 0.1  # as long as one call to the device may take, where several steps are one call
OVERLAP_SECONDS = 0.02  # calls shorter than this overlap
SAVE_SECONDS = 2.0  # evaluations that follow one another faster save less often: a save takes tens of milliseconds


Result = tuple[Position, dict[str, Any]]
"""Where a run stands at its end, and the test split's results for each class."""


class Stopped(Exception):
    """A signal asked the run to stop, and its state is saved."""

    def __init__(self, signum: int, step: int):
        self.signum = signum
        super().__init__(f"by {signal.Signals(signum).name}; the state of step {step} is saved")


def train(setup: Setup, directory: Path, *, progress: Progress, stop: Stop, resume: bool = False) -> Result:
    """Trains, evaluates and saves until the run is done.

    Args:
      directory: the run directory.
      progress: shows a person how far it is.
      stop: tells of signals.
      resume: whether to go on from the last sound state in the directory.

    Raises:
      Stopped: after a signal.
      NonFinite: when a loss, gradient, parameter or statistic is not finite.
      CheckpointError: when a state could not be saved.
    """
    with Run(setup, directory, progress, stop) as run:
        at = run.restore() if resume else run.begin()
        settings, total = setup.plan.settings, setup.total_steps
        evaluate_every = in_steps(settings.eval.every, setup.steps_per_epoch)
        save_every = in_steps(settings.checkpoint.every, setup.steps_per_epoch) if settings.checkpoint.every else total
        patience = settings.early_stop.patience or np.inf
        progress.start(at.step, total)
        while True:
            if at.evaluated < at.step and (at.step % evaluate_every == 0 or at.step == total) and at.step:
                run.evaluate(at)
                run.save_if_due(at)
            if at.step % save_every == 0 and at.step:
                run.save(at)
            if at.step >= total or at.stale >= patience:
                break
            run.stop_if_asked(at)
            until = min(next_multiple(at.step, n) for n in (settings.log.every, evaluate_every, save_every))
            run.steps(at, min(until, total))
            if at.step % settings.log.every == 0:
                run.log(at)
        if at.step % settings.log.every:
            run.log(at)
        run.save(at)
        return at, run.finish(at)


def next_multiple(step: int, n: int) -> int:
    """The next multiple of ``n`` after ``step``."""
    return (step // n + 1) * n


class Run:
    """What the loop works with: compiled functions, arrays on the device, files in the run directory."""

    def __init__(self, setup: Setup, directory: Path, progress: Progress, stop: Stop):
        self.setup, self.directory, self.progress, self.stop = setup, directory, progress, stop
        self.settings = setup.plan.settings
        self.writes = setup.first
        self.saved: int | None = None

        program, graphdef = setup.program, setup.graphdef
        self.train_steps = jax.jit(partial(step.train_steps, program, graphdef), donate_argnums=0)
        self.finite = jax.jit(nonfinite)

        size, seed, how = self.settings.batch_size, self.settings.seed, self.settings.stream
        self.feed = feed(setup.data, size, seed, setup.everywhere, setup.divided, how, loop=program.loop)
        self.metrics = Evaluator(setup, self.feed)
        self.constants = jax.device_put(setup.constants, setup.everywhere)
        self.step_seconds: float | None = None
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
        status = "completed" if kind is None else "stopped" if kind is Stopped else "failed"
        for sink in self.sinks:
            sink.close(status)
        self.feed.close()
        self.checkpoints.close()

    # Where a run starts

    def begin(self) -> Position:
        """The state before the first step."""
        self.state = self.setup.start()
        self.totals = self._zeros()
        self._open_sinks()
        return Position()

    def restore(self) -> Position:
        """The last sound state; without one, the state before the first step."""
        folder = self.directory / rundir.CHECKPOINTS
        steps = checkpoint.steps(folder)
        last = next((s for s in reversed(steps) if checkpoint.verify(folder / str(s))), None)
        if any(s for s in steps if s > (last if last is not None else -1)):
            moved = checkpoint.set_aside(folder, last if last is not None else -1)
            where = "starting over" if last is None else f"going on from step {last}"
            self.progress.warn(f"the saved state of step {moved[-1]} is incomplete or damaged; {where}")
        rundir.keep_rows(self.directory, partial(self._stands, last=-1 if last is None else last))
        fresh, totals = self.setup.start(), self._zeros()
        if last is None:
            self.state, self.totals, at = fresh, totals, Position()
        else:
            arrays, at = checkpoint.read(folder, last)
            at = Position(**at)
            self._place(arrays, fresh, totals)
            self.saved = self.checked = last
            self._scale(at.lr_scale)
        self._open_sinks()
        return at

    # What the loop calls

    def steps(self, at: Position, until: int) -> None:
        """Trains up to step ``until``, or to the end of the epoch, or to a signal."""
        until = min(until, next_multiple(at.step, self.setup.steps_per_epoch))
        alone = jax.process_count() == 1  # several processes must take the same steps: they agree between calls
        while at.step < until and not (alone and self.stop.signum):
            began = time.perf_counter()
            table, order, first, count = self.feed.train(at.step, self._count(until - at.step))
            start = time.perf_counter()
            before = self.totals
            self.state, self.totals = self.train_steps(
                self.state, before, {**table, **self.constants}, order, np.int32(first), np.int32(count)
            )
            # Short calls overlap with preparing the next one; long ones are waited for, so that a signal need not.
            jax.block_until_ready(self.totals if count > 1 or (self.step_seconds or 1) > OVERLAP_SECONDS else before)
            done = time.perf_counter()
            compiled = self.step_seconds is None
            self.step_seconds = 1e-3 if compiled else (done - start) / count
            at.step += count
            at.seconds += 0.0 if compiled else done - began
            self.progress.advance(at.step, epoch=at.step / self.setup.steps_per_epoch)

    def log(self, at: Position) -> None:
        """Writes the mean metrics since the last row; stops the run where they are not finite."""
        self.check(at)
        totals = jax.device_get(self.totals)
        count = float(totals["sum"].pop("count"))
        row = {k: float(v) / max(count, 1) for k, v in totals["sum"].items()} | {
            k: float(v) for k, v in totals["last"].items()
        }
        if self.state.loss_scale is not None:
            row["loss_scale"] = float(self.state.loss_scale.scale)
        self._write(at, "train", row)
        if at.step % self.settings.log.every == 0:  # not after the last, partial row: a longer run completes it
            self.totals = self._zeros()

    def evaluate(self, at: Position) -> None:
        """Validation: a row, the best value and the patience."""
        metrics, _ = self.metrics("val", self.state, between=partial(self.stop_if_asked, at))
        value = metrics[self.setup.metric.split("/")[1]]
        sign = -1 if self.setup.mode == "min" else 1
        if at.best is None or sign * (value - at.best) >= 0:  # of equals the later one, which saw more
            at.best, at.best_step = value, at.step
        if at.mark is None or sign * (value - at.mark) > self.settings.early_stop.min_delta:
            at.mark, at.stale = value, 0
        else:
            at.stale += 1
        at.evaluated = at.step
        if "lr_scale" in self.state.numbers:
            schedule = self.setup.plan.values["schedule"]
            at.lower_on_plateau(sign * value, **{k: v for k, v in schedule.items() if k != "name"})
            self._scale(at.lr_scale)
        self._write(at, "val", metrics)

    def save_if_due(self, at: Position) -> None:
        """Saves the state, or after a moment only: then the best one is kept in memory, to be saved before the next."""
        if time.monotonic() - self.saved_at > SAVE_SECONDS:
            self.save(at)
        elif at.best_step == at.step:
            self.check(at)
            self.best = (replace(at), checkpoint.copied(self._arrays()))

    def save(self, at: Position) -> None:
        """Saves the state, finite or not at all; the best one stays beside the last."""
        if self.saved == at.step:
            return
        self.check(at)
        best, self.best, self.saved, self.saved_at = self.best, None, at.step, time.monotonic()
        if self.writes:
            if best and best[0].step == at.best_step != at.step:
                self.checkpoints.save(best[0].step, best[1], asdict(best[0]), at.best_step)
            self.checkpoints.save(at.step, checkpoint.copied(self._arrays()), asdict(at), at.best_step)

    def check(self, at: Position) -> None:
        """Raises :class:`NonFinite` where a step failed or the state is not finite."""
        steps, bad = jax.device_get((self.state.skipped, self.finite(self.state)))
        if steps > self.setup.numbers["max_skipped"] or any(bad.values()):
            raise explain(self.setup, self.state, self.feed, bad, (self.checked, at.step))
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

    def finish(self, at: Position) -> dict[str, Any]:
        """The test split, once, by the best state; gives its results for each class."""
        best = at.step if at.best_step is None else at.best_step
        if best != at.step:
            self.checkpoints.wait()
            folder = self.directory / rundir.CHECKPOINTS
            if self.writes and not checkpoint.verify(folder / str(best)):
                self.progress.warn(f"the best state, of step {best}, is incomplete or damaged; testing the last one")
                best = at.step
            arrays = checkpoint.flat(self._arrays())
            if best != at.step and self.writes:
                arrays, _ = checkpoint.read(folder, best)
            if jax.process_count() > 1:
                arrays = multihost_utils.broadcast_one_to_all(jax.device_get(arrays))
            self._place(arrays, self.state, self.totals)
        metrics, details = self.metrics("test", self.state, between=partial(self.stop_if_asked, at))
        self._write(replace(at, step=best), "test", metrics)
        return details

    # Details

    def _place(self, arrays: dict[str, Any], state: step.TrainState, totals: step.Metrics) -> None:
        """Puts saved arrays on the devices; numbers stay those of ``state``."""
        saved = checkpoint.fit(arrays, {"state": kept(state), "totals": totals})
        self.state = jax.device_put(with_kept(state, saved["state"]), self.setup.everywhere)
        self.totals = jax.device_put(saved["totals"], self.setup.everywhere)

    def _scale(self, lr_scale: float) -> None:
        """Sets what the learning rate is multiplied by, where the schedule follows the validation metric."""
        if "lr_scale" in self.state.numbers:
            scale = jax.device_put(np.float32(lr_scale), self.setup.everywhere)
            self.state = replace(self.state, numbers={**self.state.numbers, "lr_scale": scale})

    def _arrays(self) -> dict[str, Any]:
        return {"state": kept(self.state), "totals": self.totals}

    def _count(self, most: int) -> int:
        """How many steps the next dispatch takes: many short ones, but no more than a signal can wait for."""
        if not self.setup.program.loop:
            return 1
        if jax.process_count() > 1:
            return most
        return 1 if self.step_seconds is None else max(1, min(most, int(DISPATCH_SECONDS / self.step_seconds)))

    def _zeros(self) -> step.Metrics:
        names = [*self.setup.program.task.metrics, "loss", "grad_norm", "count"]
        zeros = {"sum": {k: np.float32(0) for k in sorted(set(names))}, "last": {"lr": np.float32(0)}}
        return jax.device_put(zeros, self.setup.everywhere)

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
