"""A user's own table, one column of which a model is to predict."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np

from dlrun.config.settings import Text
from dlrun.data import targets
from dlrun.data.dataset import Array, Dataset, Rows
from dlrun.data.features import TableEncoder
from dlrun.data.readers import cells, files
from dlrun.data.readers.cells import Table
from dlrun.data.readers.numerals import DATE, LIKE, Point, decimal_sign, mostly, number, plain, value
from dlrun.errors import Unfit, nearest

WHAT = "a CSV or Parquet file with a header"
BE, HOLD = f"be {WHAT}", "hold usable cells"
CLASSES = 20  # whole numbers with more different values than this are numbers to predict
OFTEN = 10  # with up to 10·CLASSES values and at least 10 rows for each, they may still be classes: dlrun warns
POINTS: dict[str, Point] = {"point": ".", "comma": ","}
NAMES = 100  # a column of more different names than this may identify single rows
Task = Literal["auto", "classification", "regression"]


def table(
    *,
    path: Text | None = None,
    target: Text | None = None,
    task: Task = "auto",
    categorical: list[str] = [],  # noqa: B006
    drop: list[str] = [],  # noqa: B006
    test_path: Text | None = None,
    delimiter: Literal["auto", "comma", "semicolon", "tab", "bar"] = "auto",
    decimal: Literal["auto", "point", "comma"] = "auto",
    missing: list[str | float] = list(cells.MISSING),  # noqa: B006
) -> Dataset:
    """Rows of a CSV or Parquet file. Cells may be missing in any column but the target.

    Numbers are standardised; a missing number becomes the median, and an additional feature says that it is missing. A
    column of names becomes a feature for each name, and one for missing names. Means, medians and names are learnt from
    training rows alone.

    Args:
      path: the file.
      target: the column to predict.
      task: classification or regression; auto takes text, and whole numbers of up to 20 values, for classes.
      categorical: columns whose numbers are names, such as postal codes.
      drop: columns to leave out, such as row numbers.
      test_path: a file with the same columns, to test on; without it, test rows are cut from the rows of ``path``.
      delimiter: separates the cells of CSV; auto goes by ``sep=;`` or by the first lines.
      decimal: the decimal sign of numbers that are written as text; the other sign may separate thousands. auto takes a
        comma only if the cells allow nothing else.
      missing: cells that count as missing, beside empty ones: text as it is, a number however it is written.

    Raises:
      Unfit: if the file is no table, a key names no column, or cells are of no use.
    """
    read = partial(_read, delimiter=delimiter, missing=tuple(missing))
    whole = read(path, "path")
    names = list(whole.columns)
    _check_known([target], names, "target")
    _check_known(drop, names, "drop", other=target)
    _check_known(categorical, names, "categorical", other=target)
    used = tuple(k for k in names if k != target and k not in drop)
    if not used:
        raise Unfit("drop", drop, "leave a column beside the target")
    if "" in used:
        where = f"column {names.index('') + 1} has none; data.drop=[''] leaves it out"
        raise Unfit("path", path, f"have a name for every column: {where}")

    assert target is not None
    absent = {float(v) for v in missing if not isinstance(v, str)}  # these say nothing about the decimal sign
    texts = {k: whole.text_of(k) for k in (*used, target) if k not in categorical}
    written = {k: [cell for cell in there if plain(cell[0]) not in absent] for k, there in texts.items()}
    with _unfit("decimal", decimal, "be point or comma"):
        point = POINTS.get(decimal) or decimal_sign(written, whole.at)
    whole = whole.read_as(point, tuple(missing))
    with _unfit("path", path, HOLD):
        for k in categorical:
            targets.check_distinct(whole.columns[k], f" in column {k}")
        columns = {k: whole.text(k) if k in categorical else whole.column(k) for k in used}
        for k, column in columns.items():
            if column.dtype != object:
                _check_digits(whole, k, column, f"data.categorical=[{k}] treats them as names")
    numeric = {k: column.dtype != object for k, column in columns.items()}
    words = [k for k in used if not numeric[k] and k not in categorical]
    _check_few_names(whole, words, drop)
    tables, xs = {"path": whole}, [_raw(columns)]
    if test_path is not None:
        tables["test_path"] = tests = read(test_path, "test_path").read_as(point, tuple(missing))
        if lacking := [k for k in (*used, target) if k not in tests.columns]:
            raise Unfit("test_path", test_path, f"have the columns of data.path; it lacks {lacking[0]!r}")
        with _unfit("test_path", tests.file, HOLD):
            xs.append(_raw({k: tests.numbers(k) if numeric[k] else tests.text(k) for k in used}))
    with _unfit("target", target, "be a column to predict"):
        known_task, classes, ys = _targets(list(tables.values()), target, task)
        guessed = _guessed(ys[0], target) if task == "auto" and known_task == "regression" else ()

    train, *test = [Rows(x, y) for x, y in zip(xs, ys, strict=True)]
    facts = {f"{key}_sha256": files.sha256(part.file) for key, part in tables.items()}
    fit = partial(TableEncoder.fit, names=used, numeric=tuple(numeric.values()))
    read_as_numbers = [k for k in used if numeric[k]] + [target] * (known_task == "regression")
    read = (*_readings(whole, read_as_numbers, used), *_spread(whole, words))
    warnings = (*read, *guessed, *_unmet(tables.values(), missing))
    test = next(iter(test), None)
    return Dataset("rows", classes, train, test=test, task=known_task, fit=fit, facts=facts, warnings=warnings)


@contextmanager
def _unfit(key: str, value: Any, must: str) -> Iterator[None]:
    """Turns a ``ValueError`` about the value of a key into :class:`Unfit`."""
    try:
        yield
    except Unfit:  # about another key
        raise
    except ValueError as error:
        raise Unfit(key, value, f"{must}: {error}") from None


def _read(path: str | None, key: str, delimiter: str, missing: cells.Missing) -> Table:
    place = files.named(path, WHAT, key)
    with _unfit(key, path, BE):
        return cells.read(place, delimiter, missing)


def _readings(table: Table, numbers: Iterable[str], used: Iterable[str]) -> Iterator[str]:
    """Warnings about numbers that are not written as programs write them, and about leading zeros that are lost."""
    read = {k: cell for k in numbers if (cell := table.formatted(k)) is not None}
    if read:
        told = [f"{table.at(k, cell)}, read as {number(cell[0], table.point):.10g}" for k, cell in read.items()]
        yield f"{'; '.join(told[:3])}{f'; and {len(told) - 3} more columns' if told[3:] else ''} (data.decimal)"
    for k in numbers:
        if k in used and (cell := table.with_leading_zeros(k)) is not None:
            yield f"{table.at(k, cell)}, read as a number; data.categorical=[{k}] keeps it as a name"


def _unmet(tables: Iterable[Table], missing: list[str | float]) -> Iterator[str]:
    """Warnings about numbers in ``missing`` that no cell equals."""
    met = frozenset().union(*(table.met for table in tables))
    lacking = [v for v in missing if not isinstance(v, str) and math.isfinite(v) and value(v) not in met]
    if lacking:
        yield f"data.missing has {', '.join(map(str, lacking))}, which no cell of the table equals"


def _check_known(wanted: Iterable[str | None], names: list[str], key: str, other: str | None = None) -> None:
    """Refuses names in ``wanted``, the value of ``key``, that are no columns, or that are the column ``other``."""
    shown = ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")
    for name in wanted:
        if name not in names:
            near = "" if name is None else nearest(name, names)
            raise Unfit(key, name, f"name a column{near}: {shown}")
        if name == other:
            raise Unfit(key, name, "not name the target")


def _check_few_names(table: Table, names: list[str], drop: Iterable[str]) -> None:
    """Refuses columns that identify single rows, such as people's names: a model would only memorise the rows."""
    many = []
    for name in names:
        there = table.text_of(name)
        different = {cell for cell, _ in there}
        dates = mostly(there, _is_date)
        if len(different) > max(NAMES, len(there) / 2) and not dates:
            many.append(name)
        elif len(different) > CLASSES and (dates or mostly(there, _is_like_number)):
            cell = next(cell for cell in there if _is_date(cell[0]) or _is_like_number(cell[0]))
            told = f"{table.at(name, cell)}, and {len(different) - 1} other values, neither numbers nor names"
            hint = "; dates become numbers as, say, days since the first" if dates else ""
            allowed = f"data.categorical=[{name}] treats each as a name{hint}"
            raise Unfit("drop", list(drop), f"have {name}: {told}; {allowed}")
    if many:
        several = f"{', '.join(many)}, where most names occur in a single row"
        raise Unfit("drop", list(drop), f"have {several}; data.categorical lists those to use anyway")


