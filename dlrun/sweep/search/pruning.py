"""Decides which trials of a search are not worth training to the end. No Optuna: worker processes import this too.

A *job* is one run; a *trial* is the jobs that differ only in the seed, ``seeds`` of them, numbered one after the other.
A *step* counts evaluations of the validation split, from 1: unlike optimizer steps it means the same to runs of
different batch sizes.

The runs of a stack reach an evaluation together. So all of them report first, and only then each is judged: the order
of the runs has no influence. Optuna's own pruners judge a trial when it reports, by earlier reports only: they would
compare the first trial of a stack with no other, and the last one with all. So they are not used.

A trial's value is its best so far, since a run is judged by its best state. No trial is given up for one that is equal.
"""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

Mode = Literal["min", "max"]
GOLDEN = (math.sqrt(5) - 1) / 2


class History:
    """What trials have reported: scores by trial and step. Larger scores are better; minus infinity stands for NaN."""

    def __init__(self) -> None:
        self.scores: dict[int, dict[int, float]] = {}
        self.pruned: set[int] = set()
        self.computed: dict[Any, float] = {}

    def add(self, trial: int, step: int, score: float) -> None:
        self.scores.setdefault(trial, {})[step] = score
        self.computed.clear()

    def once(self, key: Any, compute: Callable[[], float]) -> float:
        """The result of ``compute()``, which is called only once for each ``key`` until the next report."""
        if key not in self.computed:
            self.computed[key] = compute()
        return self.computed[key]

    def best(self, trial: int, step: int) -> float:
        """The best score of a trial up to a step."""
        return max(score for s, score in self.scores[trial].items() if s <= step)

    def mean(self, trial: int, step: int) -> float:
        """The average of a trial's scores up to a step."""
        return statistics.fmean(score for s, score in self.scores[trial].items() if s <= step)

    def arrival(self, trial: int, step: int) -> int | None:
        """The first step, from ``step`` on, that a trial has reported; None if there is none yet."""
        return min((s for s in self.scores[trial] if s >= step), default=None)


class Rule(Protocol):
    """A rule when to give up a trial."""

    def threshold(self, history: History, trial: int, step: int) -> float:
        """The score below which a trial is given up at a step; minus infinity if the rule does not apply there."""
        ...


