"""The one loop, top to bottom: data, step, log, evaluate, save, by name."""

import logging
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from dlrun import checkpoint, environment, rundir, sinks, step
from dlrun.data import batches
from dlrun.diagnose import NonFinite, explain, nonfinite
from dlrun.nn.dropout import Number
from dlrun.progress import Progress
from dlrun.settings import in_steps
from dlrun.setup import Setup
from dlrun.signals import Stop

log = logging.getLogger(__name__)

DISPATCH_SECONDS = 0.1  # as long as one call to the device may take, where several steps are one call


@dataclass
class Position:
    """Where a run stands, beside its arrays: what resuming needs.

    Args:
      step: optimizer steps taken.
      evaluated: step of the last evaluation, -1 before the first.
      best: best value of the metric that chooses, and the step it was seen at.
      stale: evaluations in a row without an improvement.
      seconds: time spent in training so far.
    """

    step: int = 0
    evaluated: int = -1
    best: float | None = None
    best_step: int | None = None
    stale: int = 0
    seconds: float = 0.0


class Stopped(Exception):
    """A signal asked the run to stop, and its state is saved."""

    def __init__(self, signum: int, step: int):
        self.signum = signum
        super().__init__(f"stopped by signal {signum} at step {step}; its state is saved")


def train(setup: Setup, directory: Path, *, progress: Progress, stop: Stop, resume: bool = False) -> dict[str, Any]:
    """Trains, evaluates and saves until the run is done; gives its summary.

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
    run = Run(setup, directory, progress, stop)
    with run:
        at = run.restore() if resume else run.begin()
        settings, total = setup.plan.settings, setup.total_steps
        evaluate_every = in_steps(settings.eval.every, setup.steps_per_epoch)
        save_every = in_steps(settings.checkpoint.every or settings.eval.every, setup.steps_per_epoch)
        patience = settings.early_stop.patience or np.inf
        progress.start(at.step, total)
        while True:
            if at.evaluated < at.step and (at.step % evaluate_every == 0 or at.step == total) and at.step:
                run.evaluate(at)
                run.save(at)
            elif at.step % save_every == 0 and at.step and run.saved != at.step:
                run.save(at)
            if at.step >= total or at.stale >= patience:
                break
            run.stop_if_asked(at)
            until = min(next_multiple(at.step, n) for n in (settings.log.every, evaluate_every, save_every))
            run.steps(at, min(until, total))
            if at.step % settings.log.every == 0 or at.step == total:
                run.log(at)
        run.save(at)
        return run.finish(at)


def next_multiple(step: int, n: int) -> int:
    """The next multiple of ``n`` after ``step``."""
    return (step // n + 1) * n


class Run:
    """What the loop works with: compiled functions, arrays on the device, files in the run directory."""

    def __init__(self, setup: Setup, directory: Path, progress: Progress, stop: Stop):
        self.setup, self.directory, self.progress, self.stop = setup, directory, progress, stop
        self.settings = setup.plan.settings
        self.writes = jax.process_index() == 0
        self.saved: int | None = None

        program, graphdef = setup.program, setup.graphdef
        self.train_steps = jax.jit(partial(step.train_steps, program, graphdef), donate_argnums=(0, 1))
        self.eval_steps = jax.jit(partial(step.eval_steps, program, graphdef), donate_argnums=1)
        self.finite = jax.jit(nonfinite)

        table, self.rows = batches.stacked(setup.data)
        self.table = jax.device_put(table, setup.everywhere)
        size = -(-self.settings.eval.batch_size // setup.mesh.size) * setup.mesh.size
        longest = max(len(self.rows["val"]), len(self.rows["test"]))
        size = min(size, -(-longest // setup.mesh.size) * setup.mesh.size)
        self.eval_order = partial(batches.in_order, batch_size=size, batches=-(-longest // size))

        self.epoch = -1
        self.order: Any = None
        self.step_seconds: float | None = None
        self.checked = 0
        self.last_row: dict[str, Any] = {}

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
        self.checkpoints.close()

    # Where a run starts

    def begin(self) -> Position:
        """The state before the first step."""
        self.state = self.setup.start()
        self.totals = self._zeros()
        self._open_sinks(resumed=False)
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
        rundir.keep_rows(self.directory, last if last is not None else -1)
        fresh, totals = self.setup.start(), self._zeros()
        if last is None:
            self.state, self.totals, at = fresh, totals, Position()
        else:
            arrays, at = checkpoint.restore(folder, last, {"state": kept(fresh), "totals": totals})
            at = Position(**at)
            self.state = jax.device_put(with_kept(fresh, arrays["state"]), self.setup.everywhere)
            self.totals = jax.device_put(arrays["totals"], self.setup.everywhere)
            self.saved = self.checked = last
        self._open_sinks(resumed=True)
        return at

    # What the loop calls

    def steps(self, at: Position, until: int) -> None:
        """Trains up to step ``until``, or to the end of the epoch, or to a signal."""
        per_epoch = self.setup.steps_per_epoch
        epoch, offset = divmod(at.step, per_epoch)
        if epoch != self.epoch:
            order = batches.shuffled(self.rows["train"], self.settings.batch_size, seed=self.settings.seed, epoch=epoch)
            self.order, self.epoch = jax.device_put(order, self.setup.divided), epoch
        until = min(until, (epoch + 1) * per_epoch)
        alone = jax.process_count() == 1  # several processes must take the same steps: they agree between calls
        while at.step < until and not (alone and self.stop.signum):
            count = self._count(until - at.step)
            start = time.perf_counter()
            self.state, self.totals = self.train_steps(
                self.state, self.totals, self.table, self.order, np.int32(at.step % per_epoch), np.int32(count)
            )
            jax.block_until_ready(self.totals)
            seconds = time.perf_counter() - start
            first = self.step_seconds is None
            self.step_seconds = 1e-3 if first else seconds / count  # the first call compiles
            at.step += count
            at.seconds += 0.0 if first else seconds
            self.progress.advance(at.step, epoch=at.step / per_epoch)

    def log(self, at: Position) -> None:
        """Writes the mean metrics since the last row; stops the run where they are not finite."""
        self.check(at)
        totals = jax.device_get(self.totals)
        count = float(totals["sum"].pop("count"))
        row = {k: float(v) / max(count, 1) for k, v in totals["sum"].items()} | {k: float(v) for k, v in totals["last"].items()}
        if self.state.loss_scale is not None:
            row["loss_scale"] = float(self.state.loss_scale.scale)
        self._write(at, "train", row)
        self.totals = self._zeros()

    def evaluate(self, at: Position) -> None:
        """Validation: a row, the best value and the patience."""
        metrics = self._metrics("val", at)
        value = metrics[self.setup.metric.split("/")[1]]
        sign = -1 if self.setup.mode == "min" else 1
        enough = at.best is None or sign * (value - at.best) > self.settings.early_stop.min_delta
        if at.best is None or sign * (value - at.best) > 0:
            at.best, at.best_step = value, at.step
        at.stale = 0 if enough else at.stale + 1
        at.evaluated = at.step
        self._write(at, "val", metrics)

    def save(self, at: Position) -> None:
        """Saves the state, finite or not at all; the best one stays beside the last."""
        if self.saved == at.step:
            return
        self.check(at)
        arrays = {"state": kept(self.state), "totals": self.totals}
        if self.writes:
            self.checkpoints.save(at.step, arrays, asdict(at), at.best_step)
        self.saved = at.step

    def check(self, at: Position) -> None:
        """Raises :class:`NonFinite` where a step failed or the state is not finite."""
        steps, bad = jax.device_get((self.state.skipped, self.finite(self.state)))
        if steps > self.setup.numbers["max_skipped"] or any(bad.values()):
            raise explain(self.setup, self.state, self.table, self._batch_at, bad, (self.checked, at.step))
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
        """The test split, once, by the best state; the summary."""
        final = self.last_rows()
        if at.best_step is not None and at.best_step != at.step:
            self.checkpoints.wait()
            like = {"state": kept(self.state), "totals": self.totals}
            folder = self.directory / rundir.CHECKPOINTS
            arrays, _ = checkpoint.restore(folder, at.best_step, like)
            self.state = jax.device_put(with_kept(self.state, arrays["state"]), self.setup.everywhere)
        test = self._metrics("test", at)
        self._write(replace(at, step=at.best_step if at.best_step is not None else at.step), "test", test)
        return summary(self.setup, at, {**final, "test": test}, rundir.read_metrics(self.directory))

    # Details

    def last_rows(self) -> dict[str, dict[str, Any]]:
        """The last training and validation row."""
        return {row["split"]: row for row in rundir.read_metrics(self.directory)}

    def _metrics(self, split: str, at: Position) -> dict[str, float]:
        order = self.eval_order(self.rows[split])
        used = int((order >= 0).any(1).sum())
        placed = jax.device_put(order, self.setup.divided)
        names = [*self.setup.program.task.metrics, "count"]
        totals = jax.device_put({k: np.float32(0) for k in names}, self.setup.everywhere)
        chunk = used if self.setup.program.loop else 1
        for start in range(0, used, chunk):
            totals = self.eval_steps(
                self.state, totals, self.table, placed, np.int32(start), np.int32(min(chunk, used - start))
            )
            self.stop_if_asked(at)
        sums = jax.device_get(totals)
        count = float(sums.pop("count"))
        return {k: float(v) / count for k, v in sums.items()}

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

    def _batch_at(self, number: int) -> Any:
        epoch, offset = divmod(number, self.setup.steps_per_epoch)
        rows = self.rows["train"]
        return batches.shuffled(rows, self.settings.batch_size, seed=self.settings.seed, epoch=epoch)[offset]

    def _open_sinks(self, *, resumed: bool) -> None:
        if self.writes:
            arguments = (self.directory, self.settings.log.project, self.setup.plan.values, resumed)
            self.sinks = [JsonLines(self.directory), *(sinks.SINKS[s](*arguments) for s in self.settings.log.sinks)]

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


def kept(state: step.TrainState) -> dict[str, Any]:
    """The part of a state that is saved: all but the numbers, which follow from the configuration."""
    parts = {k: getattr(state, k) for k in ("step", "params", "opt_state", "ema", "loss_scale", "skipped", "key")}
    return parts | {"variables": nnx.filter_state(state.variables, nnx.Not(Number))}


def with_kept(state: step.TrainState, saved: dict[str, Any]) -> step.TrainState:
    """``state`` with its saved part replaced."""
    numbers = nnx.filter_state(state.variables, Number)
    return replace(state, **{**saved, "variables": nnx.merge_state(saved["variables"], numbers)})


def summary(setup: Setup, at: Position, rows: dict[str, dict[str, Any]], history: list[dict[str, Any]]) -> dict[str, Any]:
    """What summary.json holds: final, best and test metrics as flat keys."""
    flat = {"step": at.step, "epoch": round(at.step / setup.steps_per_epoch, 4), "seconds": round(at.seconds, 3)}
    flat |= {"best/step": at.best_step, "metric": setup.metric, "mode": setup.mode}
    for split in ("train", "val", "test"):
        flat |= sinks.named({"split": split, **rows.get(split, {})})
    best = [r for r in history if r["split"] == "val" and r["step"] == at.best_step]
    return flat | {f"best/{k}": v for r in best[-1:] for k, v in sinks.named(r).items()}
