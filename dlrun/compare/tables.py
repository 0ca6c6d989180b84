"""Tables for people: one line per run, or per group. Cells are text; :mod:`~dlrun.compare.formats` writes them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.compare.as_typed import as_typed, short
from dlrun.compare.groups import Group, Groups, averaged, state
from dlrun.compare.measures import Quantity
from dlrun.compare.statistics.comparison import Comparison, Summary
from dlrun.errors import printable
from dlrun.runs.metric_names import SEEDS
from dlrun.runs.run import Run
from dlrun.runs.rundir import finite
from dlrun.runs.runs import Runs

NONE = "–"  # in place of a value
BAR = 21  # characters
ESSENTIAL = 9  # the rank of columns that are never left out


@dataclass(frozen=True)
class Column:
    """A column of text.

    Args:
      right: whether it is aligned right, as numbers are.
      rank: if there is no room, columns of the lowest rank are left out first, ESSENTIAL ones never.
    """

    name: str
    cells: list[str]
    right: bool = False
    rank: int = ESSENTIAL


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Args:
      marks: one word per line, which decides its style: a run's status, ``baseline``, or nothing.
    """

    columns: list[Column]
    marks: list[str]


def of_runs(runs: Runs, columns: Sequence[str], quantities: Sequence[Quantity], root: str = "") -> Table:
    """One line per run: directory, status, columns, quantities, speed, time.

    Args:
      columns: keys of the configuration, or facts of run.json.
      root: the folder that all directories begin with; it is not shown.
    """
    found = [
        Column("run", [printable(run.path.removeprefix(root).lstrip("/") or run.path) for run in runs]),
        Column("status", [printable(state(run)) for run in runs]),
        *(column(runs, key, rank=5 if key.endswith(SEEDS) else _rank(key)) for key in columns),
        *(Column(q.name, _numbers([q.values[run] for run in runs]), right=True) for q in quantities),
        column(runs, "steps_per_second", rank=2),
        column(runs, "seconds", rank=3),
    ]
    return Table(found, ["" if averaged(run) else state(run) for run in runs])


def column(runs: Iterable[Run], name: str, rank: int = ESSENTIAL) -> Column:
    """A column of the runs' values, as text."""
    runs = list(runs)
    values = [run.value(name) for run in runs]
    head = {"steps_per_second": "steps/s", "seconds": "time"}.get(name, printable(short(name)))
    number = all(isinstance(v, int | float | None) and not isinstance(v, bool) for v in values)
    if name == "seconds":
        return Column(head, [duration(finite(v)) for v in values], True, rank)
    if name == "steps_per_second":
        return Column(head, [_rate(finite(v)) for v in values], True, rank)
    if "/" in name:
        return Column(head, _numbers([finite(v) for v in values]), True, rank)
    # A key that a run does not have is not the same as null.
    here = [name in run.config or value is not None for run, value in zip(runs, values, strict=True)]
    return Column(head, [as_typed(v) if there else NONE for v, there in zip(values, here, strict=True)], number, rank)


