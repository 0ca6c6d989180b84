"""Finds out whether a run can be resumed, and from which step, before anything in its directory is written."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlrun.data.fingerprint import changed_since, changes
from dlrun.display.units import counted
from dlrun.errors import InvalidConfig, show
from dlrun.program.setup import Setup
from dlrun.runs import atomic, checkpoint, files, manifest, rundir
from dlrun.runs.status import SAVED
from dlrun.train.position import Position

ENDING = ("epochs", "steps", "early_stop.")
"""Keys that may end a run at the step that it has reached."""
ANY_TIME = (
    *ENDING,
    "devices",
    "compile_cache",
    "distributed.",
    "stream.",
    "eval.batch_size",
    "log.",
    "checkpoint.keep",
)
"""Keys that may still be changed for a run whose steps are all taken, but which was not tested yet."""
ACCEPT = "--accept-data"


@dataclass
class Resumption:
    """The saved state that a run goes on from, and what is known about it.

    Args:
      at: the position; before the first step, if there is no saved state.
      arrays: of the saved state, by path.
      step: of the saved state; None if there is none.
      unsound: later steps whose states are incomplete or damaged.
      changed: what changed in the data, if the user accepts that.
      forgets: whether earlier results are dropped, since they were measured on other data.
      notes: what a person should know.
    """

    at: Position
    arrays: dict[str, np.ndarray]
    step: int | None
    unsound: list[int]
    changed: list[str]
    forgets: bool
    notes: list[str]

    def keeps(self, row: dict[str, Any]) -> bool:
        """Whether the run keeps a row of metrics.jsonl; it writes the others again.

        A row of training metrics that an end cut short is not kept: the state has its sums, and the run completes it.
        """
        if self.step is None or self.forgets or row["step"] > self.step or row["split"] == "test":
            return False
        cut_short = bool(self.arrays.get("totals/sum/count", 0))
        return not (row["split"] == "train" and row["step"] == self.step and cut_short)


def resumption(
    setup: Setup, directory: Path, fit: Callable[[dict[str, Any]], Any], *, accept_data: bool = False
) -> Resumption | None:
    """Reads from a run's directory how it goes on; None if it is complete and nothing more was asked for.

    Args:
      fit: raises :class:`~dlrun.runs.checkpoint.CheckpointError` where saved arrays do not fit the run.
      accept_data: whether to go on with data that changed.

    Raises:
      InvalidConfig: when it can't go on, or what was asked for would have no effect.
    """
    changed = changes(rundir.read_data(directory), setup.data.preprocessing()) if setup.is_main_process else []
    other = any_process(bool(changed))
    try:
        found, problems = _found(setup, directory, fit, changed, other, accept_data), []
    except InvalidConfig as error:
        found, problems = None, error.problems
    if any_process(bool(problems)):
        raise InvalidConfig(problems or [f"{directory}: another process of this run can't go on"])
    return found


def any_process(here: bool) -> bool:
    """Whether ``here`` is true in any of the processes; they wait for each other, so all of them must call this."""
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(np.int32(here)).max())


def _found(
    setup: Setup,
    directory: Path,
    fit: Callable[[dict[str, Any]], Any],
    changed: list[str],
    other: bool,
    accept_data: bool,
) -> Resumption | None:
    run = atomic.read_json(directory / rundir.RUN) or {}
    same_teacher(setup, run)
    found, misfit = _last_state(directory, fit)
    if misfit and not changed:
        raise InvalidConfig([f"{directory}: {misfit}"])
    if misfit:
        why = f"{ACCEPT} can't help, as {misfit}: " if accept_data else ""
        raise InvalidConfig([f"{directory}: {changed_since(changed)}; {why}start a new run"])
    if found.step is None:
        _may_start_over(directory, run, found)
    if changed and not accept_data:
        allowed = f"start a new run, or go on anyway with {ACCEPT}: the best value so far then no longer counts"
        raise InvalidConfig([f"{directory}: {changed_since(changed)}; {allowed}"])
    prints = rundir.read_data(directory)["fingerprint"]
    if found.step is not None and any("x" not in prints.get(split, ()) for split in ("train", "val", "test")):
        found.notes.append(f"{directory} has no record of what its data held: whether it changed can't be checked")
    if found.step is not None:
        found.changed, found.forgets = changed, other or found.at.step <= _accepted(run)
    if damaged := rundir.damaged_rows(directory):
        found.notes.append(f"{counted(damaged, 'damaged row')} of {rundir.METRICS}: left out")
    if found.forgets:
        found.at = found.at.forgotten()
    return found if _goes_on(setup, directory, run, found) else None


def same_teacher(setup: Setup, run: dict[str, Any]) -> None:
    """Raises :class:`InvalidConfig` where the teacher's weights are not those that a run began with."""
    before = run.get("teacher", setup.teacher)
    if before != setup.teacher:
        where = f"loss.teacher={show(setup.plan.values['loss'].get('teacher'))}"
        then = before.get("step") if isinstance(before, dict) else before
        raise InvalidConfig([f"{where}: its weights, of step {show(then)} then, have changed: start a new run"])


