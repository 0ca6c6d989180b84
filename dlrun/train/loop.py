"""The one loop: runs that stand at the same step are evaluated, saved, ended and trained on, phase by phase.

A run by itself and runs side by side go the same way. The devices are asked once for all runs that are due; what then
becomes of a run is its own affair: an error ends it, and the others go on.
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
    """Trains runs until each of them has ended, by itself or by an error; how, they then tell themselves.

    Args:
      runs: in the order of their places in ``states``. All start at the same step.
      stop: tells of signals, after which all are saved and stopped.
      pruner: of a search.
      ended: told of each run's end.
    """
    loop = Loop(runs, states, stop, ended)
    try:
        loop.begin()
        while loop.active:
            loop.evaluate()
            loop.prune(pruner)
            loop.save([run for run in loop.active if run.due.saves(run.at)])
            loop.finish([run for run in loop.active if run.due.is_done(run.at)])
            loop.stop_if_asked()
            loop.advance()
            loop.log([run for run in loop.active if run.logs])
    except BaseException as error:  # of the process, such as Ctrl-C where no signal is caught
        loop.end(loop.active, error)
        raise
    finally:
        states.close()


class Loop:
    """The phases of the loop.

    Attributes:
      active: the runs that have not ended.
      evaluated: those that were evaluated where they stand.
    """

    def __init__(self, runs: Sequence[TrainingRun], states: States, stop: Stop, ended: Callable[[TrainingRun], None]):
        self.states, self.stop, self.ended = states, stop, ended
        self.active = list(runs)
        self.evaluated: list[TrainingRun] = []

    def begin(self) -> None:
        """Opens the run directories, and takes the states that runs start from or go on with."""
        self.each(self.active, lambda run: run.open(self.states))
        self.end([run for run in self.active if run.has_nothing_to_do])
        runs = self.left(self.active)
        self.ask(runs, lambda _: self.states.start({run.place: run.start_arrays for run in runs}))
        self.scale([run for run in self.active if run.start])
        self.reset([run for run in self.active if run.start and run.start.forgets])
        self.each(self.active, TrainingRun.begin)

    def evaluate(self) -> None:
        """Validates the runs that are due: a row, the best value, the patience. Saves them, or keeps the best."""
        due = [run for run in self.active if run.due.evaluates(run.at)]
        found = self.ask(due, lambda places: self.states.evaluate("val", places, self.is_stopping))
        taken = self.give(found, TrainingRun.take)
        self.scale(taken)
        troubled = self.check([run for run in taken if run.problem])  # of a step that failed there is more to say
        self.each(troubled, TrainingRun.tell_problem)
        self.evaluated = self.left(taken)
        overdue = [run for run in self.evaluated if run.keeper.is_overdue(len(self.active))]
        self.save(overdue)
        best = self.check([run for run in self.left(self.evaluated) if run.is_best and run not in overdue])
        arrays = self.ask(best, self.states.arrays)
        self.give(arrays, lambda run, best: run.keeper.hold(run.at, best))

    def prune(self, pruner: Pruner | None) -> None:
        """Gives up those trials of a search that are not worth going on with, once all of them have reported."""
        if pruner is None:
            return
        trials = [run for run in self.left(self.evaluated) if not run.due.is_complete(run.at)]
        for run in trials:
            pruner.report(run.number, run.due.evaluations(run.at), run.value)
        hopeless = [run for run in trials if pruner.prune(run.number, run.due.evaluations(run.at))]
        self.save(hopeless)
        for run in self.left(hopeless):
            self.end([run], Pruned(run.at.step))

    def save(self, runs: Iterable[TrainingRun]) -> None:
        """Saves the states of runs, finite or not at all."""
        sound = self.check([run for run in self.left(runs) if run.is_unsaved])
        arrays = self.ask([run for run in sound if run.writes], self.states.arrays)
        self.each(sound, lambda run: run.keeper.save(run.at, arrays.get(run)))

    def finish(self, runs: list[TrainingRun]) -> None:
        """Ends runs whose last step is taken: by the best state of each, the test split is read, once."""
        self.log([run for run in runs if not run.due.logs(run.at)])
        self.save(runs)
        arrays: dict[TrainingRun, dict[str, np.ndarray]] = {}

        def select(run: TrainingRun) -> None:
            if (best := run.select(self.states)) is not None:
                arrays[run] = best

        self.each(runs, select)
        chosen = self.left(arrays)
        self.ask(chosen, lambda _: self.states.place({run.place: arrays[run] for run in chosen}))
        found = self.ask(self.left(runs), lambda places: self.states.evaluate("test", places, self.is_stopping))
        self.end(self.give(found, TrainingRun.test))

    def stop_if_asked(self) -> None:
        """After a signal to any of the processes, saves all runs and stops them."""
        if self.active and (signum := self.signal()):
            self.save(self.active)
            for run in self.each(self.active, lambda run: run.keeper.checkpoints.wait()):
                self.end([run], Stopped(signum, run.at.step))

    def advance(self) -> None:
        """Trains all runs up to the next step at which one of them has something to do, or to a signal."""
        if not self.active:
            return
        self.states.keep([run.place for run in self.active])
        until = min(run.due.next_event(run.at) for run in self.active)
        several = jax.process_count() > 1  # they must take the same steps: they agree on signals between
        while self.active and self.active[0].at.step < until and (several or not self.stop.signum):
            self.dispatch(until)

    def log(self, runs: Iterable[TrainingRun]) -> None:
        """Writes rows of the training metrics since the last ones; of a run's last, partial row they are kept.

        So a longer run completes it.
        """
        sound = self.check(runs)
        totals = self.ask(sound, self.states.totals)
        self.give(totals, lambda run, since: run.log(*since))
        self.reset([run for run in self.left(totals) if run.due.logs(run.at)])

    # What the phases are made of

    def dispatch(self, until: int) -> None:
        """Trains all runs towards a step by one call to the devices."""
        step = self.active[0].at.step
        moved = self.ask(self.active, lambda places: dict.fromkeys(places, self.states.advance(step, until)))
        self.give(moved, lambda run, to: run.stand(*to, beside=len(moved)))

    def check(self, runs: Iterable[TrainingRun]) -> list[TrainingRun]:
        """Ends runs of which a step failed or the state is not finite; gives the others."""

        def sound(run: TrainingRun, health: tuple[int, dict[str, Any]]) -> None:
            skipped, bad = health
            if skipped > run.setup.numbers["max_skipped"] or any(bad.values()):
                state, feed = self.states.state(run.place), self.states.feed(run.place)
                raise explain(run.setup, state, feed, bad, (run.checked, run.at.step))
            run.checked = run.at.step

        return self.give(self.ask(runs, self.states.health), sound)

    def scale(self, runs: Iterable[TrainingRun]) -> None:
        """Has the learning rates of runs that follow validation multiplied by what they came to."""
        scales = {run: run.at.lr_scale for run in runs if run.follows_validation}
        self.ask(scales, lambda _: self.states.scale({run.place: scale for run, scale in scales.items()}))

    def reset(self, runs: Iterable[TrainingRun]) -> None:
        """Has the training metrics of runs begin anew."""
        self.ask(runs, self.states.reset)

    def ask(
        self, runs: Iterable[TrainingRun], act: Callable[[list[int]], Mapping[int, T] | None]
    ) -> dict[TrainingRun, T]:
        """Asks the devices once for several runs, by their places; where that fails, it fails for all of them."""
        runs = self.left(runs)
        try:
            found = act([run.place for run in runs]) if runs else None
        except Exception as error:  # no memory left on the device, say
            self.end(runs, error)
            return {}
        return {run: found[run.place] for run in runs if run.place in found} if found else {}

    def each(self, runs: Iterable[TrainingRun], act: Callable[[TrainingRun], object]) -> list[TrainingRun]:
        """Has each run do something; an error ends the run. Gives the others."""
        runs = self.left(runs)
        for run in runs:
            try:
                with run.turn():
                    act(run)
            except Exception as error:
                self.end([run], error)
        return self.left(runs)

    def give(self, found: Mapping[TrainingRun, T], act: Callable[[TrainingRun, T], object]) -> list[TrainingRun]:
        """Has each run do something with what was found for it, as :meth:`each`."""
        return self.each(found, lambda run: act(run, found[run]))

    def end(self, runs: Iterable[TrainingRun], error: BaseException | None = None) -> None:
        """Ends runs, by an error or complete."""
        for run in self.left(runs):
            self.active.remove(run)
            try:
                run.end(error)
            except Exception as failed:  # of its last records, say
                run.raised, run.code = failed, 1
            self.ended(run)

    def left(self, runs: Iterable[TrainingRun]) -> list[TrainingRun]:
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
