"""Reads numbers as people and spreadsheets write them: 1,200.5 or 1.200,5, 1 000, $5, 45 %, (12) for -12."""

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

Point = Literal[".", ","]
"""A decimal sign."""
SPACES = " \u00a0\u2009\u202f"  # space, no-break space, thin space, narrow no-break space
CODES = "EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN|CZK|HUF|BRL"
CURRENCY = rf"[$\u00a2-\u00a5\u0e3f\u20a0-\u20cf]|{CODES}"
NUMERAL = re.compile(  # sign, currency or percent sign, digits with marks, exponent
    rf"(?P<sign>[-+\u2212(])?[{SPACES}]*(?P<before>{CURRENCY})?[{SPACES}]*(?P<inner>[-+\u2212])?"
    rf"(?P<body>[.,]?[0-9](?:[0-9.,'\u2019{SPACES}]*[0-9.,])?)(?P<power>[eE][-+]?[0-9]+)?"
    rf"[{SPACES}]*(?P<after>[%\u2030]|{CURRENCY})?(?P<close>\))?"
)
GROUPED = re.compile(  # by thousands, or as in India: 1,20,000
    rf"[1-9][0-9]{{0,2}}([.,'\u2019{SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*|[1-9][0-9]?(?:,[0-9]{{2}})+,[0-9]{{3}}"
)
ZEROS = re.compile(r"[-+]?0[0-9]+")  # a whole number with leading zeros
LIKE = re.compile(rf"\s*[-+\u2212(]?(?:{CURRENCY})?[{SPACES}]*[.,]?[0-9]")
"""The beginning of a text that looks like a number, which may be a date or a code."""
MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
DATE = re.compile(  # 2024-01-31, 31.1.2024, 31 Jan 2024, Wed, 31-Jan-24, January 31, 2024; a time may follow
    rf"(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}"
    rf"|(?:[a-z]+[,.]* )?\d{{1,2}}\.?[ -]{MONTH}[.,]*[ -]\d{{2,4}}|(?:[a-z]+[,.]* )?{MONTH}\.? \d{{1,2}},? \d{{2,4}})"
    r"(?:[T ,].*)?",
    re.IGNORECASE,
)


class Numeral(NamedTuple):
    """A number as it is written.

    Args:
      value: the exact value of its digits and sign; a percent sign does not change it.
      mark: the currency or percent sign beside it, or an empty text.
    """

    value: Decimal
    mark: str


def read(cell: str, point: Point = ".") -> Numeral | None:
    """The number in a cell, with ``point`` as its decimal sign; None if there is none."""
    match = NUMERAL.fullmatch(cell.strip())
    if match is None or (match["sign"] == "(") != (match["close"] is not None) or (match["before"] and match["after"]):
        return None
    signs = [sign for sign in (match["sign"], match["inner"]) if sign]
    digits = _digits(match["body"], point)
    if digits is None or len(signs) > 1:
        return None
    try:
        value = Decimal(digits + (match["power"] or ""))
    except InvalidOperation:  # an exponent beyond what Decimal holds
        return None
    return Numeral(value.copy_negate() if signs and signs[0] != "+" else value, match["before"] or match["after"] or "")


def _digits(body: str, point: Point) -> str | None:
    """A number without thousands separators and with a decimal point; None if its digits are not grouped rightly."""
    whole, _, fraction = body.partition(point)
    if not whole.isdigit() and whole:
        if GROUPED.fullmatch(whole) is None:
            return None
        whole = re.sub("[^0-9]", "", whole)
    return f"{whole or 0}.{fraction or 0}" if fraction.isdigit() or not fraction else None


def plain(cell: str) -> float | None:
    """The number in a cell as ``float`` reads it, which may be infinite; None for NaN, or if there is none."""
    try:
        value = None if "_" in cell else float(cell)  # Python would take 1_000 for a number
    except ValueError:
        return None
    return None if value != value else value


def number(cell: str, point: Point = ".") -> float | None:
    """The number in a cell, as :func:`plain` or else :func:`read` reads it; None if there is none."""
    if point == "." and (value := plain(cell)) is not None:
        return value
    numeral = read(cell, point)
    return None if numeral is None else float(numeral.value)


def exact(cell: str, point: Point = ".") -> int | Decimal:
    """The number in a cell that has one, with all its digits."""
    numeral = read(cell, point)
    value = Decimal(cell) if numeral is None else numeral.value
    return int(value) if value == value.to_integral_value() else value


def value(cell: Any, point: Point = ".") -> int | float | None:
    """The value of a cell, text or a number, for comparisons: a whole number keeps all digits, others are float64."""
    rounded = number(cell, point) if isinstance(cell, str) else cell
    if rounded is None or not math.isfinite(rounded):
        return rounded
    whole = exact(cell, point) if isinstance(cell, str) else rounded
    return int(whole) if whole == int(whole) else float(whole)


Cell = tuple[str, int]
"""The text of a cell, and the number of its row."""


def decimal_sign(columns: dict[str, list[Cell]], at: Callable[[str, Cell], str]) -> Point:
    """The decimal sign of the numbers in a table's columns: a point, or a comma.

    A comma is evidence where it can't be anything but a decimal sign (1,5 or 1.234,5), and so is a point.

    Args:
      columns: the cells of each column that holds text, by its name.
      at: names a cell, for errors.

    Raises:
      ValueError: if both signs are possible, or there is evidence of both.
    """
    evidence: dict[str, tuple[str, Cell]] = {}
    written = {key: there for key, there in columns.items() if any(plain(cell) is None for cell, _ in there)}
    numbers = {key: there for key, there in written.items() if mostly(there, is_number)}
    _add_evidence(numbers, evidence)
    if not evidence.keys() & {"comma", "either comma"}:
        return "."
    _add_evidence({k: v for k, v in columns.items() if k not in written or k in numbers}, evidence)
    comma, point, both = (at(*evidence[k]) if k in evidence else "" for k in ("comma", "point", "either point"))
    if comma and (point or both):
        raise ValueError(f"{comma}, but {point or both}")
    if not comma and not point:
        key, cell = evidence["either comma"]
        raise ValueError(f"{at(key, cell)}, which is {number(cell[0], '.'):.10g} or {number(cell[0], ','):.10g}")
    return "," if comma else "."


def mostly(there: Iterable[Cell], holds: Callable[[str], bool]) -> bool:
    """Whether ``holds`` is true for more than half of the cells."""
    which = [holds(cell) for cell, _ in there]
    return 2 * sum(which) > len(which)


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a decimal point or comma."""
    return plain(cell) is not None or any(read(cell, point) is not None for point in (".", ","))


def _add_evidence(columns: dict[str, list[Cell]], evidence: dict[str, tuple[str, Cell]]) -> None:
    """Adds the first cell of each kind: a number only with a comma, only with a point, or another one with each."""
    for key, there in columns.items():
        for cell in there:
            if "," not in cell[0] and "." not in cell[0]:
                continue
            values = [read(cell[0], point) for point in (".", ",")]
            if values[0] == values[1]:
                continue
            which = "comma" if values[0] is None else "point" if values[1] is None else ""
            evidence.setdefault(which or ("either comma" if "," in cell[0] else "either point"), (key, cell))