def of_groups(
    groups: Groups, order: Sequence[Group], quantities: Sequence[Quantity], compared: dict[Group, Comparison]
) -> Table:
    """One line per group: values, seeds, mean ± standard deviation, interval, best and worst, bar, difference.

    Args:
      order: the groups to show.
      compared: comparisons by the first of the quantities.
    """
    columns = []
    for key in groups.keys or [""]:
        cells = [as_typed(g.values[key]) if key and _there(g, key) else NONE if key else g.name for g in order]
        columns.append(Column(short(key) or "group", cells, all(map(_numeric, cells)), _rank(key)))
    n = {g: g.n for g in order}
    columns.append(Column("n", [str(n[g]) for g in order], right=True))
    if any(len(g.completed) != n[g] for g in order):
        columns.append(Column("runs", [str(len(g.completed)) for g in order], right=True, rank=7))
    if any(g.left_out for g in order):
        columns.append(Column("not counted", [", ".join(f"{n} {s}" for s, n in g.left_out.items()) for g in order]))
    for place, quantity in enumerate(quantities):
        summaries = [g.summary(quantity) for g in order]
        more, rank = quantity.measure.better == "min", 6 if place == 0 else 2
        best, worst = [[(s.min, s.max)[side != more] for s in summaries] for side in (True, False)]
        columns += [
            Column(quantity.name, [_mean(s, n[g]) for s, g in zip(summaries, order, strict=True)], right=True),
            Column("95% interval", [_interval(s) for s in summaries], right=True, rank=rank),
            Column("best", _numbers(best), right=True, rank=rank // 2),
            Column("worst", _numbers(worst), right=True, rank=rank // 2),
        ]
        if place == 0 and any(s.interval for s in summaries):
            columns.append(Column("", bars(summaries), rank=5))
    if compared and groups.baseline is not None:
        columns += _against(groups.against.removeprefix("the "), [compared.get(g) for g in order])
    return Table(columns, ["baseline" if g is groups.baseline else "" for g in order])


def _against(baseline: str, comparisons: Sequence[Comparison | None]) -> list[Column]:
    """The columns that compare with the baseline: difference to it ± half of its interval, p, and effect size."""
    effects = ["" if c is None or c.p is None or c.effect is None else f"{c.effect:.1f}" for c in comparisons]
    columns = [
        Column(f"− {baseline}", [_difference(c) for c in comparisons], right=True, rank=4),
        Column("p", [_p(c) for c in comparisons], right=True, rank=4),
        Column("d", effects, right=True, rank=3),
    ]
    return [column for column in columns if any(column.cells)]


def spread(s: Summary) -> str:
    """``mean ± standard deviation``, with two significant digits of the latter."""
    if s.mean is None:
        return NONE
    places = _places(s.std)
    return number(s.mean) if s.std is None else f"{s.mean:.{places}f} ± {s.std:.{places}f}"


def _mean(s: Summary, n: int) -> str:
    """Mean ± standard deviation, and the number of seeds if some have no value."""
    return spread(s) if s.n in (0, n) else f"{spread(s)} (n={s.n})"


def _rank(key: str) -> int:
    """The rank of a key's column: a choice says more than the numbers of its option."""
    return 8 if key.endswith(".name") or not key else 7


def bars(summaries: Sequence[Summary], width: int = BAR) -> list[str]:
    """Draws each mean as a dot on its interval, all on one scale."""
    ends = [x for s in summaries for x in (s.mean, *(s.interval or ())) if x is not None]
    low, high = min(ends), max(ends)
    at = lambda x: round((x - low) / (high - low or 1) * (width - 1))  # noqa: E731

    def bar(s: Summary) -> str:
        cells = [" "] * width
        if s.mean is None:
            return "".join(cells)
        if s.interval:
            first, last = map(at, s.interval)
            cells[first : last + 1] = "─" * (last - first + 1)
            cells[first], cells[last] = "├", "┤"
        cells[at(s.mean)] = "●"
        return "".join(cells)

    return [bar(s) for s in summaries]


def number(value: float | None) -> str:
    """A number on its own, with four digits."""
    if value is None:
        return NONE
    if value == int(value) and abs(value) < 1e6:
        return str(int(value)) if abs(value) >= 10 else f"{value:.4g}"
    return f"{value:.4f}" if 0.1 <= abs(value) < 10 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """``8.2 s``, ``3:05 min``, ``2:05 h``."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return (
        f"{int(seconds) // 60}:{int(seconds) % 60:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
    )


def _rate(a_second: float | None) -> str:
    return NONE if a_second is None else f"{a_second:.0f}" if a_second >= 10 else f"{a_second:.2g}"


def _numbers(values: Sequence[float | None]) -> list[str]:
    """Numbers of one column: shares get four decimals."""
    known = [abs(v) for v in values if v is not None]
    if known and max(known) <= 1 and min(known) >= 0.001:
        return [NONE if v is None else f"{v:.4f}" for v in values]
    return [number(v) for v in values]


def _places(std: float | None) -> int:
    return min(max(1 - math.floor(math.log10(std)), 0), 8) if std else 4


def _interval(s: Summary) -> str:
    if s.interval is None:
        return NONE
    places = _places(s.std)
    return f"{s.interval[0]:.{places}f} … {s.interval[1]:.{places}f}"


def _difference(c: Comparison | None) -> str:
    if c is None or c.difference is None:
        return ""
    if c.interval is None:
        return f"{c.difference:+.3g}"
    half = (c.interval[1] - c.interval[0]) / 2
    places = _places(half)
    return f"{c.difference:+.{places}f} ± {half:.{places}f}"


def _p(c: Comparison | None) -> str:
    p = c.corrected if c is not None else None
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def _there(group: Group, key: str) -> bool:
    return group.values[key] is not None or key in group.runs[0].config


def _numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == NONE
    return True


def records(
    groups: Groups, order: Sequence[Group], quantities: Sequence[Quantity], compared: Any
) -> list[dict[str, Any]]:
    """One dictionary per group, with plain numbers: what the table shows, and more.

    Args:
      compared: by quantity, comparisons by group.
    """
    rows = []
    for group in order:
        row: dict[str, Any] = {"group": group.name, **{k: _listed(v) for k, v in group.values.items()}}
        row |= {"n": group.n, "runs": len(group.completed), "not counted": sum(group.left_out.values())}
        for q in quantities:
            s = group.summary(q)
            row |= {f"{q.name} {k}": getattr(s, k) for k in ("n", "mean", "std", "min", "max")}
            low, high = s.interval or (None, None)
            row |= {f"{q.name} 95% low": low, f"{q.name} 95% high": high}
            c = compared[q].get(group)
            low, high = (c.interval if c else None) or (None, None)
            row |= {f"{q.name} difference": c and c.difference}
            row |= {f"{q.name} difference 95% low": low, f"{q.name} difference 95% high": high}
            row |= {f"{q.name} {k}": c and getattr(c, k) for k in ("p", "corrected", "effect", "method")}
            row |= {f"{q.name} pairs": c.sizes[0] if c and c.paired else None}
            row |= {f"{q.name} notes": c and "; ".join(groups.notes(group, c, q))}
        rows.append(row)
    return rows


def _listed(value: Any) -> Any:
    return list(map(_listed, value)) if isinstance(value, tuple) else value
