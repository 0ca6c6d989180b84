"""Puts runs into groups, and finds the group that the others are compared with."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dlrun.compare import surroundings
from dlrun.compare.as_typed import as_json, group_name, unused
from dlrun.compare.groups import Group, Groups
from dlrun.compare.measures import Quantity
from dlrun.compare.statistics.comparison import FEWEST
from dlrun.compare.statistics.units import units
from dlrun.errors import InvalidConfig, nearest
from dlrun.runs.condition import parse
from dlrun.runs.metric_names import SEEDS
from dlrun.runs.run import Run
from dlrun.runs.runs import Runs

LISTED = 8  # groups that an error names
BEST = "best"
"""What ``--baseline`` says for the best group, unless a group is called that."""


def grouped(
    runs: Runs, keys: Sequence[str] | None = None, baseline: str | None = None, by: Quantity | None = None
) -> Groups:
    """Groups runs, and chooses the baseline.

    A group whose runs were trained on several data sets is split by these, as a mean over them would mean nothing.

    Args:
      keys: columns; by default all that differ but the seeds.
      baseline: the name of a group, or a condition that holds for its runs; ``best`` for the best of those with enough
        values to be tested, or with as many as any group has; by default the first of those, if possible one whose
        data set another group has, too.
      by: the quantity that tells which is the best, and whose values are counted; None to count completed runs.

    Raises:
      InvalidConfig: for an unknown column, a baseline that matches no group or several, and the best of groups of
        different data.
    """
    differing = [*runs.grouping, *(key for key in runs.differing if key.endswith(SEEDS))]
    names = runs.grouping if keys is None else list(dict.fromkeys(runs.column(key) for key in keys))
    data = surroundings.data_sets(runs)
    parts, split = _parts(runs, names, data)
    groups: dict[str, Group] = {}
    for values, members in parts:
        named = values | {key: _hashable(members[0].config.get(key)) for key in split}
        name = unused(group_name(named, members[0]), groups)
        groups[name] = Group(name, named, members)
    names = [*names, *split]
    # The keys of a chosen option follow from the choice: they don't tell which runs belong together.
    chosen = tuple(key.removesuffix("name") for key in names if key.endswith(".name"))
    left = [key for key in differing if key not in names and not key.startswith(chosen)]
    seeds = _seeds([key for key in left if key.endswith(SEEDS)], groups.values())
    lacking = {key: value for key, value in runs.unrecorded.items() if key not in names}
    others = {key: lacking.pop(key, None) for key in left if key not in seeds}
    others |= {k: v for k, v in lacking.items() if any(v != run.config.get(k, v) for run in runs) and k not in seeds}
    seeded = [replace(group, seeds=tuple(seeds)) for group in groups.values()]
    best = baseline == BEST and BEST not in groups
    if best:
        against = _best(seeded, by, data)
    elif baseline is not None:
        against = _baseline(seeded, runs, baseline)
    else:
        against = _first(seeded, by, data) if len(seeded) > 1 else None
    return Groups(names, seeded, against, seeds, others, data, split, by if best else None)


def _parts(
    runs: Runs, names: Sequence[str], data: Mapping[Run, str]
) -> tuple[list[tuple[dict[str, Hashable], Runs]], list[str]]:
    """The values and runs of each group, of one data set each, and further keys that tell parts of a group apart."""
    parts, further = [], set()
    for values, members in runs.groups(names).items():
        sets, named = dict.fromkeys(data[run] for run in members), dict(zip(names, values, strict=True))
        parts += [(named, members.of(run for run in members if data[run] == name)) for name in sets]
        if len(sets) > 1:
            further |= {key for key in surroundings.SET if len({as_json(run, key) for run in members}) > 1}
    return parts, [key for key in surroundings.SET if key in further and key not in names]


def _hashable(value: Any) -> Hashable:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _first(groups: list[Group], by: Quantity | None, data: Mapping[Run, str]) -> Group:
    """The first group that can be tested, if possible one whose data set another group has, too."""
    sets = Counter(data[group.runs[0]] for group in groups)
    testable = _testable(groups, by)
    return next((group for group in testable if sets[data[group.runs[0]]] > 1), testable[0])


def _seeds(keys: Sequence[str], groups: Iterable[Group]) -> list[str]:
    """Chooses, of the keys of seeds that differ, those by which runs are counted.

    A key of which no group has enough values to be tested is treated as any other, if there are other seeds: results
    then hold only for its few values.
    """
    most = {key: max(len({as_json(run, key) for run in g.completed}) for g in groups) for key in keys}
    return [key for key in keys if most[key] >= min(FEWEST, max(most.values()))] or ["seed"]


def _testable(groups: list[Group], by: Quantity | None) -> list[Group]:
    """The groups with enough values to be tested, or with as many as any group has."""

    def values(group: Group) -> int:
        runs = [run for run in group.completed if by is None or by.values[run] is not None]
        return min(units(map(group.seeds_of, runs)), FEWEST)

    counts = {group: values(group) for group in groups}
    return [group for group in groups if counts[group] == max(counts.values())]


def _best(groups: list[Group], by: Quantity | None, data: Mapping[Run, str]) -> Group:
    """The best group that can be tested. Raises :class:`InvalidConfig` if there is none by which to tell."""
    if len(sets := {data[run] for group in groups for run in group.runs}) > 1:
        which = ", ".join(sorted(sets))
        raise InvalidConfig(
            [f"--baseline {BEST}: the groups were trained on different data: {which}; --where data=... chooses one"]
        )
    found = [(mean, group) for group in _testable(groups, by) if by and (mean := group.summary(by).mean) is not None]
    if by is None or not found:
        raise InvalidConfig([f"--baseline {BEST}: no group has a completed run with a metric"])
    choose = max if by.measure.better == "max" else min
    return choose(found, key=lambda pair: pair[0])[1]


def _baseline(groups: list[Group], runs: Runs, text: str) -> Group:
    """The group that the user names, or describes by a condition."""
    if matching := [group for group in groups if group.name == text]:
        return matching[0]
    names = [group.name for group in groups]
    known = f"; the groups: {', '.join(names[:LISTED])}{', …' if len(names) > LISTED else ''}"
    try:
        holds = parse(text, runs.column)
    except InvalidConfig as error:
        wrong = (
            [p.removeprefix("where: ") for p in error.problems]
            if "=" in text
            else [f"no such group{nearest(text, [*names, BEST])}{known}"]
        )
        raise InvalidConfig([f"--baseline {text!r}: {problem}" for problem in wrong]) from None
    matching = [group for group in groups if all(map(holds, group.runs))]
    if len(matching) != 1:
        which = "matches no group" if not matching else f"matches {len(matching)} groups"
        if matching:
            known = f": {', '.join(g.name for g in matching[:LISTED])}{', …' if len(matching) > LISTED else ''}"
        raise InvalidConfig([f"--baseline {text!r}: {which}{known}"])
    return matching[0]
