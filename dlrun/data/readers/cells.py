"""Tables as a user has them: CSV and Parquet files. What is wrong with one is a ``ValueError`` that says where."""

import csv
import importlib.util
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.dataset import Array
from dlrun.data.readers.files import reason
from dlrun.data.readers.numerals import ZEROS, Cell, Point, either, exact, number, plain, value
from dlrun.data.readers.numerals import read as numeral
from dlrun.data.targets import LARGEST, name

MISSING = ("?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Cells that stand for a missing value, beside empty ones, unless others are named."""
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
Missing = tuple[str | float, ...]
SEPARATOR = re.compile('"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Args:
      file: where they are from.
      columns: by name: text as objects, None for a missing cell, of Parquet also numbers beside those; or numbers as
        they are, NaN for a missing cell.
      place: where a row is in the file, for errors: ``line 7``.
      spelled: what missing cells of a column hold.
      point: what parts the fraction of numbers that are written as text.
      met: numbers that stood for missing cells.
    """

    file: Path
    columns: dict[str, Array]
    place: Callable[[int], str]
    spelled: Callable[[str, int], str] = lambda key, row: ""
    point: Point = "."
    met: frozenset[float] = frozenset()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def read_as(self, point: Point, missing: Missing) -> "Table":
        """The same with a decimal sign, and without the cells that hold a number of ``missing``, however spelled."""
        numbers, met = {value(v) for v in missing if not isinstance(v, str)}, set()

        def without(cells: Array) -> Array:
            if cells.dtype == object:
                values = {cell: value(cell, point) for cell in set(cells) - {None}}
                values |= {cell: value(cell) for cell, held in values.items() if held is None}  # as programs write
                gone = {cell for cell, held in values.items() if held in numbers}
                met.update(values[cell] for cell in gone)
                return _objects([None if cell in gone else cell for cell in cells]) if gone else cells
            there = [v for v in numbers if (cells == v).any()]
            met.update(there)
            return _objects([None if c in there else c for c in cells.tolist()]) if there else cells

        columns = {k: without(column) for k, column in self.columns.items()} if numbers else self.columns
        return replace(self, columns=columns, point=point, met=frozenset(met))

    def text_of(self, key: str) -> list[Cell]:
        """The cells of a column that hold text, and the numbers of their rows."""
        cells = self.columns[key]
        return [(c, i) for i, c in enumerate(cells) if type(c) is str] if cells.dtype == object else []

    def at(self, key: str, cell: Cell) -> str:
        """Tells of a cell: ``column a has '1,5' at line 2``."""
        return f"column {key} has {cell[0]!r:.30} at {self.place(cell[1])}"

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
        words = sum(type(cell) is str and not either(cell) for cell in there)
        return self.numbers(key) if 2 * words < len(there) else cells

    def numbers(self, key: str) -> Array:
        """A column as float64, NaN for a missing cell."""
        cells = self.columns[key]
        if cells.dtype == object:
            self._check_marks(key)
            found = np.empty(len(cells))
            for i, cell in enumerate(cells):
                value = math.nan if cell is None else number(cell, self.point) if type(cell) is str else float(cell)
                if value is None:
                    wanted = "numbers" if self.point == "." else "numbers with a decimal comma"
                    raise ValueError(f"{self.place(i)} has {cell!r:.30} in column {key}, where {wanted} are wanted")
                found[i] = value
        else:
            found = cells.astype(np.float64)
        large = np.abs(found) > LARGEST
        if large.any():
            i = int(np.argmax(large))
            at = f"{self.place(i)} has {found[i]:g} in column {key}"
            raise ValueError(f"{at}; numbers must be finite and up to {LARGEST:g}")
        return found

    def exact(self, key: str) -> Array:
        """A column of numbers without missing cells, to the last digit of whole ones."""
        cells = self.columns[key]
        if cells.dtype != object:
            return cells
        return _objects([exact(cell, self.point) if type(cell) is str else cell for cell in cells])

    def text(self, key: str) -> Array:
        """A column as text, as objects, None for a missing cell."""
        cells = self.columns[key].astype(object)
        return _objects([c if type(c) is str or c is None else None if c != c else name(c) for c in cells])

    def coded(self, key: str) -> Cell | None:
        """The first whole number with leading zeros, which a name may have for a reason."""
        return next((cell for cell in self.text_of(key) if ZEROS.fullmatch(cell[0].strip())), None)

    def dressed(self, key: str) -> Cell | None:
        """The first number that is not written as a program would."""
        return next((cell for cell in self.text_of(key) if plain(cell[0]) is None), None)

    def _check_marks(self, key: str) -> None:
        first: dict[str, Cell] = {}
        for cell in self.text_of(key) if self.dressed(key) is not None else ():
            written = numeral(cell[0], self.point)
            first.setdefault("" if written is None else written.mark, cell)
        if len(first) > 1:
            one, other = list(first.values())[:2]
            raise ValueError(f"{self.at(key, one)} and {other[0]!r:.30} at {self.place(other[1])}, of different units")


def read(file: Path, delimiter: str = "auto", missing: Missing = MISSING) -> Table:
    """A table from a file: Parquet by its first bytes, else CSV with a header, in UTF-8 or as Excel saves UTF-16.

    Args:
      file: which one.
      delimiter: of CSV; by ``auto`` what a first line ``sep=;`` tells, or else what cuts the first lines evenly.
      missing: what stands for a missing cell, beside nothing; for numbers see :meth:`Table.read_as`.
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
    names, found, place = _parquet(file) if content == b"PAR1" else _csv(content, delimiter)
    twice = [k for k, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"there are {names.count(twice[0])} columns named {twice[0]!r}")
    columns = dict(zip(names, found, strict=True))

    def spelled(key: str, row: int) -> str:
        cell = columns[key][row]
        return cell if type(cell) is str else ""

    words = {"", *(str(v) for v in missing if isinstance(v, str) or not math.isfinite(v))}
    table = Table(file, {k: _without(column, words) for k, column in columns.items()}, place, spelled)
    if len(names) < 2:
        raise ValueError(f"it has one column, {names[0]!r:.40}; a table has a target and others")
    if len(table) == 0:
        raise ValueError("there are no rows below the header")
    return table


def _without(cells: Array, words: set[str]) -> Array:
    """A column with None in place of the cells that hold one of the words."""
    if cells.dtype != object:
        return cells
    return _objects([None if type(c) is str and c.strip() in words else c for c in cells])


def _csv(content: bytes, delimiter: str) -> tuple[list[str], list[Array], Callable[[int], str]]:
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8: byte {error.start}") from None
    told = SEPARATOR.match(text)
    if told is not None:
        text = text[told.end() :]
    if not text.strip():
        raise ValueError("it is empty")
    cut_at = DELIMITERS.get(delimiter) or (told[1] if told is not None else _delimiter(text))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=cut_at, strict=True)
    records, lines, before = [], [], 0 if told is None else 1
    try:
        for record in reader:
            if record:
                records.append([cell.strip() for cell in record])
                lines.append(reader.line_num + before)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + before} is no CSV: {error}") from None
    (names, *rows), lines = records, lines[1:]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(f"line {line} has {len(row)} cells, the header {len(names)}")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return names, [_objects(column) for column in columns], lambda i: f"line {lines[i]}"


