"""Runs as a command wants to look at them: which columns, in which order, in which groups."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.compare import groups, quantities
from dlrun.compare.runs import SEEDS, Run, Runs
from dlrun.compare.statistics import METHODS
from dlrun.schema import InvalidConfig, printable, show

NAMED = 5  # runs and folders that a notice lists


class View:
    """Runs as they were asked to be looked at.

    Attributes:
      runs: best first, or as sorted; those that do not count last.
      quantities: what is measured of each; the first one ranks. Empty where no run has a metric yet.
      groups, order: the groups, and they in the order of their means.
      compared: by quantity, the comparisons by group.
      columns: keys to show of a run.
    """

    def __init__(self, args: argparse.Namespace, runs: Runs):
        self.args = args
        named = [quantities.full(runs, name) for name in _words(args.metric)]
        if not named and (main := runs.main()) and main[0] in runs.metrics:
            named = [main[0]]
        self.quantities = [quantities.metric(runs, name, args.at) for name in named]
        for name, target in args.until:
            self.quantities += quantities.until(runs, name, target)
        counted = runs.of(run for run in runs if groups.averaged(run))
        for name in named if args.metric else ():
            (quantity,) = [q for q in self.quantities if q.metric == name][:1]
            notice(f"{quantity.name}: none of", "completed runs", [run.path for run in quantity.missing(counted)])
        self.columns = self._columns(runs)
        self.runs = runs.of(sorted(runs, key=self._order(runs)))
        self.groups = groups.grouped(runs, _words([args.group_by]) if args.group_by else None, args.baseline)
        self.order = self.groups.ranked(self.quantities[0]) if self.quantities else self.groups.groups
        self.compared = {q: self.groups.comparisons(q) for q in self.quantities}

    @property
    def asked(self) -> bool:
        """Whether groups were asked for, so that single runs are of no interest."""
        return bool(self.args.group_by or self.args.baseline)

    def best(self) -> list[Run]:
        """The best of the runs that count, by the first quantity."""
        found = [
            r for r in self.runs if groups.averaged(r) and self.quantities and self.quantities[0].values[r] is not None
        ]
        if not found:
            raise InvalidConfig([f"--best: none of {len(self.runs)} runs completed with a metric"])
        return [min(found, key=lambda run: self.quantities[0].rank(run) or 0)]

    def verdicts(self) -> list["Verdict"]:
        """What each comparison says, best group first, by quantity."""
        base, detect = self.groups.baseline, self.args.detect
        return [
            Verdict(q.name, g.name, base.name, self.groups.verdict(g, c, q, detect), None if c.p is None else c.method)
            for q in self.quantities
            for g in self.order
            if base is not None and (c := self.compared[q].get(g)) is not None
        ]

    def notes(self) -> list[str]:
        """What was not compared, and by what methods the rest was."""
        if len(self.order) > 1 and not self.groups.repeated:
            return ["one run a group: to tell whether differences are real, add seeds, such as 'seed=range(0,5)'"]
        foreign = [group.name for group in self.order if self.groups.foreign(group)]
        found = [f"not compared, being of other data: {', '.join(foreign)}"] if foreign else []
        if used := dict.fromkeys(verdict.method for verdict in self.verdicts() if verdict.method):
            named = "; ".join(f"{name} ({METHODS[name]})" for name in used)
            effect = "d: Cohen's d_z of pairs, else Hedges' g"
            found.append(f"methods: {named}; p corrected by Holm; intervals 95%; {effect}; only completed runs count")
        return found

    def records(self) -> list[dict[str, Any]]:
        """A dictionary a run, with plain values."""
        timing = () if self.args.columns else ("steps_per_second", "seconds")
        found = []
        for run in self.runs:
            row: dict[str, Any] = {} if self.args.columns else {"directory": run.path, "status": groups.state(run)}
            row |= {name: run.value(name) for name in self.columns}
            row |= {} if self.args.columns else {q.name: q.values[run] for q in self.quantities}
            found.append(row | {name: run.value(name) for name in timing})
        return found

    def _columns(self, runs: Runs) -> list[str]:
        if self.args.columns:
            return list(dict.fromkeys(runs.column(name) for name in _words([self.args.columns])))
        if self.args.all_columns:
            return [name for name in runs.columns if name not in ("directory", "status", "steps_per_second", "seconds")]
        return sorted(runs.differing, key=lambda key: key.endswith(SEEDS))  # seeds last

    def _order(self, runs: Runs) -> Callable[[Run], tuple[Any, ...]]:
        """Best first, or by a column; runs that do not count, or lack what is sorted by, come last either way."""
        first, name, down = (*self.quantities, None)[0], self.args.sort, self.args.reverse
        if name is None:
            return lambda run: (not groups.averaged(run), *_rank(first and first.rank(run), down))
        known = {q.name: q for q in self.quantities}
        if name in known:
            return lambda run: _rank(known[name].values[run], down)
        full = runs.column(name)
        return lambda run: _rank(run.value(full), down)


@dataclass(frozen=True)
class Verdict:
    """What a comparison says, in a line; ``method`` is None where nothing was tested."""

    quantity: str
    group: str
    baseline: str
    text: str
    method: str | None


def notice(what: str, of: str, items: Sequence[str]) -> None:
    """Tells on stderr what was left out."""
    if items:
        print(f"{what} {len(items)} {of}:", file=sys.stderr)
        more = [f"… {len(items) - NAMED} more"] if len(items) > NAMED else []
        print("\n".join(f"  {printable(item)}" for item in [*items[:NAMED], *more]), file=sys.stderr)


def _rank(value: Any, down: bool) -> tuple[Any, ...]:
    """Numbers by size, text by the alphabet; what is absent last, whatever the direction."""
    if value is None:
        return (3,)
    if isinstance(value, int | float):
        return (0, -value if down else value)
    text = show(value)
    return (1, (*(-ord(c) for c in text), 1) if down else tuple(map(ord, text)))


def _words(lists: Sequence[str] | None) -> list[str]:
    return [word.strip() for text in lists or () for word in text.split(",") if word.strip()]
