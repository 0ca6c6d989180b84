"""``hydra/sweeper=optuna``: chooses trials by the results of earlier ones, until there are enough of them.

The caller trains the runs: :func:`search` gives it points, and gets their outcomes.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dlrun.config.schema import Count, filled, find_problems
from dlrun.config.settings import Text
from dlrun.errors import InvalidConfig, nearest
from dlrun.runs.metric_names import better
from dlrun.runs.status import FAILED
from dlrun.sweep.search import best, study
from dlrun.sweep.search.domain import Numbers, SearchSpace
from dlrun.sweep.search.pruning import Halving, Hyperband, Median, Mode, Pruner
from dlrun.sweep.search.study import Trial

Values = Annotated[dict[str, Any], Field(description='keys with what to search in, {optim.lr: "interval(1e-4, 1e-1)"}')]
Metric = Annotated[Text | list[Text], Field(min_length=1, description="a metric such as val/loss, or a list of them")]
MOST = 1_000_000  # points of a grid that are kept in memory


@dataclass(frozen=True, kw_only=True)
class Optuna:
    """The keys of ``hydra.sweeper``; conf/hydra/sweeper/optuna.yaml explains them."""

    sampler: Literal["tpe", "random", "cmaes", "qmc", "grid"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    n_trials: Count = 50
    batch: Count = 8
    seeds: Count = 1
    metric: Metric | None = None
    pruner: Literal["none", "median", "halving", "hyperband"] = "none"
    factor: Annotated[int, Field(ge=2, lt=2**31)] = 3
    min_resource: Count = 1
    warmup: Count = 4
    params: Values | None = None


@dataclass(frozen=True)
class Objective:
    """What to improve: a metric such as ``val/loss``, and whether smaller (``min``) or larger (``max``) is better."""

    metric: str
    mode: Mode


@dataclass(frozen=True)
class Point:
    """A run to train.

    Args:
      job: its number in the sweep: ``trial * seeds``, and one more for each further seed.
      trial: the number of its trial.
      overrides: those that a user would type for it.
      values: what was chosen, as plain values by key, the seed included.
    """

    job: int
    trial: int
    overrides: list[str]
    values: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Args:
      status: of the run; a stopped one goes on when the search is resumed.
      metrics: by name, at the best state; of a pruned run at the best state so far.
      step: how often the run was evaluated on the validation split.
    """

    status: Literal["completed", "failed", "diverged", "pruned", "stopped"]
    metrics: dict[str, float]
    step: int = 0


def options(values: dict[str, Any]) -> Optuna:
    """The checked keys of ``hydra.sweeper``. Raises :class:`InvalidConfig` with all that is wrong with them."""
    values = filled(Optuna, {key: value for key, value in values.items() if key != "_target_"})
    if problems := find_problems(Optuna, values, "hydra.sweeper"):
        raise InvalidConfig(problems)
    return Optuna(**values)


def objectives(options: Optuna, main: Objective, known: Iterable[str]) -> list[Objective]:
    """The metrics to improve. Raises :class:`InvalidConfig` for an unknown one.

    Args:
      main: the run's own metric.
      known: the metrics that runs report, such as ``val/loss``.
    """
    found, wrong, known = [], [], list(dict.fromkeys([main.metric, *known]))
    for name in [options.metric] if isinstance(options.metric, str) else options.metric or [main.metric]:
        mode, _, metric = name.rpartition(":")
        if metric not in known:
            wrong.append(
                f"hydra.sweeper.metric={name}: unknown metric{nearest(metric, known)}; known: {', '.join(known)}"
            )
        elif mode not in ("", "min", "max"):
            wrong.append(f"hydra.sweeper.metric={name}: not allowed; allowed: min:{metric} or max:{metric}")
        elif metric in [o.metric for o in found]:
            wrong.append(f"hydra.sweeper.metric: {metric} appears twice; allowed: different metrics")
        else:
            usual = main.mode if metric == main.metric else better(metric)
            found.append(Objective(metric, "min" if (mode or usual) == "min" else "max"))
    if options.pruner != "none" and len(found) == 1 and found[0].metric != main.metric:
        pruning = f"hydra.sweeper.pruner={options.pruner} goes by {main.metric}, which chooses a run's best state"
        wrong.append(f"hydra.sweeper.metric={options.metric}: {pruning}; allowed: checkpoint.metric={found[0].metric}")
    if wrong:
        raise InvalidConfig(wrong)
    return found


def pruner(options: Optuna, objectives: list[Objective], total: int) -> Pruner | None:
    """The pruner that the options ask for; None without one.

    Args:
      total: how often a whole run is evaluated on the validation split.
    """
    numbers: dict[str, int] = {"factor": options.factor, "min_resource": options.min_resource}
    if options.pruner == "median":
        rule = Median(min_resource=options.min_resource, warmup=options.warmup)
    elif options.pruner == "halving":
        rule = Halving(**numbers)
    elif options.pruner == "hyperband":
        rule = Hyperband(**numbers, total=total)
    else:
        return None
    return Pruner(rule, objectives[0].mode, options.seeds)


def trials(space: SearchSpace, options: Optuna) -> int:
    """How many trials the whole search has."""
    if options.sampler != "grid":
        return options.n_trials
    return min(options.n_trials, math.prod(d.size or 0 for d in space.domains.values()))