def _delimiter(text: str) -> str:
    """What cuts the first records into equally many cells, most of them; else what cuts the header into most."""
    head = text.lstrip()[: 2**20]
    widths = {}
    for delimiter in DELIMITERS.values():
        records = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
        widths[delimiter] = [len(record) for record in islice((r for r in records if r), 50)]
    if len(head) == 2**20:  # whose last record may be cut off
        widths = {delimiter: found[:-1] or found for delimiter, found in widths.items()}
    even = {delimiter: found[0] for delimiter, found in widths.items() if len(set(found)) == 1 and found[0] > 1}
    most = max((even or {delimiter: found[0] for delimiter, found in widths.items()}).items(), key=lambda pair: pair[1])
    ways = [key for key, delimiter in DELIMITERS.items() if even.get(delimiter) == most[1]]
    if len(ways) > 1:
        raise ValueError(f"{' and '.join(ways)} cut it into as many cells; data.delimiter={ways[0]} says which does")
    return most[0]


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
    """Whole numbers and decimals keep their digits, beside None as objects."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_floating(column.type):
        return column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    if types.is_integer(column.type) and not column.null_count:
        return column.to_numpy(zero_copy_only=False)
    if types.is_integer(column.type) or types.is_decimal(column.type):
        return _objects(column.to_pylist())
    try:
        cells = column.cast(pyarrow.string()).to_pylist()
    except pyarrow.ArrowException:
        cells = [None] * len(column)  # lists and the like: empty to us
    return _objects(cells)


def _objects(cells: Sequence[Any]) -> Array:
    found = np.empty(len(cells), object)
    found[:] = cells
    return found
