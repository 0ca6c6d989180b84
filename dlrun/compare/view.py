"""What ``dlrun compare`` shows of its runs: which columns, in which order, in which groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dlrun.compare import groups, measures, surroundings, tables
from dlrun.compare.as_typed import short
from dlrun.compare.grouping import grouped
from dlrun.compare.statistics.comparison import FEWEST, METHODS
from dlrun.display.units import noun
from dlrun.errors import InvalidConfig, printable, show, tell
from dlrun.runs.metric_names import SEEDS
from dlrun.runs.run import At, Run, usual
from dlrun.runs.runs import Runs
from dlrun.runs.times import TIMES, instant

NAMED = 5  # runs and folders that a notice lists
FOLDED = 3  # if more groups could not be tested, they share one line


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may ask of a comparison: the flags of ``dlrun compare``, without their dashes.

    Args:
      folders: those that were named; none stands for ``outputs``.
      metric, at, until: what is measured; None and nothing stand for the metric that chooses the best state.
      columns: exactly these, instead of those that differ or, with ``all_columns``, of all.
      group_by, baseline, detect: the groups, what they are held against, and the difference that is worth finding.
      sort, reverse, limit, lines: the order of rows, how many, and how many of them on a terminal.
      format: of :data:`~dlrun.compare.writers.WRITERS`.
    """

    folders: Sequence[str] = ()
    metric: Sequence[str] | None = None
    at: Sequence[At] | None = None
    until: Sequence[tuple[str, float]] = ()
    columns: Sequence[str] | None = None
    all_columns: bool = False
    group_by: Sequence[str] | None = None
    baseline: str | None = None
    detect: float | None = None
    sort: str | None = None
    reverse: bool = False
    limit: int | None = None
    lines: int = 20
    format: str = "table"


