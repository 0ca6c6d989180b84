"""Groups of runs that differ only in the seed, and how they compare with one of them, the baseline.

If the runs of a group differ in more, such as the learning rate, those with the same seed are averaged first, so that
not runs but seeds are counted. Only completed runs are averaged. Those that diverged, failed, stopped or still run are
counted separately: the mean of the runs that survived would flatter a setting that loses every second run.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dlrun.compare import surroundings
from dlrun.compare.as_typed import as_json, as_typed, in_words, short
from dlrun.compare.measures import Quantity
from dlrun.compare.statistics.comparison import Comparison, Summary, compare, summary
from dlrun.compare.statistics.units import Result, Seeds, units
from dlrun.compare.verdict import conclusion, notes
from dlrun.display.units import noun
from dlrun.errors import show
from dlrun.runs.run import Run
from dlrun.runs.runs import Runs

MOST = 100  # groups: with more there are no verdicts, as a search is no comparison
LONGEST = 40  # characters: verdicts call a baseline with a longer name "the baseline"
FEW = 4  # values of a key that a verdict lists


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that have the same values of some keys.

    Args:
      name: the values by short keys, as they may be typed: ``act=relu optim.lr=0.01``; of one key, if text, ``relu``.
      values: by full key, lists as tuples; None for a key that its runs don't have.
      runs: all of them.
      seeds: the keys of seeds by which its runs are counted.
    """

    name: str
    values: dict[str, Hashable]
    runs: Runs
    seeds: tuple[str, ...] = ("seed",)

    @property
    def completed(self) -> Runs:
        return self.runs.of(run for run in self.runs if averaged(run))

    @property
    def left_out(self) -> dict[str, int]:
        """How many runs of each status are not averaged."""
        return dict(sorted(Counter(state(run) for run in self.runs if not averaged(run)).items()))

    @property
    def n(self) -> int:
        """How many seeds have completed."""
        return units(self.seeds_of(run) for run in self.completed)

    def seeds_of(self, run: Run) -> Seeds:
        """A run's values of the keys of seeds, as JSON."""
        return tuple([as_json(run, key) for key in self.seeds])

    def by_seeds(self, runs: Iterable[Run]) -> list[list[Run]]:
        """Runs that share their seeds, together."""
        found: dict[Seeds, list[Run]] = {}
        for run in runs:
            found.setdefault(self.seeds_of(run), []).append(run)
        return list(found.values())

    def summary(self, quantity: Quantity) -> Summary:
        """Mean, spread and interval of a quantity over the seeds of the completed runs."""
        return summary(self.results(quantity), quantity.measure.share, quantity.measure.positive)

    def results(self, quantity: Quantity, others: Mapping[str, Any] = {}) -> list[Result]:
        """The result of each completed run.

        Args:
          others: keys other than seeds in which runs may differ, and the value that a run without the key counts as
            having.
        """
        return [
            Result(self.seeds_of(run), quantity.values[run], {k: as_json(run, k, v) for k, v in others.items()})
            for run in self.completed
        ]


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of some runs, by the values of ``keys``.

    Args:
      groups: in the order in which their first runs were found.
      baseline: the group that the others are compared with; None if there is nothing to compare.
      seeds: the keys that tell independent runs apart, by which runs are counted and paired.
      others: further keys in which runs of a group may differ, and the value that a run without the key counts as
        having.
      data: the data set of each run, see :func:`~dlrun.compare.surroundings.data_sets`.
      split: the keys of data sets, among ``keys``, by which groups of several data sets were split.
      chosen: by which quantity the results chose the baseline, as the best group; None if they did not.
    """

    keys: list[str]
    groups: list[Group]
    baseline: Group | None
    seeds: list[str]
    others: dict[str, Any]
    data: Mapping[Run, str]
    split: Sequence[str] = ()
    chosen: Quantity | None = None

    @property
    def repeated(self) -> bool:
        """Whether any group has several runs, so that there is a spread."""
        return any(len(group.completed) > 1 for group in self.groups)

    @property
    def against(self) -> str:
        """What the baseline is called in the verdicts of others."""
        return "" if self.baseline is None else name if len(name := self.baseline.name) <= LONGEST else "the baseline"

    def told_apart(self, group: Group) -> tuple[str, str]:
        """What verdicts call a group and its baseline: by the keys alone in which they differ, where there are several.

        As the baseline is one, these tell which group it is.
        """
        base = self.baseline
        if base is None or len(self.keys) < 2:
            return group.name, self.against
        keys = [key for key in self.keys if group.values[key] != base.values[key]]
        names = [in_words({key: g.values[key] for key in keys}, g.runs[0]) for g in (group, base)]
        if not all(names) or names[0] == names[1]:  # a key that only one has; numbers that are equal as they are cut
            return group.name, self.against
        return names[0], names[1] if len(names[1]) <= LONGEST else "the baseline"

    @cached_property
    def averaged_over(self) -> list[str]:
        """The keys in which runs of the same seed differ: over these, runs are averaged."""
        return self._differing(some for group in self.groups for some in group.by_seeds(group.completed))

    @property
    def mixed(self) -> list[str]:
        """The keys in which runs of different seeds differ within a group: they add to its spread."""
        averaged = self.averaged_over
        return [key for key in self._differing(group.completed for group in self.groups) if key not in averaged]

    def _differing(self, several: Iterable[Iterable[Run]]) -> list[str]:
        values = [[{as_json(run, k, v) for run in runs} for k, v in self.others.items()] for runs in map(list, several)]
        return [key for i, key in enumerate(self.others) if any(len(some[i]) > 1 for some in values)]

    @property
    def crossed(self) -> bool:
        """Whether a group has runs with several seeds, such as ``seed`` and ``split.seed``, that vary independently."""
        return any(g.n < len(g.by_seeds(g.completed)) for g in self.groups) and len(self.seeds) > 1

    def ranked(self, quantity: Quantity, worst: bool = False) -> list[Group]:
        """The groups by mean, the best first, or the ``worst`` first; those without a value last."""
        sign = -1 if (quantity.measure.better == "max") != worst else 1
        means = {group: group.summary(quantity).mean for group in self.groups}
        return sorted(self.groups, key=lambda g: float("inf") if (m := means[g]) is None else sign * m)

    def comparisons(self, quantity: Quantity) -> dict[Group, Comparison]:
        """Compares each other group with the baseline, except those with other data."""
        if self.baseline is None or not self.repeated or len(self.groups) > MOST:
            return {}
        chosen = [group for group in self.groups if group is self.baseline or not self.foreign(group)]
        values = {g.name: g.results(quantity, self.others) for g in chosen}
        by_name = {c.group: c for c in compare(values, self.baseline.name, self.chosen is not None)}
        return {group: by_name[group.name] for group in chosen if group is not self.baseline}

    def foreign(self, group: Group) -> bool:
        """Whether a group was trained on other data than the baseline, so that a difference would mean nothing."""
        return self.baseline is not None and self.sets(group.runs) != self.sets(self.baseline.runs)

    def sets(self, runs: Iterable[Run]) -> set[str]:
        """The data sets of some runs."""
        return {self.data[run] for run in runs}

    def verdict(self, group: Group, c: Comparison, quantity: Quantity, detect: float | None = None) -> str:
        """A comparison in one line of plain English."""
        name, against = self.told_apart(group)
        line = conclusion(replace(c, group=name, baseline=against), quantity.measure, detect)
        if not c.significant:  # else the line names both
            line = f"{name} against {against}: {line}"
        return "; ".join([line, *self.notes(group, c, quantity)])

    def notes(self, group: Group, c: Comparison, quantity: Quantity) -> list[str]:
        """Says what a comparison leaves out, and in what else the groups differ."""
        name, against = self.told_apart(group)
        sides = [(group, name)] + ([(self.baseline, against)] if self.baseline else [])
        lost = [f"{n} {status} {noun(n, 'run')} of {name}" for g, name in sides for status, n in g.left_out.items()]
        baseline = self.baseline.completed if self.baseline else []
        return [
            *notes(replace(c, group=name, baseline=against), quantity.measure),
            *_apart(c, surroundings.others(group.completed, baseline)),
            *(["the groups were trained on other data"] if surroundings.other_data(group.completed, baseline) else []),
            *([f"not counted: {', '.join(lost)}"] if lost else []),
        ]


def _apart(c: Comparison, beside: Sequence[str]) -> list[str]:
    """Says in what else two groups differ, and in which part of their runs they were compared.

    Args:
      beside: differences that are in no key of the configuration.
    """
    sides = {short(key): [_listed(side) for side in values] for key, values in c.apart.items()}
    apart = [f"{key}: {' against '.join(dict.fromkeys(values))}" for key, values in sides.items()] + [*beside]
    shared = [f"{short(key)}={_listed(values)}" for key, values in c.shared.items()]
    return [
        *([f"the groups also differ in {', '.join(apart)}"] if apart else []),
        *([f"compared only where both have {', '.join(shared)}"] if shared else []),
    ]


def _listed(values: Sequence[Any]) -> str:
    """Values of a key (given as JSON) in order, or their number if they are many."""
    numbers = lambda v: (0, v) if isinstance(v, int | float) else (1, as_typed(v))  # noqa: E731
    known = sorted(map(json.loads, values), key=numbers)
    return ", ".join(show(as_typed(v)) for v in known) if len(known) <= FEW else f"{len(known)} values"


def averaged(run: Run) -> bool:
    """Whether a run counts in means: it completed, and its files are undamaged."""
    return run.status == "completed" and run.damage is None


def state(run: Run) -> str:
    """The status of a run as it is shown."""
    return "damaged" if run.status == "completed" and run.damage is not None else run.status