def check(space: SearchSpace, options: Optuna, objectives: list[Objective], directory: Path) -> None:
    """Raises :class:`InvalidConfig` if the parts of a search don't fit each other, or the study in its directory."""
    problems, numbers = [], [d for d in space.domains.values() if isinstance(d, Numbers)]
    sampler, several = f"hydra.sweeper.sampler={options.sampler}", len(objectives) > 1
    if options.sampler == "cmaes" and not any(d.low < d.high for d in numbers):
        problems.append(f"{sampler}: no number to search; allowed: tpe, or a key such as optim.lr=interval(1e-4,1e-1)")
    if options.sampler == "cmaes" and several:
        problems.append(f"{sampler}: one metric at a time; allowed: tpe, random, qmc, grid")
    if options.sampler == "grid":
        endless = [key for key, d in space.domains.items() if d.size is None]
        problems += [
            f"{key}={space.domains[key]}: endless for {sampler}; allowed: range(a,b,step=s)" for key in endless
        ]
        if not endless and (size := math.prod(d.size or 0 for d in space.domains.values())) > MOST:
            problems.append(f"{sampler}: {size} points; allowed: at most {MOST}, or another sampler")
    if options.pruner != "none" and several:
        problems.append(f"hydra.sweeper.pruner={options.pruner}: not allowed with several metrics; allowed: none")
    if options.seeds > 1:
        keys = [word.partition("=") for word in [*space.fixed, *(f"{k}={d}" for k, d in space.domains.items())]]
        given = [value for key, _, value in keys if key.lstrip("+") == "seed"]
        runs = f"hydra.sweeper.seeds={options.seeds}, which gives every trial the seeds 0 to {options.seeds - 1}"
        problems += [f"seed={value}: not allowed with {runs}" for value in given]
    if problems:
        raise InvalidConfig(problems)
    study.check(directory, _described(space, options, objectives))


def search(
    space: SearchSpace,
    options: Optuna,
    objectives: list[Objective],
    directory: Path,
    run: Callable[[list[Point]], Sequence[Outcome]],
) -> list[Trial]:
    """Trains trials, a batch at a time, until there are ``n_trials``; gives the best, several for several metrics.

    Trials of an earlier process in the same directory count; those that it left unfinished come first, with the values
    and the job numbers that they had. After each batch the best are written as experiment files. A failed or diverged
    run fails its trial; after a stopped one the search ends, and can be resumed.

    Args:
      directory: of the sweep; no other process may work in it.
      run: trains the runs of a batch and gives their outcomes, in the same order.

    Raises:
      InvalidConfig: from :func:`check`, before anything is written.
    """
    check(space, options, objectives, directory)
    described, modes = _described(space, options, objectives), {o.metric: o.mode for o in objectives}
    how = {"space": space, "sampler": options.sampler, "seed": options.seed}
    with study.opened(directory, described, modes, how) as trials:
        while batch := _batch(trials, options):
            points = [point for trial in batch for point in _points(space, trial, options.seeds)]
            outcomes = run(points)
            stopped = False
            for i, trial in enumerate(batch):
                stopped |= _tell(
                    trials, trial.number, outcomes[i * options.seeds : (i + 1) * options.seeds], objectives
                )
            best.write(directory, space, trials.best())
            if stopped:
                break
        best.write(directory, space, trials.best())  # an earlier process may have been killed just before
        return trials.best()


def reopen(options: Optuna, directory: Path, is_over: Callable[[int], bool]) -> list[int]:
    """Makes trials unfinished again of which a run is not over: it is gone, failed, or not whole; gives their numbers.

    Args:
      is_over: takes the number of a job.
    """
    seeds = options.seeds
    return study.reopen(directory, lambda trial: all(map(is_over, range(trial * seeds, (trial + 1) * seeds))))


def _described(space: SearchSpace, options: Optuna, objectives: list[Objective]) -> dict[str, Any]:
    """The settings that must be equal for two searches to share a study, as text by name."""
    metric = ", ".join(f"{o.mode}:{o.metric}" for o in objectives)
    return {**space.described(), "hydra.sweeper.metric": metric, "hydra.sweeper.seeds": str(options.seeds)}


def _batch(trials: study.Study, options: Optuna) -> list[Trial]:
    """The unfinished trials, and new ones until the batch is full."""
    batch = trials.unfinished()
    # Batches begin at multiples of their size, in a resumed search too, so that it chooses as one that was not stopped.
    start = (batch[0].number if batch else trials.count()) // options.batch * options.batch
    for _ in range(min(start + options.batch, options.n_trials) - trials.count()):
        trial = trials.ask()
        if trial is None:
            break
        batch.append(trial)
    return batch


def _points(space: SearchSpace, trial: Trial, seeds: int) -> list[Point]:
    words, found = space.overrides(trial.values), []
    for seed in range(seeds):
        own = [f"seed={seed}"] if seeds > 1 else []
        values = space.plain(trial.values) | ({"seed": seed} if seeds > 1 else {})
        found.append(Point(trial.number * seeds + seed, trial.number, [*words, *own], values))
    return found


def _tell(trials: study.Study, number: int, outcomes: Sequence[Outcome], objectives: list[Objective]) -> bool:
    """Records the result of a trial. If a run was stopped, records nothing and gives True: the trial is unfinished."""
    statuses = {o.status for o in outcomes}
    results = {o.metric: _mean([outcome.metrics.get(o.metric) for outcome in outcomes]) for o in objectives}
    if statuses & {*FAILED}:
        trials.failed(number)
    elif "stopped" in statuses:
        return True
    elif not all(math.isfinite(value) for value in results.values()):
        trials.failed(number)
    elif "pruned" in statuses:
        trials.pruned(number, min(o.step for o in outcomes), results[objectives[0].metric])
    else:
        trials.completed(number, results)
    return False


def _mean(values: list[float | None]) -> float:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if len(known) == len(values) else math.nan
