"""Tables for people: one line per run, or per group. Cells are text; :mod:`~dlrun.compare.formats` writes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.compare import cells
from dlrun.compare.as_typed import as_typed, short
from dlrun.compare.cells import NONE
from dlrun.compare.groups import Group, Groups, averaged, state
from dlrun.compare.measures import Quantity
from dlrun.compare.statistics.comparison import Comparison, Summary
from dlrun.errors import printable
from dlrun.runs.metric_names import SEEDS
from dlrun.runs.run import Run
from dlrun.runs.rundir import finite
from dlrun.runs.runs import Runs

ESSENTIAL = 9  # the rank of columns that are never left out
OF_GROUPS = ("n", "runs", "not counted", "interval", "best", "worst", "difference", "p", "d")
"""Columns of groups, beside keys and metrics, that a user may name."""
OF_COMPARISONS = ("difference", "p", "d")
"""Those of them that are there only where groups were compared."""
HEAD = 14  # characters: the head of differences calls a baseline with a longer name "baseline"


@dataclass(frozen=True)
class Column:
    """A column of text.

    Args:
      right: whether it is aligned right, as numbers are.
      rank: if there is no room, columns of the lowest rank are left out first, ESSENTIAL ones never.
      of: the quantity that it tells more of, if any.
      strong: the numbers of the cells that are best.
    """

    name: str
    cells: list[str]
    right: bool = False
    rank: int = ESSENTIAL
    of: str = ""
    strong: tuple[int, ...] = ()


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
        *(Column(q.name, cells.numbers([q.values[run] for run in runs]), right=True) for q in quantities),
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
        return Column(head, [cells.duration(finite(v)) for v in values], True, rank)
    if name == "steps_per_second":
        return Column(head, [cells.rate(finite(v)) for v in values], True, rank)
    if "/" in name:
        return Column(head, cells.numbers([finite(v) for v in values]), True, rank)
    # A key that a run does not have is not the same as null.
    here = [name in run.config or value is not None for run, value in zip(runs, values, strict=True)]
    return Column(head, [as_typed(v) if there else NONE for v, there in zip(values, here, strict=True)], number, rank)


def of_groups(
    groups: Groups,
    order: Sequence[Group],
    quantities: Sequence[Quantity],
    compared: Mapping[Quantity, Mapping[Group, Comparison]],
) -> Table:
    """One line per group: values, seeds, and of each quantity mean ± standard deviation, interval, best and worst, a
    drawing of the first, and what the comparison with the baseline says.

    Args:
      order: the groups to show.
      compared: comparisons by quantity.
    """
    columns = []
    for key in groups.keys or [""]:
        texts = [as_typed(g.values[key]) if key and _there(g, key) else NONE if key else g.name for g in order]
        columns.append(Column(short(key) or "group", texts, all(map(_numeric, texts)), _rank(key)))
    n = {g: g.n for g in order}
    columns.append(Column("n", [str(n[g]) for g in order], right=True))
    if any(len(g.completed) != n[g] for g in order):
        columns.append(Column("runs", [str(len(g.completed)) for g in order], right=True, rank=7))
    if any(g.left_out for g in order):
        columns.append(Column("not counted", [", ".join(f"{n} {s}" for s, n in g.left_out.items()) for g in order]))
    for quantity in quantities:
        columns += _of_quantity(groups, order, quantity, quantity is quantities[0])
        if groups.baseline is not None and (found := compared.get(quantity)):
            columns += _against(groups, quantity.name, [found.get(g) for g in order], quantity is quantities[0])
    return Table(columns, ["baseline" if g is groups.baseline else "" for g in order])


def _of_quantity(groups: Groups, order: Sequence[Group], quantity: Quantity, first: bool) -> Iterator[Column]:
    """The columns that describe a quantity. The first one's are the last to be left out where there is no room."""
    summaries = [g.summary(quantity) for g in order]
    means = [cells.mean(s, g.n) for s, g in zip(summaries, order, strict=True)]
    yield Column(quantity.name, means, right=True, strong=_best(groups, order, quantity, summaries))
    intervals = [cells.interval(s) for s in summaries]
    yield Column("95% interval", intervals, right=True, rank=5 if first else 2, of=quantity.name)
    ends = [[s.max for s in summaries], [s.min for s in summaries]]
    for name, values in zip(("best", "worst"), ends[:: -1 if quantity.measure.better == "min" else 1], strict=True):
        yield Column(name, cells.numbers(values), right=True, rank=3 if first else 1, of=quantity.name)
    alike = (
        len(groups.sets(run for g in order for run in g.runs)) == 1
    )  # else one scale would compare what is not alike
    if first and alike and any(s.interval for s in summaries):
        yield Column("", cells.bars(summaries), rank=2)