def _spread(table: Table, names: Iterable[str]) -> Iterator[str]:
    """Warnings about columns of names that become many features, and about dates, which become names."""
    there = {name: table.text_of(name) for name in names}
    many = {k: len({cell for cell, _ in written}) for k, written in there.items()}
    for k in (k for k, written in there.items() if written and mostly(written, _is_date)):
        told = f"{table.at(k, there[k][0])}, a date: each of {many.pop(k)} becomes a feature of its own"
        yield f"{told}; days since the first, say, are numbers, and data.drop=[{k}] leaves it out"
    if wide := {k: n for k, n in many.items() if n > CLASSES}:
        listed = ", ".join(f"{k} {n}" for k, n in wide.items())
        yield f"each name becomes a feature of its own: of column {listed}; data.drop leaves columns out"


def _is_date(cell: str) -> bool:
    return DATE.fullmatch(cell.strip()) is not None


def _is_like_number(cell: str) -> bool:
    return LIKE.match(cell) is not None


def _raw(columns: dict[str, Array]) -> Array:
    """Rows as an object array (n, columns)."""
    x = np.empty((len(next(iter(columns.values()))), len(columns)), object)
    for i, column in enumerate(columns.values()):
        x[:, i] = column
    return x


def _check_digits(table: Table, key: str, values: Array, otherwise: str) -> None:
    """Refuses whole numbers so large that float64 changes them, or loses much of their differences."""
    there = values[~np.isnan(values)]
    low, high = (there.min(), there.max()) if len(there) else (0, 0)
    largest = max(abs(low), abs(high))
    if largest >= targets.EXACT and high - low < 1000 * np.spacing(largest) and len(set(table.columns[key])) > 1:
        problem = f"column {key} has numbers from {low:.0f} to {high:.0f}, too large to be told apart in float64"
        is_float = table.columns[key].dtype.kind == "f"  # as names, floats would be refused, too
        hint = "" if is_float else f", or {otherwise}"
        raise ValueError(f"{problem}: subtract {low:.0f} from them{hint}")


