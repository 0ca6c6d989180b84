"""Compares the rows of two runs one by one, which shows whether a run was reproduced."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dlrun.runs.metric_names import ROW_KEYS
from dlrun.runs.run import Run
from dlrun.runs.rundir import is_number

Pair = tuple[Any, Any]


@dataclass
class RowComparison:
    """How the rows of two runs compare, in the order of the first run; their ``time`` is left out.

    Args:
      equal, differing: how many of the rows that both runs have.
      only: how many rows only the first run has, and only the second.
      first: the step of the first row that differs; None if none does.
      metrics: the metrics that differ in that row, with the values of both runs.
      same: the last step before ``first`` that has a row; None if there is none.
    """

    equal: int = 0
    differing: int = 0
    only: tuple[int, int] = (0, 0)
    first: int | None = None
    metrics: dict[str, Pair] = field(default_factory=dict)
    same: int | None = None

    @property
    def differs(self) -> bool:
        return bool(self.differing or any(self.only))


def compare_rows(a: Run, b: Run, comparable: Callable[[str], bool]) -> RowComparison:
    """Compares rows of the same split and step, in the metrics that both have.

    Args:
      comparable: whether a metric, such as ``val/loss``, means the same in both runs.
    """
    left, right = (_by_place(run, comparable) for run in (a, b))
    shared = [place for place in left if place in right]
    compared = RowComparison(only=(len(left) - len(shared), len(right) - len(shared)))
    for place in shared:
        both = {name: (left[place][name], right[place][name]) for name in left[place] if name in right[place]}
        other = {name: pair for name, pair in both.items() if not same(*pair)}
        compared.equal += not other
        compared.differing += bool(other)
        if other and compared.first is None:
            compared.first, compared.metrics = place[1], other
            compared.same = max((step for _, step, _ in shared[: compared.equal] if step < place[1]), default=None)
    return compared


def _by_place(run: Run, comparable: Callable[[str], bool]) -> dict[tuple[str, int, int], dict[str, Any]]:
    """A run's rows by split, step, and how many earlier rows have the same two; only metrics that can be compared."""
    by_place: dict[tuple[str, int, int], dict[str, Any]] = {}
    seen: Counter[tuple[str, int]] = Counter()  # a file that was edited by hand may have several
    for row in run.rows:
        split, step = row.get("split"), row.get("step")
        if not isinstance(split, str) or not isinstance(step, int):
            continue
        names = {key: f"{split}/{key}" for key in row if key not in ROW_KEYS}
        values = {name: row[key] for key, name in names.items() if comparable(name)}
        if values:
            by_place[split, step, seen[split, step]] = values
            seen[split, step] += 1
    return by_place


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal; NaN equals NaN, and 1 does not equal ``true``."""
    return (a == b and isinstance(a, bool) == isinstance(b, bool)) or (a != a and b != b)


def in_words(rows: RowComparison) -> str:
    """Says how far the rows are equal: ``equal to step 100, differ from step 120 on (val/loss)``."""
    both = rows.equal + rows.differing
    parts = []
    if rows.first is not None:
        names = list(rows.metrics)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        by = max(_relative(*pair) for pair in rows.metrics.values())
        how = f"({', '.join(names[:3])}{more}, by up to {f'{by:.0%}' if by > 0.01 else f'{by:.0e} of the value'})"
        before = f"equal to step {rows.same}, differ" if rows.same is not None else "differ"
        parts.append(f"{before} from step {rows.first} on {how}: {rows.differing} of {both} rows")
    elif both:
        parts.append(f"the {both} that both have are equal" if any(rows.only) else f"all {both} equal")
    parts += [f"{n} only in {name}" for name, n in zip("AB", rows.only, strict=True) if n]
    return "; ".join(parts) or "none to compare"


def _relative(old: Any, new: Any) -> float:
    """A difference as a share of the larger value."""
    if not (is_number(old) and is_number(new)):
        return 1.0
    return abs(old - new) / max(abs(old), abs(new), 1e-300)