@dataclass(frozen=True, kw_only=True)
class Median:
    """The median stopping rule: worse than half of the others (Golovin et al. 2017, Google Vizier, section 3.2.2).

    A trial is given up when its best value is worse than the median of the averages of all values that each trial has
    reported up to that step. Trials that were given up still count, with their last average: else every step would
    halve the trials that are left.

    Args:
      min_resource: evaluations that every trial gets.
      warmup: how many trials must have come as far before any is given up.
    """

    min_resource: int = 1
    warmup: int = 4

    def threshold(self, history: History, trial: int, step: int) -> float:
        return -math.inf if step < self.min_resource else history.once(step, lambda: self._median(history, step))

    def _median(self, history: History, step: int) -> float:
        gone = [t for t in history.pruned if min(history.scores[t]) <= step]
        there = {*gone, *(t for t, scores in history.scores.items() if step in scores)}
        if len(there) < self.warmup:
            return -math.inf
        return statistics.median(history.mean(t, step) for t in there)


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Successive halving: at each rung the best ``1 / factor`` go on (Jamieson & Talwalkar 2016).

    Rungs are at ``min_resource * factor ** k`` evaluations, k = 0, 1, ... As in ASHA (Li et al. 2020) a trial is ranked
    among all that reached the rung so far, those of earlier batches and of other processes included.

    Args:
      factor: one in ``factor`` trials goes on from a rung; the best one always does.
      min_resource: evaluations before the first rung.
    """

    factor: int = 3
    min_resource: int = 1

    def threshold(self, history: History, trial: int, step: int) -> float:
        rung = _rung(history, trial, step, self.factor, self.min_resource)
        return (
            -math.inf if rung is None else history.once(rung, lambda: _cut(history, rung, self.factor, history.scores))
        )


@dataclass(frozen=True, kw_only=True)
class Hyperband:
    """Hyperband: brackets of successive halving that start at different rungs (Li et al. 2018).

    So it does well even if curves cross. Bracket b prunes first after ``min_resource * factor ** b`` evaluations, the
    last bracket never. A trial's number decides its bracket: bracket b has a share of the trials in proportion to
    ``ceil((B + 1) / (s + 1) * factor ** s)``, where B is the last one and s = B - b, and every batch has some of each.

    Args:
      factor: one in ``factor`` trials of a bracket goes on from a rung.
      min_resource: evaluations before the first rung of the first bracket.
      total: evaluations of a run that is not pruned.
    """

    factor: int = 3
    min_resource: int = 1
    total: int

    @cached_property
    def shares(self) -> list[float]:
        """The share of trials in each bracket."""
        last = 0
        while self.min_resource * self.factor ** (last + 1) <= self.total:
            last += 1
        sizes = [math.ceil((last + 1) / (s + 1) * self.factor**s) for s in range(last, -1, -1)]
        return [size / sum(sizes) for size in sizes]

    def bracket(self, trial: int) -> int:
        """The bracket of a trial. The fractional parts of n times the golden ratio spread evenly, for any run of n."""
        place = trial * GOLDEN % 1
        for b, share in enumerate(self.shares):
            if place < share:
                return b
            place -= share
        return len(self.shares) - 1

    def threshold(self, history: History, trial: int, step: int) -> float:
        bracket = self.bracket(trial)
        rung = _rung(history, trial, step, self.factor, self.min_resource * self.factor**bracket)
        if rung is None or bracket == len(self.shares) - 1 > 0:
            return -math.inf
        rivals = (t for t in history.scores if self.bracket(t) == bracket)
        return history.once((bracket, rung), lambda: _cut(history, rung, self.factor, rivals))


def _rung(history: History, trial: int, step: int, factor: int, first: int) -> int | None:
    """The highest rung that a trial reached with ``step`` and not before; None between rungs."""
    before = max((s for s in history.scores[trial] if s < step), default=0)
    rung = None
    while first <= step:
        rung = first if first > before else None
        first *= factor
    return rung


def _cut(history: History, rung: int, factor: int, rivals: Iterable[int]) -> float:
    """The lowest score that goes on from a rung."""
    arrivals = ((t, history.arrival(t, rung)) for t in rivals)
    scores = sorted((history.best(t, at) for t, at in arrivals if at is not None), reverse=True)
    return scores[max(1, len(scores) // factor) - 1]


RULES: dict[str, Callable[..., Rule]] = {"median": Median, "halving": Halving, "hyperband": Hyperband}


class Pruner:
    """Takes the results of evaluations, and decides which runs to give up once all runs of a stack have reported.

    Args:
      rule: when to give up a trial.
      mode: whether a smaller or a larger value is better.
      seeds: jobs per trial; ``job // seeds`` is the trial. Its value is the mean of theirs, known when all of them have
        reported a step; they are given up together.
    """

    def __init__(self, rule: Rule, mode: Mode, seeds: int = 1):
        self.rule, self.mode, self.seeds = rule, mode, seeds
        self.values: dict[int, dict[int, float]] = {}
        self.history = History()

    def report(self, job: int, step: int, value: float) -> None:
        """Takes a job's metric at an evaluation. A second report of a step, as of a resumed run, replaces the first."""
        self.values.setdefault(job, {})[step] = value if math.isfinite(value) else math.nan
        trial = job // self.seeds
        team = [self.values.get(j, {}).get(step) for j in range(trial * self.seeds, (trial + 1) * self.seeds)]
        known = [v for v in team if v is not None]
        if len(known) == len(team):
            score = statistics.fmean(known) * (1 if self.mode == "max" else -1)
            self.history.add(trial, step, -math.inf if math.isnan(score) else score)

    def prune(self, job: int, step: int) -> bool:
        """Whether to give up a job that has reported ``step``, and with it the other seeds of its trial.

        Not asked after the last evaluation: a run that is done is a result.
        """
        trial, history = job // self.seeds, self.history
        if trial in history.pruned:
            return True
        if step not in history.scores.get(trial, {}):  # other seeds have not come as far
            return False
        if history.best(trial, step) < self.rule.threshold(history, trial, step):
            history.pruned.add(trial)
        return trial in history.pruned

    def state(self) -> dict[str, Any]:
        """Everything as JSON values, for :func:`from_state` and :meth:`merge`; NaN becomes null."""
        reports = {
            str(job): {str(s): None if math.isnan(v) else v for s, v in steps.items()}
            for job, steps in self.values.items()
        }
        rule: Any = self.rule
        return {
            "rule": type(rule).__name__.lower(),
            "numbers": asdict(rule),
            "mode": self.mode,
            "seeds": self.seeds,
            "reports": reports,
            "pruned": sorted(self.history.pruned),
        }

    def merge(self, state: dict[str, Any]) -> None:
        """Adds what the pruner of another process was told and has decided."""
        for job, steps in state["reports"].items():
            for step, value in steps.items():
                self.report(int(job), int(step), math.nan if value is None else value)
        self.history.pruned |= set(state["pruned"])


def from_state(state: dict[str, Any]) -> Pruner:
    """The pruner that :meth:`Pruner.state` describes."""
    pruner = Pruner(RULES[state["rule"]](**state["numbers"]), state["mode"], state["seeds"])
    pruner.merge(state)
    return pruner