def _targets(
    tables: list[Table], target: str, task: Task
) -> tuple[Literal["classification", "regression"], tuple[str, ...], list[Array]]:
    """The task, never ``auto``, the names of the outputs, and the targets of each table, training rows first."""
    for table in tables:
        missing = [i for i, cell in enumerate(table.text(target)) if cell is None]
        if missing:
            more = f" and {len(missing) - 1} more rows" if len(missing) > 1 else ""
            spelled = table.spelled(target, missing[0])
            what = f"missing, {spelled!r}," if spelled else "empty"
            hint = "; data.missing=[] takes it as it is" if spelled else ""
            raise ValueError(f"it is {what} at {table.place(missing[0])}{more} of {table.file}{hint}")
    first, *others = tables
    if task == "regression":
        return task, (target,), _numbers(tables, target)
    words = any(table.with_leading_zeros(target) for table in tables) or first.column(target).dtype == object
    if task == "auto" and not words and not _look_like_classes(first, target):
        return "regression", (target,), _numbers(tables, target)
    if task == "auto" and words:
        _check_names(first, target)
    if not words:
        for table in tables:
            table.numbers(target)  # refuses text, with its place
    for table in tables:
        targets.check_distinct(table.columns[target], f" in {table.file}")
    words = words or _padded(tables, target)
    train, *rest = [table.text(target).astype(str) if words else table.exact(target) for table in tables]
    named = {str(table.file): y for table, y in zip(others, rest, strict=True)}
    return "classification", *targets.class_numbers(train, named, cut=True)


def _numbers(tables: list[Table], target: str) -> list[Array]:
    first, *others = [table.numbers(target) for table in tables]
    _check_digits(tables[0], target, first, "data.task=classification treats them as classes")
    return targets.numbers(first, others)


def _padded(tables: list[Table], target: str) -> bool:
    """Whether some classes differ only by spaces around them, as '1' and ' 1' do."""
    different = {cell for table in tables for cell, _ in table.text_of(target)}
    return len({cell.strip() for cell in different}) < len(different)


def _check_names(table: Table, target: str) -> None:
    """Refuses many classes that are neither numbers nor names, such as dates."""
    there = table.text_of(target)
    different = len({cell for cell, _ in there})
    if different > CLASSES and mostly(there, lambda cell: LIKE.match(cell) is not None):
        said = f"and {different - 1} other values, neither numbers nor names"
        raise ValueError(f"{table.at(target, there[0])}, {said}; data.task=classification treats each as a class")


def _look_like_classes(table: Table, target: str) -> bool:
    """Whether numbers look like classes: whole numbers of few values, with more than one row each."""
    values = table.numbers(target)
    if (values != np.round(values)).any() or len(np.unique(values)) > CLASSES:
        return False
    return len(set(table.exact(target).tolist())) <= min(CLASSES, len(values) / 2)


def _guessed(y: Array, target: str) -> Iterator[str]:
    """Warnings about numbers to predict that may be meant as classes: few whole numbers with many rows each."""
    different = len(np.unique(y))
    if (y == np.round(y)).all() and different <= min(OFTEN * CLASSES, len(y) / OFTEN):
        said = f"{target} has {different} different whole numbers and is predicted as a number"
        yield f"{said}; data.task=classification treats them as classes, data.task=regression confirms this"
