"""Keeps a search's trials in Optuna's sqlite storage. Only this file imports Optuna, and only when a search starts.

The values of a trial depend only on the seed, its number and earlier results, so that a search that was killed and
resumed tries the same values as one that was not.
"""

import contextlib
import json
import os
import random
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.errors import InvalidConfig
from dlrun.runs import files, rundir
from dlrun.sweep.search.domain import Domain, Options, SearchSpace

if TYPE_CHECKING:
    import optuna

NAME = "dlrun"
ATTRIBUTE = "search"


@dataclass(frozen=True)
class Trial:
    """A point of the search space, and its results once it is completed.

    Args:
      number: its number in the search, from 0.
      values: what was chosen, by key, as Optuna stores it.
      results: by metric; empty if it is not completed.
    """

    number: int
    values: dict[str, Any]
    results: dict[str, float]


def distribution(domain: Domain) -> "optuna.distributions.BaseDistribution":
    """Optuna's equivalent of a domain."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Options):
        return CategoricalDistribution(domain.texts)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


class Study:
    """Asks Optuna for trials, and tells it what came of them.

    Args:
      study: Optuna's.
      space: what to choose from.
      metrics: the names of the metrics to improve.
      sampler: how to choose: a name of ``hydra.sweeper.sampler``.
      seed: of the sampler.
    """

    def __init__(self, study: "optuna.Study", space: SearchSpace, metrics: list[str], sampler: str, seed: int):
        self.study, self.space, self.metrics, self.sampler, self.seed = study, space, metrics, sampler, seed
        self.distributions = {key: distribution(domain) for key, domain in space.domains.items()}

    def ask(self) -> Trial | None:
        """A new trial, which the storage has already; None after the last point of a grid."""
        number = len(self.study.get_trials(deepcopy=False))
        if self.sampler == "grid":
            return self._next_of_grid(number)
        self.study.sampler = self._sampler(number)
        asked = self.study.ask(self.distributions)
        return Trial(asked.number, asked.params, {})

    def unfinished(self) -> list[Trial]:
        """Trials without a result, which an earlier process began, with the values that they had."""
        from optuna.trial import TrialState

        return [self._taken_up(t) for t in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]

    def completed(self, number: int, results: dict[str, float]) -> None:
        self.study.tell(number, [results[m] for m in self.metrics])

    def pruned(self, number: int, step: int, value: float) -> None:
        """Records a trial that was given up at a step; samplers make use of the step and of its value."""
        from optuna import Trial as Asked
        from optuna.trial import TrialState

        trial = next(t for t in self.study.get_trials(deepcopy=False) if t.number == number)
        Asked(self.study, trial._trial_id).report(value, step)
        self.study.tell(number, state=TrialState.PRUNED)

    def failed(self, number: int) -> None:
        from optuna.trial import TrialState

        self.study.tell(number, state=TrialState.FAIL)

    def count(self) -> int:
        """How many trials there are."""
        return len(self.study.get_trials(deepcopy=False))

    def best(self) -> list[Trial]:
        """The best trial; for several metrics, the trials that no other beats in all. Empty where none completed."""
        from optuna.trial import TrialState

        if not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            return []
        best = self.study.best_trials if len(self.metrics) > 1 else [self.study.best_trial]
        found = [Trial(t.number, t.params, dict(zip(self.metrics, t.values, strict=True))) for t in best]
        different = {tuple(t.results.values()): t for t in reversed(found)}  # of equals the first
        return sorted(different.values(), key=lambda t: tuple(t.results.values()))

    def _taken_up(self, trial: "optuna.trial.FrozenTrial") -> Trial:
        from optuna import Trial as Asked

        values = trial.params
        if len(values) < len(self.distributions):  # the process was killed while it chose these
            self.study.sampler = self._sampler(trial.number)
            asked = Asked(self.study, trial._trial_id)
            values = {key: asked._suggest(key, of) for key, of in self.distributions.items()}
        return Trial(trial.number, values, {})

    def _next_of_grid(self, number: int) -> Trial | None:
        from optuna.trial import TrialState, create_trial

        tried = {tuple(t.params[key] for key in self.distributions) for t in self.study.get_trials(deepcopy=False)}
        values = next((p for p in self._grid if tuple(p.values()) not in tried), None)
        if values is None:
            return None
        running = create_trial(state=TrialState.RUNNING, params=values, distributions=self.distributions)
        self.study.add_trial(running)
        return Trial(number, values, {})

    @cached_property
    def _grid(self) -> list[dict[str, Any]]:
        points = list(self.space.grid())
        random.Random(self.seed).shuffle(points)  # a part of the grid covers all of it evenly
        return points

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        from optuna import samplers

        # A generator for each trial: no state is lost when the process ends.
        seed = random.Random(f"{self.seed} {number}").getrandbits(32)
        if self.sampler == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=True)  # trials of a batch should differ
        if self.sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        if self.sampler == "qmc":
            space = self.distributions

            class Sobol(samplers.QMCSampler):
                """Optuna's, but told the space, without which it would draw a study's first trials at random."""

                def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
                    return space

            return Sobol(seed=self.seed, warn_independent_sampling=False)  # one sequence for all trials
        return samplers.RandomSampler(seed=seed)


@contextmanager
def opened(directory: Path, described: dict[str, Any], modes: dict[str, str], how: dict[str, Any]) -> Iterator[Any]:
    """Optuna's study in a sweep's directory, made where there is none.

    Args:
      described: what makes searches comparable, as JSON values, written to a new study; see :func:`check`.
      modes: ``min`` or ``max``, by metric.
      how: ``space``, ``sampler`` and ``seed`` of :class:`Study`.
    """
    import optuna

    file = directory / rundir.STUDY
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it prints a line for each trial; the sweep has its own display
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            if not file.exists():  # made under another name: so it is complete, or not there
                part = directory / f".{rundir.STUDY}.{os.getpid()}"
                files.remove(part)
                with storage_of(part) as storage:
                    directions = [optuna.study.StudyDirection[f"{mode}imize".upper()] for mode in modes.values()]
                    study = optuna.create_study(storage=storage, study_name=NAME, directions=directions)
                    study.set_user_attr(ATTRIBUTE, described)
                os.replace(part, file)
            with storage_of(file) as storage:
                study = optuna.load_study(storage=storage, study_name=NAME)
                yield Study(study, metrics=list(modes), **how)
        finally:
            optuna.logging.set_verbosity(level)


def check(directory: Path, described: dict[str, Any]) -> None:
    """Raises :class:`InvalidConfig` where the directory has the study of another search. Only reads the file."""
    file = directory / rundir.STUDY
    if not file.exists():
        return
    there = None
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT value_json FROM study_user_attributes JOIN studies USING (study_id) "
                "WHERE key = ? AND study_name = ?", (ATTRIBUTE, NAME),
            ).fetchall()  # fmt: skip
            there = json.loads(rows[0][0])
        finally:
            connection.close()
    except (sqlite3.Error, IndexError, ValueError):
        pass
    if not isinstance(there, dict):
        raise InvalidConfig([f"{file}: not a study of dlrun; allowed: another hydra.sweep.dir"])
    pairs = ((key, there.get(key), described.get(key)) for key in {**there, **described})
    different = [f"{key} was {old or 'not given'} and is {new or 'not given'}" for key, old, new in pairs if old != new]
    if different:
        raise InvalidConfig([f"{file}: of another search: {'; '.join(different)}; allowed: another hydra.sweep.dir"])


def reopen(directory: Path, is_over: Callable[[int], bool]) -> list[int]:
    """Makes those trials unfinished again that have a result, but whose runs are not over; gives their numbers.

    Optuna has no way to take a result back, so this writes to its tables.

    Args:
      is_over: takes the number of a trial.
    """
    file, again = directory / rundir.STUDY, []
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(file.absolute())) as connection, connection:
        ended = connection.execute(
            "SELECT trial_id, number FROM trials JOIN studies USING (study_id) "
            "WHERE study_name = ? AND state IN ('COMPLETE', 'PRUNED', 'FAIL') ORDER BY number", (NAME,),
        ).fetchall()  # fmt: skip
        for key, number in ended:
            if not is_over(number):
                again.append(number)
                connection.execute(
                    "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id = ?", [key]
                )
                connection.execute("DELETE FROM trial_values WHERE trial_id = ?", [key])
                connection.execute("DELETE FROM trial_intermediate_values WHERE trial_id = ?", [key])
    return again


@contextmanager
def storage_of(file: Path) -> Iterator["optuna.storages.RDBStorage"]:
    from optuna.storages import RDBStorage

    # Not by a URL, in which a ? or % of the path would mean something.
    connect = partial(sqlite3.connect, file.absolute(), check_same_thread=False)
    storage = RDBStorage(f"sqlite:///{rundir.STUDY}", engine_kwargs={"creator": connect})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