def _last_state(directory: Path, fit: Callable[[dict[str, Any]], Any]) -> tuple[Resumption, str]:
    """The last sound state that fits; without one the position before the first step, and why the last does not fit.

    Raises:
      InvalidConfig: where a later version saved the last one, or a folder with the name of a later step is none of
        ours, so that it can't be put aside.
    """
    folder = directory / rundir.CHECKPOINTS
    unsound: list[int] = []
    misfit = ""
    for step in reversed(manifest.steps(folder)):
        if manifest.verify(folder / str(step)):
            try:
                arrays, loop = checkpoint.read(folder, step)
                if isinstance(loop, dict) and (unknown := loop.keys() - asdict(Position()).keys()):
                    other = f"another version of dlrun saved it, with {', '.join(sorted(unknown))}"
                    raise InvalidConfig([f"{directory}: the state of step {step} can't be used: {other}"])
                at = Position.saved(loop)
                if at.step != step:
                    raise TypeError(f"it is that of step {at.step}")
            except (checkpoint.CheckpointError, TypeError) as error:
                misfit = misfit or f"the state of step {step} can't be used: {error}"
            else:
                try:
                    fit(arrays)
                    return Resumption(at, arrays, step, sorted(unsound), [], False, []), ""
                except checkpoint.CheckpointError as error:
                    misfit = misfit or str(error)
        if not manifest.is_ours(folder / str(step)):
            raise InvalidConfig([f"{folder / str(step)}: {manifest.FOREIGN}; move it elsewhere"])
        unsound.append(step)
    return Resumption(Position(), {}, None, sorted(unsound), [], False, []), misfit


def _may_start_over(directory: Path, run: dict[str, Any], found: Resumption) -> None:
    """Raises :class:`InvalidConfig` if an ended run has no state left: starting over would destroy its results."""
    status = "completed" if files.kind(directory / rundir.SUMMARY) == "file" else run.get("status")
    if status in SAVED:
        where = f"{directory}: it is {status}, and its saved states are {'damaged' if found.unsound else 'gone'}"
        raise InvalidConfig([f"{where}: start a new run"])
    if not found.unsound and run:  # damaged states are reported where they are set aside
        found.notes.append(f"{directory} has no saved state: starting over from the first step")


def _accepted(run: dict[str, Any]) -> int:
    """The last step at which the run was resumed with changed data; -1 if it never was."""
    times = run.get("resumed")
    told = [again.get("data") for again in (times if isinstance(times, list) else []) if isinstance(again, dict)]
    steps = [step for data in told if isinstance(data, dict) and isinstance(step := data.get("step"), int)]
    return max(steps, default=-1)


def _goes_on(setup: Setup, directory: Path, run: dict[str, Any], found: Resumption) -> bool:
    """Whether there is something to do. Raises :class:`InvalidConfig` where what changed would have no effect."""
    at, total, settings = found.at, setup.total_steps, setup.plan.settings
    patience = settings.early_stop.patience or math.inf
    if at.step < total and at.stale < patience:
        return True
    complete = run.get("status") == "completed" and atomic.read_json(directory / rundir.SUMMARY) is not None
    old, new = (rundir.flat(atomic.jsonable(values)) for values in (run.get("config") or {}, setup.plan.values))
    different = [key for key in new if old.get(key, new[key]) != new[key]]
    asked = [f"{k}={show(new[k])}" for k in different if complete or not k.startswith(ANY_TIME)]
    asked += [ACCEPT] if found.changed else []
    key = "epochs" if settings.steps is None else "steps"
    per = setup.steps_per_epoch if key == "epochs" else 1
    lengths = [f"{k}={show(new[k])}" for k in ("epochs", "steps") if k in different and new[k] is not None]
    needed = [f"{key}={at.step // per + 1} or more"] if at.step >= total else lengths
    if at.stale >= patience:
        needed = [*needed, f"early_stop.patience={at.stale + 1} or more, or null"]
    allowed = f"with {' and '.join(needed)}"
    if at.step > total:
        where = f"the state is of step {at.step}, epoch {at.step / setup.steps_per_epoch:g}"
        allowed = allowed if asked else f"{key}>={math.ceil(at.step / per)}"  # the run may end here
        raise InvalidConfig([f"{key}={getattr(settings, key)}: not allowed: {where}; allowed: {allowed}"])
    if not asked:
        return not complete
    why = f"the run is already at its end, step {at.step}"
    if at.stale >= patience:
        ended = at.stale >= (old.get("early_stop.patience") or math.inf)
        by = (
            "early stopping ended this run"
            if ended
            else f"early_stop.patience={patience} ends this run where it stands,"
        )
        why = f"{by} at step {at.step} of {total}, {at.stale} evaluations without an improvement"
    raise InvalidConfig([f"{' '.join(asked)}: nothing would be trained: {why}; allowed: {allowed}"])
