"""The training loop. It trains one or several runs that stand at the same step, and evaluates, saves and ends them.

A single run and a stack of runs take the same path. Each request to the devices is made once for all runs that need it.
What follows is done for each run on its own: an error ends that run, and the others go on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlrun.check.nonfinite import explain
from dlrun.train.ends import Pruned, Pruner, Stopped
from dlrun.train.signals import Stop
from dlrun.train.states import States
from dlrun.train.training_run import TrainingRun

T = TypeVar("T")


def train(
    runs: Sequence[TrainingRun],
    states: States,
    stop: Stop,
    *,
    pruner: Pruner | None = None,
    ended: Callable[[TrainingRun], None] = lambda run: None,
) -> None:
    """Trains runs until each of them is complete or an error ended it; ``run.code`` and ``run.raised`` then say which.

    Args:
      runs: in the order of their places in ``states``. All start at the same step.
      stop: notes signals; after the first one all runs are saved and stopped.
      pruner: decides which runs of a search to give up.
      ended: called with each run that has ended.
    """
    loop = Loop(runs, states, stop, ended)
    try:
        loop.begin()
        while loop.active:
            loop.evaluate()
            loop.prune(pruner)
            loop.save([run for run in loop.active if run.timetable.saves(run.at)])
            loop.finish([run for run in loop.active if run.timetable.is_done(run.at)])
            loop.stop_if_asked()
            loop.advance()
            loop.log([run for run in loop.active if run.logs])
    except BaseException as error:  # such as KeyboardInterrupt, which ends the process
        loop.end(loop.active, error)
        raise
    finally:
        states.close()


class Loop:
    """The phases of the loop, each of which does one thing for all runs that are due.

    Attributes:
      active: the runs that have not ended, in order; a dictionary, which finds each at once.
      evaluated: the runs that the latest :meth:`evaluate` evaluated.
    """

    def __init__(self, runs: Sequence[TrainingRun], states: States, stop: Stop, ended: Callable[[TrainingRun], None]):
        self.states, self.stop, self.ended = states, stop, ended
        self.active = dict.fromkeys(runs)
        self.evaluated: list[TrainingRun] = []

    def begin(self) -> None:
        """Opens the run directories, and puts the states that the runs start or go on from on the devices."""
        self.for_each(self.active, lambda run: run.open(self.states))
        self.end([run for run in self.active if run.has_nothing_to_do])
        runs = self.remaining(self.active)
        self.request(runs, lambda _: self.states.start({run.place: run.saved_arrays for run in runs}))
        self.scale([run for run in self.active if run.resumption])
        self.reset([run for run in self.active if run.resumption and run.resumption.forgets])
        self.for_each(self.active, TrainingRun.begin)

    def evaluate(self) -> None:
        """Evaluates the runs that are due on the validation split, and updates their best values and patience.

        A run whose last save is long ago is saved. Any other that is at its best so far has its state kept in memory.
        """
        due = [run for run in self.active if run.timetable.evaluates(run.at)]
        results = self.request(due, lambda places: self.states.evaluate("val", places, self.is_stopping))
        taken = self.for_each_result(results, TrainingRun.take)
        self.scale(taken)
        troubled = self.check([run for run in taken if run.problem])  # check() tells more of a failed step
        self.for_each(troubled, TrainingRun.tell_problem)
        self.evaluated = self.remaining(taken)
        overdue = [run for run in self.evaluated if run.keeper.is_overdue(len(self.active))]
        self.save(overdue)
        best = self.check([run for run in self.remaining(self.evaluated) if run.is_best and run not in overdue])
        arrays = self.request(best, self.states.arrays)
        self.for_each_result(arrays, lambda run, best: run.keeper.hold(run.at, best))

    def prune(self, pruner: Pruner | None) -> None:
        """Ends runs that a search gives up. All runs report before any is judged, so that their order has no effect."""
        if pruner is None:
            return
        trials = [run for run in self.remaining(self.evaluated) if not run.timetable.is_complete(run.at)]
        for run in trials:
            pruner.report(run.number, run.timetable.evaluations(run.at), run.value)
        hopeless = [run for run in trials if pruner.prune(run.number, run.timetable.evaluations(run.at))]
        self.save(hopeless)
        for run in self.remaining(hopeless):
            self.end([run], Pruned(run.at.step))

    def save(self, runs: Iterable[TrainingRun]) -> None:
        """Saves the states of runs, unless they are saved already; a run whose state is not finite is ended instead."""
        sound = self.check([run for run in self.remaining(runs) if run.is_unsaved])
        arrays = self.request([run for run in sound if run.writes], self.states.arrays)
        self.for_each(sound, lambda run: run.output.save(run.at, arrays.get(run)))

    def finish(self, runs: list[TrainingRun]) -> None:
        """Tests runs that are done, once, by the best state of each, and ends them."""
        self.log([run for run in runs if not run.timetable.logs(run.at)])
        self.save(runs)
        arrays: dict[TrainingRun, dict[str, np.ndarray]] = {}

        def select(run: TrainingRun) -> None:
            if (best := run.select(self.states)) is not None:
                arrays[run] = best

        self.for_each(runs, select)
        chosen = self.remaining(arrays)
        self.request(chosen, lambda _: self.states.place({run.place: arrays[run] for run in chosen}))
        results = self.request(
            self.remaining(runs), lambda places: self.states.evaluate("test", places, self.is_stopping)
        )
        self.end(self.for_each_result(results, TrainingRun.test))

    def stop_if_asked(self) -> None:
        """Saves and stops all runs, if any of the processes was sent a signal."""
        if self.active and (signum := self.signal()):
            self.save(self.active)
            for run in self.for_each(self.active, lambda run: run.keeper.checkpoints.wait()):
                self.end([run], Stopped(signum, run.at.step))

    def advance(self) -> None:
        """Trains all runs up to the next step at which something is due for one of them, or until a signal arrives."""
        if not self.active:
            return
        self.states.keep([run.place for run in self.active])
        until = min(run.timetable.next_event(run.at) for run in self.active)
        several = jax.process_count() > 1  # these must take the same steps, so a signal waits for stop_if_asked
        while self.active and self.step < until and (several or not self.stop.signum):
            self.dispatch(until)

    def log(self, runs: Iterable[TrainingRun]) -> None:
        """Writes a row of each run's training metrics since its last row.

        After a partial row at a run's end the sums are not reset. They are saved with the state, so that a run that is
        resumed for more steps completes the row.
        """
        sound = self.check(runs)
        totals = self.request(sound, self.states.totals)
        self.for_each_result(totals, lambda run, since: run.log(*since))
        self.reset([run for run in self.remaining(totals) if run.timetable.logs(run.at)])

    # What the phases consist of

    @property
    def step(self) -> int:
        """The step at which all active runs stand; there must be one."""
        return next(iter(self.active)).at.step

    def dispatch(self, until: int) -> None:
        """Trains all runs towards the step ``until`` by one call to the devices."""
        step = self.step
        moved = self.request(self.active, lambda places: dict.fromkeys(places, self.states.advance(step, until)))
        self.for_each_result(moved, lambda run, to: run.stand(*to, beside=len(moved)))

    def check(self, runs: Iterable[TrainingRun]) -> list[TrainingRun]:
        """Ends runs that had a failed step or have a state that is not finite; gives the others."""

        def sound(run: TrainingRun, health: tuple[int, dict[str, Any]]) -> None:
            skipped, bad = health
            if skipped > run.setup.numbers["max_skipped"] or any(bad.values()):
                state, feed = self.states.state(run.place), self.states.feed(run.place)
                raise explain(run.setup, state, feed, bad, (run.checked, run.at.step))
            run.checked = run.at.step

        runs = self.remaining(runs)
        unknown = [run for run in runs if not 0 < run.at.step == run.checked]  # else it was checked at this step
        self.for_each_result(self.request(unknown, self.states.health), sound)
        return self.remaining(runs)

    def scale(self, runs: Iterable[TrainingRun]) -> None:
        """Sets the factor of the learning rate, for runs whose schedule follows the validation metric."""
        scales = {run: run.at.lr_scale for run in runs if run.follows_validation}
        self.request(scales, lambda _: self.states.scale({run.place: scale for run, scale in scales.items()}))

    def reset(self, runs: Iterable[TrainingRun]) -> None:
        """Sets the sums of the training metrics of runs to zero."""
        self.request(runs, self.states.reset)

    def request(
        self, runs: Iterable[TrainingRun], act: Callable[[list[int]], Mapping[int, T] | None]
    ) -> dict[TrainingRun, T]:
        """Calls ``act`` once with the places of several runs; gives what it returned for each run.

        An error ends all of these runs.
        """
        runs = self.remaining(runs)
        try:
            results = act([run.place for run in runs]) if runs else None
        except Exception as error:  # such as no memory left on the device
            self.end(runs, error)
            return {}
        return {run: results[run.place] for run in runs if run.place in results} if results else {}

    def for_each(self, runs: Iterable[TrainingRun], act: Callable[[TrainingRun], object]) -> list[TrainingRun]:
        """Calls ``act`` with each run; an error ends that run. Gives the others."""
        runs = self.remaining(runs)
        for run in runs:
            try:
                with run.turn():
                    act(run)
            except Exception as error:
                self.end([run], error)
        return self.remaining(runs)

    def for_each_result(
        self, results: Mapping[TrainingRun, T], act: Callable[[TrainingRun, T], object]
    ) -> list[TrainingRun]:
        """Calls ``act`` with each run and its result, as :meth:`for_each` does."""
        return self.for_each(results, lambda run: act(run, results[run]))

    def end(self, runs: Iterable[TrainingRun], error: BaseException | None = None) -> None:
        """Ends runs: by an error, or as complete where there is none."""
        for run in self.remaining(runs):
            del self.active[run]
            try:
                run.end(error)
            except Exception as failed:  # such as a full disk at the last records
                run.raised, run.code = failed, 1
            self.ended(run)

    def remaining(self, runs: Iterable[TrainingRun]) -> list[TrainingRun]:
        """Those of the runs that have not ended."""
        return [run for run in runs if run in self.active]

    def is_stopping(self) -> bool:
        return bool(self.signal())

    def signal(self) -> int:
        """The number of a signal that any of the processes was sent, else 0."""
        signum = self.stop.signum or 0
        if jax.process_count() > 1:
            signum = int(multihost_utils.process_allgather(np.int32(signum)).max())
        return signum
