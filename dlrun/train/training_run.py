"""One run as the loop trains it: which step it is at, what is due there, and how it begins and ends."""

import contextlib
import logging
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlrun.display.progress import Progress
from dlrun.display.units import counted
from dlrun.errors import InvalidConfig
from dlrun.program.compiled import Evaluation
from dlrun.program.nonfinite import NonFinite
from dlrun.program.setup import Setup
from dlrun.runs import rundir
from dlrun.runs.lock import Gone
from dlrun.train.ends import advice, is_known, status_of
from dlrun.train.output import Output
from dlrun.train.pace import Pace
from dlrun.train.position import Position
from dlrun.train.record import introduction
from dlrun.train.resumption import Resumption, resumption
from dlrun.train.states import States
from dlrun.train.timetable import Timetable

log = logging.getLogger(__name__)


class TrainingRun:
    """One run and its directory, which exists already: goes from step to step, and holds what the loop asks for.

    Args:
      directory: the run directory; any path, for a process that writes nothing.
      progress: shows a person how far the run is.
      place: index of its state in :class:`~dlrun.train.states.States`.
      beside: how many runs are trained side by side, this one included.
      number: of its job in a sweep.
      command: the command that makes the run; None for this process's command.
      facts: what :func:`dlrun.system.environment.facts` returned, if it was called before.
      resumed: overrides of a resumed run; None for a new one.
      accept_data: whether a resumed run goes on with data that changed.
      accept: called once this process holds the directory's lock and knows that the run can go on.
      pictures: whether to draw what ``log.plot`` asks for.
      own_log: whether the run writes its log.txt itself, as runs that share a process do; else the caller does.

    Attributes:
      at: its position in training.
      value: of the metric that chooses the best state, at the last evaluation; NaN where there was no result.
      problem: what was not finite in the last evaluation.
      checked, logged: the steps of the last check for numbers that are not finite, and of the last training row.
      code: the exit code, once it has ended: 0 done, 1 failed, 2 invalid input, 128 + a signal's number stopped.
      raised: the error that ended it, unless its message in run.json is enough.
    """

    def __init__(
        self,
        setup: Setup,
        directory: Path,
        progress: Progress,
        *,
        place: int = 0,
        beside: int = 1,
        number: int = 0,
        command: list[str] | None = None,
        facts: dict[str, Any] | None = None,
        resumed: list[str] | None = None,
        accept_data: bool = False,
        accept: Callable[[], None] = lambda: None,
        pictures: bool = True,
        own_log: bool = False,
    ):
        self.setup, self.directory, self.progress = setup, directory, progress
        self.place, self.number = place, number
        self.resumed, self.accept_data, self.accept = resumed, accept_data, accept
        self.settings, self.timetable = setup.plan.settings, Timetable.of(setup)
        self.output = Output(setup, directory, own_log, command=command, facts=facts, pictures=pictures)
        self.keeper = self.output.keeper

        self.at, self.pace = Position(), Pace(beside)
        self.resumption: Resumption | None = None
        self.has_nothing_to_do = False
        self.value, self.problem = math.nan, ""
        self.checked = self.logged = 0
        self.details: dict[str, Any] | None = None
        self.code = 0
        self.raised: BaseException | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes the files: of several, only the first does."""
        return self.setup.is_main_process

    @property
    def logs(self) -> bool:
        return self.timetable.logs(self.at) and self.at.step > self.logged

    @property
    def is_unsaved(self) -> bool:
        return self.at.step not in self.keeper.saved

    @property
    def is_best(self) -> bool:
        return self.at.best_step == self.at.step

    @property
    def follows_validation(self) -> bool:
        """Whether the learning rate depends on the validation metric."""
        return "lr_scale" in self.setup.numbers

    # From its directory to its first step

    def open(self, states: States) -> None:
        """Locks the directory, finds out where the run starts or goes on, and writes its first records.

        Raises:
          InUse: when another process works in the directory.
          InvalidConfig: when a resumed run can't go on; the directory stays as it was.
        """
        if self.writes:
            self.output.take_lock()
        if self.resumed is not None:
            fit = states.compiled.fit
            self.resumption = resumption(self.setup, self.directory, fit, accept_data=self.accept_data)
            if self.resumption is None:
                self.has_nothing_to_do = True
                self.progress.note(f"nothing to do: {self.directory} is complete; more steps: epochs=... or steps=...")
                return
        if self.writes:
            self.accept()
        self._introduce()
        eval_size = states.eval_size  # before the branch: all processes must ask, as they agree on it
        record, again = self.output.new_record(), None
        if self.writes:
            if self.resumption is not None and self.resumed is not None:
                again = {"overrides": self.resumed, **record.keep_history(self.resumption, self.progress.warn)}
            record.open(self.pace, eval_size, again)
        self.output.record = record
        if self.writes:
            record.write_data()
        if self.resumption is not None:
            self._restore(self.resumption)

    def begin(self) -> None:
        """Opens the sinks and starts the display, once the state is on the devices."""
        if self.resumption is not None:
            self.progress.tell(f"going on from step {self.at.step} of {self.timetable.total}")
            self.resumption.arrays.clear()
        if self.writes:
            self.output.open_sinks(self.progress.warn)
        self.progress.start(self.at.step, self.timetable.total)

    @property
    def saved_arrays(self) -> dict[str, np.ndarray] | None:
        """The saved state that the run goes on from; None where it starts from the first step."""
        return None if self.resumption is None or self.resumption.step is None else self.resumption.arrays

    # What the loop calls

    def stand(self, step: int, seconds: float | None, beside: int) -> None:
        """The run has come to ``step`` by a dispatch that trained ``beside`` runs; None seconds if that compiled."""
        if seconds is not None:
            self.pace.add(step - self.at.step, seconds, beside)
        self.at = self.at.trained(step, (seconds or 0.0) / beside)
        self.progress.steps_per_second = self.pace.rate()
        self.progress.advance(step, epoch=step / self.timetable.per_epoch)

    def log(self, totals: dict[str, Any], loss_scale: float | None) -> None:
        """Writes the mean metrics since the last row."""
        count = max(float(totals["sum"]["count"]), 1)
        row = {k: float(v) / count for k, v in totals["sum"].items() if k != "count"}
        row |= {k: float(v) for k, v in totals["last"].items()}
        self._write("train", row if loss_scale is None else {**row, "loss_scale": loss_scale})
        self.logged = self.at.step

    def take(self, evaluation: Evaluation) -> None:
        """Takes the results of the validation split: updates the best value and the patience, writes a row."""
        value = evaluation.metrics[self.setup.metric.split("/")[1]]
        self.problem = evaluation.problem or ""
        self.value = math.nan if evaluation.problem or not math.isfinite(value) else value
        self.at = self.at.measured(self.value, self.setup.mode, self.settings.early_stop.min_delta)
        if self.follows_validation:
            schedule = {k: v for k, v in self.setup.plan.values["schedule"].items() if k != "name"}
            self.at = self.at.on_plateau(-self.value if self.setup.mode == "min" else self.value, **schedule)
        self._write("val", evaluation.metrics)

    def tell_problem(self) -> None:
        """Raises :class:`NonFinite` for an evaluation that is not finite; with ``on_nonfinite=skip``, warns instead."""
        if self.settings.on_nonfinite == "stop":
            raise NonFinite(f"{self.problem}, at step {self.at.step}")
        self.progress.warn(f"{self.problem}, at step {self.at.step}: this evaluation is no result")

    def select(self, states: States) -> dict[str, np.ndarray] | None:
        """Chooses the state to test, the best; gives its arrays, or None where that is the present state."""
        self.tested = self.at.step if self.at.best_step is None else self.at.best_step
        if self.at.best_step is None:
            self.progress.chosen = "last"
            why = f"no evaluation has a finite {self.setup.metric}: no state is the best"
            self.progress.warn(f"{why}, so the last one is tested")
        if self.tested == self.at.step:
            return None
        arrays = self.keeper.held(self.tested)
        if arrays is None:
            arrays = self._saved_best() if self.writes else states.arrays([self.place])[self.place]
        return multihost_utils.broadcast_one_to_all(arrays) if jax.process_count() > 1 else arrays

    def test(self, evaluation: Evaluation) -> None:
        """Takes the results of the test split, by the state that :meth:`select` chose."""
        self._write("test", evaluation.metrics, self.tested)
        if evaluation.problem:
            raise NonFinite(f"{evaluation.problem}, by the {self.progress.chosen} state, of step {self.tested}")
        self.details = evaluation.details

    def end(self, error: BaseException | None = None) -> None:
        """Writes the last records and closes everything. Without an error the run is complete."""
        with self.output.closing():
            error, record = self.output.close(error), self.output.record
            if record is None:
                self.raised, self.code = error, 0 if error is None else 2 if isinstance(error, InvalidConfig) else 1
                return
            status, told, self.code = status_of(error)
            if not is_known(error):
                self.raised = error
                log.error("%s", "".join(traceback.format_exception(error)))
            if self.writes and not isinstance(error, Gone):
                recorded = record.close(status, told, self.at, self.pace, self.details if error is None else None)
                if recorded and error is None:
                    self.keeper.complete()
            if told and self.raised is None:
                self.progress.note(f"{status}: {told}{advice(error, self.setup, self.directory)}")

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """A context in which log lines go to this run's log.txt."""
        return self.output.turn()

    # Details

    def _introduce(self) -> None:
        """Tells the person what is about to be trained, with warnings."""
        self.progress.stack = self.pace.stack
        if self.resumed is not None:
            self.progress.tell(" ".join(["resumed", *(["with", *self.resumed] if self.resumed else [])]))
        for text in introduction(self.setup) if self.writes else ():
            self.progress.tell(text)
        for text in [*self.setup.warnings, *(self.resumption.notes if self.resumption else ())]:
            self.progress.warn(text)

    def _restore(self, start: Resumption) -> None:
        """Goes back to the position of the last sound state, and drops what was written after it."""
        last = -1 if start.step is None else start.step
        if start.unsound:
            where = "starting over" if start.step is None else f"going on from step {last}"
            self.progress.warn(f"the saved state of step {start.unsound[-1]} is incomplete or damaged; {where}")
        if self.writes:
            self.keeper.set_aside(last)
            damaged = rundir.damaged_rows(self.directory)  # told already
            kept = rundir.keep_rows(self.directory, start.keeps)
            if (lost := (start.at.rows or 0) - kept - damaged) > 0:
                self.progress.warn(
                    f"{rundir.METRICS} lacks {lost:,} of the {counted(start.at.rows or 0, 'row')} up to step {last}: "
                    "they were lost, perhaps in a power cut; curves and comparisons do without them"
                )
            start.at = start.at.written(kept)
        self.at = start.at
        self.logged = self.at.step
        if start.step is not None:
            self.keeper.saved, self.checked = {last}, last

    def _saved_best(self) -> dict[str, np.ndarray]:
        """The best state from the disk; where it can't be read, the last one."""
        if not self.keeper.is_sound(self.tested):
            bad = f"the best state, of step {self.tested}, is incomplete or damaged"
            self.progress.warn(f"{bad}; the last one is tested instead")
            self.tested, self.progress.chosen = self.at.step, "last"
        return self.keeper.read(self.tested)

    def _write(self, split: str, metrics: dict[str, float], step: int | None = None) -> None:
        step = self.at.step if step is None else step
        epoch = round(step / self.timetable.per_epoch, 4)
        row = {"step": step, "epoch": epoch, "split": split, **metrics, "time": round(self.at.seconds, 3)}
        if split == "val" or (split == "train" and self.timetable.logs(self.at)):  # else a resumed run writes it again
            self.at = self.at.written()
        self.output.write(row)
        self.progress.row(row)
