"""Reads tables from CSV and Parquet files. Raises a ``ValueError`` that says what is wrong with one, and where."""

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

from dlrun.data import lazy
from dlrun.data.dataset import Array
from dlrun.data.readers.files import reason
from dlrun.data.readers.numerals import ZEROS, Cell, Point, exact, is_number, number, plain, value
from dlrun.data.readers.numerals import read as numeral
from dlrun.data.targets import LARGEST, name

MISSING = ("?", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "NAN", "nan", "-nan", "null", "NULL", "None")
"""Cells that count as missing, beside empty ones, unless the user names others."""
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
Missing = tuple[str | float, ...]
SEPARATOR = re.compile('"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Args:
      file: the file that they were read from.
      columns: by name, an array of text as objects, with None for a missing cell (columns of Parquet may hold numbers,
        too); or an array of numbers, with NaN for a missing cell.
      place: gives a row's place in the file, for errors: ``line 7``.
      spelled: gives the text in the file of a cell that counts as missing, by the name of its column and its row.
      point: the decimal sign of numbers that are written as text.
      met: those numbers of ``data.missing`` that some cell equals.
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
        """The table with this decimal sign, and without cells that equal a number of ``missing``, however written."""
        numbers, met = {value(v) for v in missing if not isinstance(v, str)}, set()

        def without(cells: Array) -> Array:
            if cells.dtype == object:
                values = {cell: value(cell, point) for cell in set(cells) - {None}}
                values |= {cell: value(cell) for cell, v in values.items() if v is None}  # as programs write it
                gone = {cell for cell, v in values.items() if v in numbers}
                met.update(values[cell] for cell in gone)
                return _objects([None if cell in gone else cell for cell in cells]) if gone else cells
            there = [v for v in numbers if (cells == v).any()]
            met.update(there)
            return _objects([None if c in there else c for c in cells.tolist()]) if there else cells

        columns = {k: without(column) for k, column in self.columns.items()} if numbers else self.columns
        return replace(self, columns=columns, point=point, met=frozenset(met))

    def text_of(self, key: str) -> list[Cell]:
        """The cells of a column that hold text, with the numbers of their rows."""
        cells = self.columns[key]
        return [(c, i) for i, c in enumerate(cells) if type(c) is str] if cells.dtype == object else []

    def at(self, key: str, cell: Cell) -> str:
        """Names a cell, for errors: ``column a has '1,5' at line 2``."""
        return f"column {key} has {cell[0]!r:.30} at {self.place(cell[1])}"

    def column(self, key: str) -> Array:
        """A column as numbers if most of its cells are numbers, else as text.

        In a column of numbers a word is an error, not another category.
        """
        cells = self.columns[key]
        if cells.dtype != object:
            return self.numbers(key)
        there = cells[cells != None]  # noqa: E711, of each cell
        if len(there) == 0:
            raise ValueError(f"column {key} is empty; data.drop=[{key}] leaves it out")
        words = sum(type(cell) is str and not is_number(cell) for cell in there)
        return self.numbers(key) if 2 * words < len(there) else cells

    def numbers(self, key: str) -> Array:
        """A column as float64, NaN for a missing cell."""
        cells = self.columns[key]
        if cells.dtype == object:
            self._check_marks(key)
            column = np.empty(len(cells))
            for i, cell in enumerate(cells):
                value = math.nan if cell is None else number(cell, self.point) if type(cell) is str else float(cell)
                if value is None:
                    wanted = "numbers" if self.point == "." else "numbers with a decimal comma"
                    where = f"in column {key}, where {wanted} are wanted"
                    hint = "" if is_number(str(cell)) else "; data.missing names what means missing"
                    raise ValueError(f"{self.place(i)} has {cell!r:.30} {where}{hint}")
                column[i] = value
        else:
            column = cells.astype(np.float64)
        large = np.abs(column) > LARGEST
        if large.any():
            i = int(np.argmax(large))
            at = f"{self.place(i)} has {column[i]:g} in column {key}"
            raise ValueError(f"{at}; numbers must be finite and up to {LARGEST:g}")
        return column

    def exact(self, key: str) -> Array:
        """A column of numbers without missing cells; whole numbers keep all their digits."""
        cells = self.columns[key]
        if cells.dtype != object:
            return cells
        return _objects([exact(cell, self.point) if type(cell) is str else cell for cell in cells])

    def text(self, key: str) -> Array:
        """A column as text: an object array with None for a missing cell."""
        cells = self.columns[key].astype(object)
        return _objects([c if type(c) is str or c is None else None if c != c else name(c) for c in cells])

    def with_leading_zeros(self, key: str) -> Cell | None:
        """The first cell that is a whole number with leading zeros, which may be a name, such as a postal code."""
        return next((cell for cell in self.text_of(key) if ZEROS.fullmatch(cell[0].strip())), None)

    def formatted(self, key: str) -> Cell | None:
        """The first cell with text that ``float`` does not read, such as 1,200.5 or 45 %."""
        return next((cell for cell in self.text_of(key) if plain(cell[0]) is None), None)

    def _check_marks(self, key: str) -> None:
        """Refuses a column whose numbers have different units, such as $ and %."""
        first: dict[str, Cell] = {}
        for cell in self.text_of(key) if self.formatted(key) is not None else ():
            written = numeral(cell[0], self.point)
            first.setdefault("" if written is None else written.mark, cell)
        if len(first) > 1:
            one, other = list(first.values())[:2]
            raise ValueError(f"{self.at(key, one)} and {other[0]!r:.30} at {self.place(other[1])}, of different units")


def read(file: Path, delimiter: str = "auto", missing: Missing = MISSING) -> Table:
    """Reads a table from a file: Parquet by its first bytes, else CSV with a header, in UTF-8 or Excel's UTF-16.

    Args:
      file: its path.
      delimiter: separates the cells of CSV; ``auto`` takes what a first line ``sep=;`` says, or else what cuts the
        first lines into equally many cells.
      missing: cells that count as missing, beside empty ones. Only text does so here; see :meth:`Table.read_as` for
        numbers.

    Raises:
      ValueError: if the file can't be read, or is no table with a header, at least two columns and a row.
    """
    if file.is_dir():
        raise ValueError("it is a folder")
    try:
        lazy.require_room(file.stat().st_size, file.name, "data=arrays is read in pieces")
        with open(file, "rb") as opened:
            content = opened.read(4)
            if content != b"PAR1":
                content += opened.read()
    except OSError as error:
        raise ValueError(f"it can't be read: {reason(error)}") from None
    names, cells, place = _parquet(file) if content == b"PAR1" else _csv(content, delimiter)
    repeated = [k for k, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"there are {names.count(repeated[0])} columns named {repeated[0]!r}")
    columns = dict(zip(names, cells, strict=True))

    def spelled(key: str, row: int) -> str:
        cell = columns[key][row]
        return cell if type(cell) is str else ""

    words = {"", *(str(v) for v in missing if isinstance(v, str) or not math.isfinite(v))}
    table = Table(file, {k: _without(column, words) for k, column in columns.items()}, place, spelled)
    if len(names) < 2:
        raise ValueError(f"it has one column, {names[0]!r:.40}; a table needs a target and other columns")
    if len(table) == 0:
        raise ValueError("there are no rows below the header")
    return table


def _without(cells: Array, words: set[str]) -> Array:
    """A column with None in place of cells that are one of the words."""
    if cells.dtype != object:
        return cells
    return _objects([None if type(c) is str and c.strip() in words else c for c in cells])


def _csv(content: bytes, delimiter: str) -> tuple[list[str], list[Array], Callable[[int], str]]:
    """The names and cells of the columns, and a function that gives a row's place."""
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8: byte {error.start}") from None
    declared = SEPARATOR.match(text)
    if declared is not None:
        text = text[declared.end() :]
    if not text.strip():
        raise ValueError("it is empty")
    cut_at = DELIMITERS.get(delimiter) or (declared[1] if declared is not None else _delimiter(text))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=cut_at, strict=True)
    records, lines, before = [], [], 0 if declared is None else 1
    try:
        for record in reader:
            if record:
                records.append([cell.strip() for cell in record])
                lines.append(reader.line_num + before)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + before} is not CSV: {error}") from None
    (names, *rows), lines = records, lines[1:]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(f"line {line} has {len(row)} cells, the header {len(names)}")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return names, [_objects(column) for column in columns], lambda i: f"line {lines[i]}"


