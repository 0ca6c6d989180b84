"""Reduces the curves of runs to few points: a page should be small, and a screen shows no more."""

from collections.abc import Iterable, Sequence
from typing import Any

from dlrun.runs.metric_names import ROW_KEYS
from dlrun.runs.run import Run
from dlrun.runs.rundir import finite
from dlrun.runs.runs import Runs

POINTS = 300_000  # that all curves together may have, about 8 bytes each
MOST, LEAST = 200, 8  # points of a curve
DIGITS = 5


def curves(runs: Runs) -> dict[str, Any]:
    """The curves of all metrics, except those of the test split, which have a single point.

    Returns:
      ``metrics``: their names.
      ``x``: lists of steps, and of seconds. Curves with the same list share one.
      ``runs``: for each run, by metric: the index of its steps in ``x``, that of its seconds, and its values (None in
        rows that have no finite one).
    """
    known = [name for name in runs.metrics if not name.startswith("test/")]
    most = min(max(POINTS // (len(runs) * len(known) or 1), LEAST), MOST)
    shared: dict[tuple[float, ...], int] = {}
    reduced = [_curves(run, most, shared) for run in runs]
    return {"metrics": sorted({name for run in reduced for name in run}), "x": list(shared), "runs": reduced}


def rounded(value: float) -> float | int:
    """A number rounded to DIGITS digits; without a decimal point if it is whole, which is shorter."""
    value = float(f"{value:.{DIGITS}g}")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def kept(values: Iterable[Sequence[float | None]], rows: int, most: int) -> list[int]:
    """Which rows to keep of curves that share their x: first, last, each curve's extremes, others evenly spaced."""
    if rows <= most:
        return list(range(rows))
    extremes = set()
    for some in values:
        known = [(value, i) for i, value in enumerate(some) if value is not None]
        extremes |= {min(known)[1], max(known)[1]}
    even = max(most - len(extremes), 2)
    return sorted(extremes | {round(i * (rows - 1) / (even - 1)) for i in range(even)})


def _curves(run: Run, most: int, shared: dict[tuple[float, ...], int]) -> dict[str, Any]:
    splits: dict[str, list[dict[str, Any]]] = {}
    for row in run.rows:
        if isinstance(row.get("step"), int) and isinstance(split := row.get("split"), str) and split != "test":
            splits.setdefault(split, []).append(row)
    found = {}
    for split, rows in splits.items():
        rows.sort(key=lambda row: row["step"])
        names = dict.fromkeys(key for row in rows for key in row if key not in ROW_KEYS)
        values = {name: [finite(row.get(name)) for row in rows] for name in names}
        values = {name: some for name, some in values.items() if any(v is not None for v in some)}
        chosen = kept(values.values(), len(rows), most)
        steps = shared.setdefault(tuple([rows[i]["step"] for i in chosen]), len(shared))
        times = [finite(rows[i].get("time")) or 0.0 for i in chosen]
        seconds = shared.setdefault(tuple(map(rounded, times)), len(shared))
        for name, some in values.items():
            picked = [some[i] for i in chosen]
            found[f"{split}/{name}"] = [steps, seconds, [v if v is None else rounded(v) for v in picked]]
    return found