def _against(groups: Groups, name: str, comparisons: Sequence[Comparison | None], first: bool) -> list[Column]:
    """The columns that compare with the baseline: difference to it ± half of its interval, p, and effect size."""
    base = groups.baseline.name if groups.baseline and len(groups.baseline.name) <= HEAD else "baseline"
    effects = ["" if c is None or c.p is None or c.effect is None else f"{c.effect:.1f}" for c in comparisons]
    columns = [
        Column(f"− {base}", [cells.difference(c) for c in comparisons], True, 6 if first else 4, name),
        Column("p", [cells.p_value(c) for c in comparisons], True, 6 if first else 4, name),
        Column("d", effects, True, 4 if first else 1, name),
    ]
    return [column for column in columns if any(column.cells)]


def _best(groups: Groups, order: Sequence[Group], quantity: Quantity, summaries: Sequence[Summary]) -> tuple[int, ...]:
    """The lines of the best means; of each data set, as only these compare."""
    known = [(i, s.mean) for i, s in enumerate(summaries) if s.mean is not None]
    sets = [groups.sets(group.runs) for group in order]
    choose = min if quantity.measure.better == "min" else max
    return tuple([i for i, mean in known if mean == choose(m for k, m in known if sets[k] == sets[i])])


def chosen(table: Table, names: Sequence[str]) -> tuple[Table, list[str]]:
    """A table with the columns alone that are named, in that order; and the names that none has.

    Args:
      names: as :func:`called`, keys in full or short, a metric with or without its split. A name that several metrics
        have, such as ``p``, stands for all of them.
    """
    columns: dict[int, Column] = {}
    unknown = []
    for name in names:
        here = [c for c in table.columns if name in (called(c), f"{c.name}.name", c.name.rpartition("/")[2])]
        columns |= {id(column): column for column in here if column.name}
        unknown += [] if here else [name]
    return Table(list(columns.values()), table.marks), unknown


def called(column: Column) -> str:
    """What a user calls a column."""
    return {"95% interval": "interval"}.get(column.name, "difference" if column.name.startswith("− ") else column.name)


def _rank(key: str) -> int:
    """The rank of a key's column: a choice says more than the numbers of its option."""
    return 8 if key.endswith(".name") or not key else 7


def _there(group: Group, key: str) -> bool:
    return group.values[key] is not None or key in group.runs[0].config


def _numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == NONE
    return True


def records(
    groups: Groups,
    order: Sequence[Group],
    quantities: Sequence[Quantity],
    compared: Mapping[Quantity, Mapping[Group, Comparison]],
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
            row |= {f"{q.name} {k}": c and getattr(c, k) for k in ("p", "corrected", "effect")}
            row |= {f"{q.name} method": c and c.test}
            row |= {f"{q.name} pairs": c.sizes[0] if c and c.paired else None}
            row |= {f"{q.name} notes": c and "; ".join(groups.notes(group, c, q))}
        rows.append(row)
    return rows


def _listed(value: Any) -> Any:
    return list(map(_listed, value)) if isinstance(value, tuple) else value
