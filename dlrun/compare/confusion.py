"""Confusion matrices of groups of runs, on the test data."""

from collections.abc import Sequence
from typing import Any

from dlrun.compare.groups import Group
from dlrun.errors import show
from dlrun.runs import atomic, rundir
from dlrun.runs.run import Run

CELLS = 200_000  # the most that all matrices together may have


def matrices(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """How often each true class (row) was taken for each class (column), summed over the completed runs of a group.

    One dictionary per matrix: ``group`` (its number), ``runs`` (how many), ``classes``, ``counts``. A group whose runs
    have different classes has several matrices; once there are CELLS cells, further matrices are left out.
    """
    found, cells = [], 0
    for i, group in enumerate(groups):
        sums: dict[tuple[str, ...], list[Any]] = {}
        for run in group.completed:
            classes, counts = _counts(run)
            if counts:
                entry = sums.setdefault(classes, [0, counts])
                if entry[0]:
                    entry[1] = [
                        [a + b for a, b in zip(*rows, strict=True)] for rows in zip(entry[1], counts, strict=True)
                    ]
                entry[0] += 1
        for classes, (runs, counts) in sums.items():
            cells += len(counts) ** 2
            if cells <= CELLS:
                found.append({"group": i, "runs": runs, "classes": classes, "counts": counts})
    return found


def _counts(run: Run) -> tuple[tuple[str, ...], list[list[int]]]:
    """Names of classes, and the confusion matrix on the test data; empty if there is none, or it is damaged."""
    counts = (atomic.read_json(run.directory / rundir.SUMMARY) or {}).get("confusion")
    if (
        not isinstance(counts, list)
        or not (n := len(counts))
        or not all(isinstance(row, list) and len(row) == n and all(map(_is_count, row)) for row in counts)
    ):
        return (), []
    names = (atomic.read_json(run.directory / rundir.RUN) or {}).get("classes")
    if not isinstance(names, list) or len(names) != n:
        names = range(n)
    return tuple(map(show, names)), counts


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1e15