class View:
    """Runs, their groups and comparisons, as a user asks for them.

    Attributes:
      runs: best first, or as sorted; those that do not count last.
      quantities: what is measured of each run; the first one ranks. Empty if no run has a metric yet.
      groups: the groups and their baseline.
      order: the groups by their means, best first.
      compared: by quantity, the comparisons by group.
      columns: keys to show of a run.
    """

    def __init__(self, options: Options, runs: Runs):
        self.options = options
        named = list(dict.fromkeys(measures.full(runs, name) for name in options.metric or ()))
        if not named and (main := runs.main()) and main[0] in runs.metrics:
            named = [main[0]]
        self.quantities = [measures.metric(runs, name, at) for name in named for at in options.at or (usual(name),)]
        counted = runs.of(run for run in runs if groups.averaged(run))
        for quantity in self.quantities if options.metric or options.at else ():
            notice(f"no {quantity.name} in", "completed run", [run.path for run in quantity.missing(counted)])
        for name, target in dict.fromkeys(options.until):
            self.quantities += measures.until(runs, name, target)
        by = (*self.quantities, None)[0]
        self.groups = grouped(runs, options.group_by, options.baseline, by)
        self.columns = self._columns(runs)
        self.runs = runs.of(sorted(runs, key=self._order(runs)))
        self.order = self._ranked(runs, by)
        self.compared = {q: self.groups.comparisons(q) for q in self.quantities}

    @property
    def groups_only(self) -> bool:
        """Whether the user asked for groups, so that single runs are not shown; a paper is about groups."""
        return bool(
            self.options.group_by or self.options.baseline or (self.options.format == "latex" and self.groups.repeated)
        )

    def best(self) -> list[Run]:
        """The best of the runs that count, by the first quantity."""
        found = [
            r for r in self.runs if groups.averaged(r) and self.quantities and self.quantities[0].values[r] is not None
        ]
        if not found:
            raise InvalidConfig([f"--best: none of {len(self.runs)} runs completed with a metric"])
        if len(data := self.groups.sets(found)) > 1:
            text = f"notice: best by {self.quantities[0].name} of runs on different data: {', '.join(sorted(data))}"
            tell(f"{text}; --where data=... chooses one")
        return [min(found, key=lambda run: self.quantities[0].rank(run) or 0)]

    @cached_property
    def verdicts(self) -> list["Verdict"]:
        """The verdict of each comparison, by quantity, then best group first."""
        base, detect = self.groups.baseline, self.options.detect
        return [
            Verdict(q.name, g.name, base.name, self.groups.verdict(g, c, q, detect), c.test)
            for q in self.quantities
            for g in self.order
            if base is not None and (c := self.compared[q].get(g)) is not None
        ]

    def verdict_lines(self, quantity: measures.Quantity) -> list[str]:
        """The verdicts by one quantity, a line each; many groups of which nothing can be said share one line."""
        found = [v for v in self.verdicts if v.quantity == quantity.name]
        untested = {g.name for g, c in self.compared[quantity].items() if c.p is None}
        tested = [v for v in found if v.group not in untested]
        if (few := len(untested)) <= FOLDED:
            return [v.text for v in found]
        rest = f"{few} groups have fewer than {FEWEST} seeds to compare with {self.groups.against}, which is too few"
        return [*(v.text for v in tested), rest]

    def notes(self) -> list[str]:
        """Explains the verdicts: what they are about, what was not compared, and which methods were used."""
        order, found = self.order, []
        if split := self.groups.split:
            keys = ", ".join(map(short, split))
            found.append(f"groups with runs of several data sets are split by {keys}: a mean over them means nothing")
        if len(order) > 1 and not self.groups.repeated:
            return [
                *found,
                "one run per group: to tell whether differences are real, add seeds, such as 'seed=range(0,5)'",
            ]
        if len(order) > groups.MOST:
            return [
                *found,
                f"{len(order)} groups are too many to compare ({groups.MOST} at most); "
                "select some with --where or --group-by",
            ]
        found += self._baseline()
        if mixed := self.groups.mixed:
            keys = ", ".join(map(short, mixed))
            found.append(
                f"within groups, runs differ in {keys} as well as in seeds; ± and intervals are over all of these"
            )
        if averaged := self.groups.averaged_over:
            keys = ", ".join(map(short, averaged))
            found.append(
                f"runs with the same seed differ in {keys} and count once, by their mean; "
                "n, ± and intervals are over seeds"
            )
        if mixed := [group.name for group in order if surroundings.mixed(group.completed)]:
            told = f"runs within a group were trained on different data, according to {surroundings.DATA}"
            found.append(f"{told}: {', '.join(mixed)}")
        if self.groups.crossed:
            several = " and ".join(self.groups.seeds)
            found.append(f"runs share values of {several}; n counts the values of the one that has fewer")
        if foreign := [group for group in order if self.groups.foreign(group)]:
            named = ", ".join(group.name for group in foreign)
            data = ", ".join(sorted(set().union(*(self.groups.sets(group.runs) for group in foreign))))
            which = named if len(named) <= 3 * groups.LONGEST else f"{len(foreign)} groups of {data}"
            found.append(f"not compared, as they were trained on other data: {which}")
        positive = [q for q in self.quantities if q.measure.positive]
        if any((ends := g.summary(q).interval) and ends[0] == 0 for q in positive for g in order):
            found.append("intervals 95% of steps and seconds: by Student's t, cut at 0")
        if used := dict.fromkeys(verdict.method for verdict in self.verdicts if verdict.method):
            named = "; ".join(f"{name} ({METHODS[name]})" for name in used)
            effect = "d: Cohen's d_z of pairs, else Hedges' g"
            told = any(" power" in v.text for v in self.verdicts)
            power = "; power: if the true spread is the observed one" if told else ""
            shares = ", of a share by log-odds" if any(q.measure.share for q in self.quantities) else ""
            intervals = f"intervals 95%{shares}"
            found.append(
                f"methods: {named}; p corrected by Holm; {intervals}; {effect}{power}; only completed runs count"
            )
        return found

    def _baseline(self) -> list[str]:
        """Says which group is the baseline, where verdicts do not, and that the results chose it, where they did."""
        base, chosen = self.groups.baseline, self.groups.chosen
        if base is None or not self.verdicts:
            return []
        if chosen is None:
            return [f"baseline: {base.name}"] if len(self.groups.keys) > 1 or base.name != self.groups.against else []
        pairs = max(c.comparisons for found in self.compared.values() for c in found.values())
        how = f"; as the results chose it, p is corrected for all {pairs} pairs of groups" if pairs > 1 else ""
        return [f"baseline: {base.name}, the best by {chosen.name}{how}"]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary per run, with plain values."""
        timing = () if self.options.columns else ("steps_per_second", "seconds")
        found = []
        for run in self.runs:
            row: dict[str, Any] = {} if self.options.columns else {"directory": run.path, "status": groups.state(run)}
            row |= {name: run.value(name) for name in self.columns}
            row |= {} if self.options.columns else {q.name: q.values[run] for q in self.quantities}
            found.append(row | {name: run.value(name) for name in timing})
        return found

    def _columns(self, runs: Runs) -> list[str]:
        if self.options.columns:
            of_groups = tables.OF_GROUPS if self.groups_only else ()
            return list(dict.fromkeys(runs.column(name) for name in self.options.columns if name not in of_groups))
        if self.options.all_columns:
            return [name for name in runs.columns if name not in ("directory", "status", "steps_per_second", "seconds")]
        return sorted(runs.differing, key=lambda key: key.endswith(SEEDS))  # seeds come last

    def _ranked(self, runs: Runs, by: measures.Quantity | None) -> list[groups.Group]:
        """Groups by their means, best first; if only groups are shown, in the order that the user asked for."""
        name, down, found = self.options.sort, self.options.reverse, self.groups
        if name is None or not self.groups_only:
            return found.ranked(by, worst=down and self.groups_only) if by else found.groups
        known = {q.name: q for q in self.quantities}
        full = name if name in known else runs.column(name)
        if full not in known and full not in found.keys:
            names = ", ".join([*map(short, found.keys), *known])
            raise InvalidConfig([f"--sort {show(name)}: not allowed; allowed of groups: {names}"])
        values = {
            g: g.summary(known[full]).mean if full in known else _sorted(full, g.values[full]) for g in found.groups
        }
        return sorted(found.groups, key=lambda group: _rank(values[group], down))

    def _order(self, runs: Runs) -> Callable[[Run], tuple[Any, ...]]:
        """A key to sort runs by: best first, or by a column. Runs that don't count or lack the value come last."""
        first, name, down = (*self.quantities, None)[0], self.options.sort, self.options.reverse
        if name is None:
            return lambda run: (not groups.averaged(run), *_rank(first and first.rank(run), down))
        known = {q.name: q for q in self.quantities}
        if name in known:
            return lambda run: _rank(known[name].values[run], down)
        full = runs.column(name)
        return lambda run: _rank(_sorted(full, run.value(full)), down)


@dataclass(frozen=True)
class Verdict:
    """What a comparison says, in one line; ``method`` is None if nothing was tested, or all values are equal."""

    quantity: str
    group: str
    baseline: str
    text: str
    method: str | None


def notice(what: str, of: str, items: Sequence[str]) -> None:
    """Says on stderr what was left out; ``of`` is in the singular."""
    if items:
        tell(f"{what} {len(items)} {noun(len(items), of)}:")
        more = [f"… {len(items) - NAMED} more"] if len(items) > NAMED else []
        tell("\n".join(f"  {printable(item)}" for item in [*items[:NAMED], *more]))


def _sorted(name: str, value: Any) -> Any:
    """What a value is sorted by: a time by the seconds since 1970."""
    return value if name not in TIMES or (found := instant(value)) is None else found


def _rank(value: Any, down: bool) -> tuple[Any, ...]:
    """A key to sort by: numbers by size, text alphabetically, and missing values last in either direction."""
    if value is None:
        return (3,)
    if isinstance(value, int | float):
        return (0, -value if down else value)
    text = show(value)
    return (1, (*(-ord(c) for c in text), 1) if down else tuple(map(ord, text)))
