"""Tables as a user has them: CSV and Parquet files. What is wrong with one is a ``ValueError`` that says where."""

import csv
import importlib.util
import io
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.dataset import Array
from dlrun.data.files import reason
from dlrun.data.targets import LARGEST, name

MISSING = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
"""Cells that stand for a missing value."""
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Args:
      file: where they are from.
      columns: by name: text as objects, None for a missing cell; or numbers as float64, NaN for a missing cell.
      place: where a row is in the file, for errors: ``line 7``.
    """

    file: Path
    columns: dict[str, Array]
    place: Callable[[int], str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, key: str) -> Array:
        """A column as numbers if it holds any, else as text.

        One with more numbers than words is one of numbers: a word in it is an error, not another category.
        """
        cells = self.columns[key]
        if cells.dtype != object:
            return self.numbers(key)
        there = cells[cells != None]  # noqa: E711, of each cell
        if len(there) == 0:
            raise ValueError(f"column {key} is empty; data.drop=[{key}] leaves it out")
        return self.numbers(key) if 2 * sum(_number(cell) is None for cell in there) < len(there) else cells

    def numbers(self, key: str) -> Array:
        """A column as float64, NaN for a missing cell."""
        cells = self.columns[key]
        numbers = cells if cells.dtype != object else [math.nan if c is None else _number(c) for c in cells]
        for i, number in enumerate(numbers if isinstance(numbers, list) else ()):
            if number is None:
                raise ValueError(f"{self.place(i)} has {cells[i]!r:.30} in column {key}, where numbers are wanted")
        found = np.array(numbers, np.float64)
        large = np.abs(found) > LARGEST
        if large.any():
            i = int(np.argmax(large))
            at = f"{self.place(i)} has {found[i]:g} in column {key}"
            raise ValueError(f"{at}; numbers must be finite and up to {LARGEST:g}")
        return found

    def text(self, key: str) -> Array:
        """A column as text, as objects, None for a missing cell."""
        cells = self.columns[key]
        return cells if cells.dtype == object else _objects([None if math.isnan(v) else name(v) for v in cells])


def read(file: Path) -> Table:
    """A table from a file: Parquet by its first bytes, else CSV in UTF-8 with a header.

    The header tells the delimiter of CSV: the most frequent one of comma, semicolon, tab and bar.
    """
    if file.is_dir():
        raise ValueError("it is a folder")
    try:
        with open(file, "rb") as opened:
            content = opened.read(4)
            if content != b"PAR1":
                content += opened.read()
    except OSError as error:
        raise ValueError(f"it can't be read: {reason(error)}") from None
    names, rows, place = _parquet(file) if content == b"PAR1" else _csv(content)
    twice = [k for k, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"there are {names.count(twice[0])} columns named {twice[0]!r}")
    table = Table(file, dict(zip(names, rows, strict=True)), place)
    if len(names) < 2:
        raise ValueError(f"it has one column, {names[0]!r:.40}; a table has a target and others")
    if len(table) == 0:
        raise ValueError("there are no rows below the header")
    return table


def _csv(content: bytes) -> tuple[list[str], list[Array], Callable[[int], str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8: byte {error.start}") from None
    if not text.strip():
        raise ValueError("it is empty")
    delimiter = max(DELIMITERS, key=text.lstrip().split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, lines = [], []
    try:
        for record in reader:
            if record:
                records.append([cell.strip() for cell in record])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is no CSV: {error}") from None
    (names, *rows), lines = records, lines[1:]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(f"line {line} has {len(row)} cells, the header {len(names)}")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    cells = [_objects([None if cell in MISSING else cell for cell in column]) for column in columns]
    return names, cells, lambda i: f"line {lines[i]}"


def _parquet(file: Path) -> tuple[list[str], list[Array], Callable[[int], str]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("Parquet needs the package pyarrow: pip install 'dlrun[table]'")
    import pyarrow
    from pyarrow import parquet

    try:
        # Not read_table, which would take folders named like a=1 above the file for columns.
        table = parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"it is broken: {reason(error)}") from None
    return list(table.column_names), [_arrow(c) for c in table.columns], lambda i: f"row {i + 1}"


def _arrow(column: Any) -> Array:
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type):
        return column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    try:
        cells = column.cast(pyarrow.string()).to_pylist()
    except pyarrow.ArrowException:
        cells = [None] * len(column)  # lists and the like: empty to us
    return _objects([None if cell is None or cell.strip() in MISSING else cell.strip() for cell in cells])


def _objects(cells: list[str | None]) -> Array:
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)  # Python would take 1_000 for a number
    except ValueError:
        return None