def _delimiter(text: str) -> str:
    """What cuts the first records into equally many cells, and into most; if nothing does, what cuts the header so."""
    head = text.lstrip()[: 2**20]
    widths = {}
    for delimiter in DELIMITERS.values():
        records = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
        widths[delimiter] = [len(record) for record in islice((r for r in records if r), 50)]
    if len(head) == 2**20:  # its last record may be cut off
        widths = {delimiter: counts[:-1] or counts for delimiter, counts in widths.items()}
    even = {delimiter: counts[0] for delimiter, counts in widths.items() if len(set(counts)) == 1 and counts[0] > 1}
    most = max((even or {delimiter: n[0] for delimiter, n in widths.items()}).items(), key=lambda pair: pair[1])
    ways = [key for key, delimiter in DELIMITERS.items() if even.get(delimiter) == most[1]]
    if len(ways) > 1:
        raise ValueError(
            f"{' and '.join(ways)} each divide its lines into the same number of cells; "
            f"data.delimiter={ways[0]} says which one to use"
        )
    return most[0]


def _parquet(file: Path) -> tuple[list[str], list[Array], Callable[[int], str]]:
    """The same as :func:`_csv`, for a Parquet file."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("Parquet needs the package pyarrow: pip install 'dlrun[table]'")
    import pyarrow
    from pyarrow import parquet

    try:
        # Not read_table: where a folder above the file has a name like a=1, it adds a column a.
        opened = parquet.ParquetFile(file)
        groups = [opened.metadata.row_group(i) for i in range(opened.metadata.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        lazy.require_room(unpacked, f"{file.name} unpacked", "data=arrays is read in pieces")
        table = opened.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"it is broken: {reason(error)}") from None
    return list(table.column_names), [_arrow(c) for c in table.columns], lambda i: f"row {i + 1}"


def _arrow(column: Any) -> Array:
    """A column's cells; whole numbers and decimals keep their digits, as objects if there are missing cells."""
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
        cells = [None] * len(column)  # lists and the like count as missing
    return _objects(cells)


def _objects(cells: Sequence[Any]) -> Array:
    column = np.empty(len(cells), object)
    column[:] = cells
    return column
