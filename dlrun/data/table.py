"""A user's own table, with a column to predict."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from dlrun.data import cells, files, targets
from dlrun.data.cells import Table
from dlrun.data.dataset import Array, Dataset, Rows
from dlrun.data.features import TableEncoder
from dlrun.schema import Unfit, nearest
from dlrun.settings import Text

WHAT = "a CSV or Parquet file with a header"
BE = f"be {WHAT}"
CLASSES = 20  # whole numbers of more values than this are numbers to predict
NAMES = 100  # a column of more names than this is looked at twice
Task = Literal["auto", "classification", "regression"]


def table(
    *,
    path: Text | None = None,
    target: Text | None = None,
    task: Task = "auto",
    categorical: list[str] = [],  # noqa: B006
    drop: list[str] = [],  # noqa: B006
    test_path: Text | None = None,
) -> Dataset:
    """Rows of a CSV or Parquet file. Missing cells may be in any column but the target.

    Numbers are standardised, a missing one is the training rows' median and a feature tells of it; a name becomes a
    feature for each that training rows have, a missing one too. What that takes is learnt from training rows alone.

    Args:
      path: the file.
      target: the column to predict.
      task: classification or regression; auto takes text, and whole numbers of up to 20 values, for classes.
      categorical: columns of numbers that are names, such as postal codes.
      drop: columns to leave out, such as the rows' numbers.
      test_path: a file with the same columns to test on; without it, test rows are cut from the first.
    """
    whole = _read(path, "path")
    names = list(whole.columns)
    _known([target], names, "target")
    _known(drop, names, "drop", other=target)
    _known(categorical, names, "categorical", other=target)
    used = tuple(k for k in names if k != target and k not in drop)
    if not used:
        raise Unfit("drop", drop, "leave a column beside the target")
    if "" in used:
        where = f"column {names.index('') + 1} has none; data.drop=[''] leaves it out"
        raise Unfit("path", path, f"be {WHAT}, a name for every column: {where}")

    with _unfit("path", path, BE):
        columns = {k: whole.text(k) if k in categorical else whole.column(k) for k in used}
    whole = replace(whole, columns={**whole.columns, **columns})
    numeric = {k: column.dtype != object for k, column in columns.items()}
    _few_names(whole, [k for k in used if not numeric[k] and k not in categorical], drop)
    tables = {"path": whole}
    if test_path is not None:
        tables["test_path"] = tests = _read(test_path, "test_path")
        if lacking := [k for k in (*used, target) if k not in tests.columns]:
            raise Unfit("test_path", test_path, f"have the columns of data.path; it lacks {lacking[0]!r}")
    xs = []
    for key, part in tables.items():
        with _unfit(key, part.file, BE):
            xs.append(_raw(part, numeric))
    assert target is not None
    with _unfit("target", target, "be a column to predict"):
        asked, classes, ys = _targets(list(tables.values()), target, task)

    train, *test = [Rows(x, y) for x, y in zip(xs, ys, strict=True)]
    facts = {f"{key}_sha256": files.sha256(part.file) for key, part in tables.items()}
    fit = partial(TableEncoder.fit, names=used, numeric=tuple(numeric.values()))
    return Dataset("rows", classes, train, test=next(iter(test), None), task=asked, fit=fit, facts=facts)


@contextmanager
def _unfit(key: str, value: Any, must: str) -> Iterator[None]:
    """Says of a key what a ``ValueError`` says of its value."""
    try:
        yield
    except ValueError as error:
        raise Unfit(key, value, f"{must}: {error}") from None


def _read(path: str | None, key: str) -> Table:
    place = files.named(path, WHAT, key)
    with _unfit(key, path, BE):
        return cells.read(place)


def _known(wanted: Iterable[str | None], names: list[str], key: str, other: str | None = None) -> None:
    shown = ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")
    for name in wanted:
        if name not in names:
            near = "" if name is None else nearest(name, names)
            raise Unfit(key, name, f"name a column{near}: {shown}")
        if name == other:
            raise Unfit(key, name, "not name the target")


def _few_names(table: Table, names: list[str], drop: Iterable[str]) -> None:
    """Refuses columns that tell rows apart, such as people's names: a feature each would only be learnt by heart."""
    many = []
    for name in names:
        there = [cell for cell in table.columns[name] if cell is not None]
        if len(set(there)) > max(NAMES, len(there) / 2):
            many.append(name)
    if many:
        several = f"{', '.join(many)}, whose names are mostly of one row each"
        raise Unfit("drop", list(drop), f"have {several}; data.categorical has those to be used all the same")


def _raw(table: Table, numeric: dict[str, bool]) -> Array:
    """Rows as an object array (n, columns) of the columns that ``numeric`` names."""
    x = np.empty((len(table), len(numeric)), object)
    for i, (name, number) in enumerate(numeric.items()):
        x[:, i] = table.numbers(name) if number else table.text(name)
    return x


def _targets(
    tables: list[Table], target: str, task: Task
) -> tuple[Literal["classification", "regression"], tuple[str, ...], list[Array]]:
    """What is asked, the names of the outputs, and the targets of each table, training rows first."""
    for table in tables:
        missing = [i for i, cell in enumerate(table.text(target)) if cell is None]
        if missing:
            more = f" and {len(missing) - 1} more rows" if len(missing) > 1 else ""
            raise ValueError(f"it is empty at {table.place(missing[0])}{more} of {table.file}")
    first, *others = tables
    values = first.numbers(target) if task == "regression" else first.column(target)
    if task == "auto":
        task = "classification" if values.dtype == object or _counts(values) else "regression"
    if task == "regression":
        return task, (target,), targets.numbers(values, [table.numbers(target) for table in others])
    if values.dtype == object:
        train, *rest = [table.text(target).astype(str) for table in tables]
    else:
        train, *rest = [table.numbers(target) for table in tables]
    named = {str(table.file): y for table, y in zip(others, rest, strict=True)}
    return "classification", *targets.class_numbers(train, named, cut=True)


def _counts(values: Array) -> bool:
    """Whether numbers look like classes: whole, of few values, more than one row each."""
    different = len(np.unique(values))
    return bool((values == np.round(values)).all()) and different <= min(CLASSES, len(values) / 2)
