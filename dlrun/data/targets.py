"""Turns a user's targets into those of :class:`~dlrun.data.dataset.Rows`; raises ``ValueError`` for unfit ones."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from dlrun.data import lazy
from dlrun.data.dataset import Array

LARGEST = 1e300
"""The largest number allowed: sums of larger ones might overflow float64."""
EXACT = 2**53
"""Whole numbers up to this are exact in float64."""


class Unseen(ValueError):
    """Raised for classes that no training row has."""


def class_numbers(train: Array, others: dict[str, Array], *, cut: bool) -> tuple[tuple[str, ...], list[Array]]:
    """Numbers the classes 0, 1, … in the order of their values, which may be of any type that can be sorted.

    Args:
      train: the value of each training row, (n,); they decide which classes there are.
      others: the values of other splits' rows, by a name for errors.
      cut: whether other splits will be cut from the training rows, so that each class needs two rows.

    Returns:
      The names of the classes, and the class numbers (n,), int32, of ``train`` and of each of the others.

    Raises:
      ValueError: if there are fewer than two classes, or too few rows of one, or classes that can't be told apart.
      Unseen: if ``others`` have a class that ``train`` has not.
    """
    for place, part in {"": train, **others}.items():
        check_distinct(part, f" in {place}" if place else "")
    kinds = {part.dtype.kind for part in (train, *others.values())}
    if len(kinds) > 1:  # NumPy would compare whole numbers and floats as float64, and can't compare text with bytes
        train, *rest = [_comparable(part) for part in (train, *others.values())]
        others = dict(zip(others, rest, strict=True))
    values, counts = np.unique(train, return_counts=True)
    names = tuple(map(name, values.tolist()))
    if len(set(names)) < len(names):
        raise ValueError("there are different classes with the same name")
    if len(values) < 2:
        raise ValueError(f"there is only one class, {_short(names[0])}, in all {len(train)} rows")
    if cut and counts.min() < 2:
        alone = [k for k, count in zip(names, counts, strict=True) if count < 2]
        raise ValueError(f"there is a single row of {_listed(alone)}; a split needs two (or give task=regression)")
    numbered = []
    for place, part in {"": train, **others}.items():
        numbers = np.searchsorted(values, part)
        known = values[np.minimum(numbers, len(values) - 1)] == part
        if not known.all():
            unknown = list(map(name, np.unique(part[~known]).tolist()))
            raise Unseen(f"there is {_listed(unknown)} in {place} that no training row has")
        numbered.append(numbers.astype(np.int32))
    return names, numbered


def check_distinct(values: Array, where: str = "") -> None:
    """Refuses floats as classes if they are so large that neighbouring whole numbers are the same float."""
    if values.dtype == object:
        values = np.array([v for v in values if type(v) is float])
    if values.dtype.kind != "f" or values.size == 0:
        return
    exact = 2.0 ** (np.finfo(values.dtype).nmant + 1)
    largest = float(values[np.nanargmax(np.abs(values))]) if not np.isnan(values).all() else 0.0
    if abs(largest) >= exact:
        problem = f"there is {largest:.0f} as {values.dtype}{where}, which also stands for neighbouring whole numbers"
        raise ValueError(f"{problem}: give whole numbers or text")


def numbers(train: Array, others: Sequence[Array]) -> list[Array]:
    """Numbers to predict, (n, K), of ``train`` and each of the others; each must vary in the training rows."""
    columns = [checked(y.reshape(len(y), -1)) for y in (train, *others)]
    check_varied(columns[0])
    return columns


def check_varied(train: Array) -> None:
    """Raises ``ValueError`` if one of the numbers to predict, (n, K), has the same value in all training rows."""
    same = np.flatnonzero(train.min(0) == train.max(0))
    if len(same):
        where = "" if train.shape[1] == 1 else f" of y{same[0]}"
        raise ValueError(f"there is only one value, {train[0, same[0]]:g}, in all {len(train)} rows{where}")


def name(value: Any) -> str:
    """A class's name: ``3`` for 3.0, ``true`` for True."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Decimal):
        return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def checked(values: Array) -> Array:
    """Returns ``values``; raises ``ValueError`` unless all are finite and float64 can tell them apart."""
    for piece in lazy.pieces(values) if values.dtype.kind == "f" else ():
        part = values[piece]
        if not all(abs(float(extreme)) <= LARGEST for extreme in (part.min(), part.max())):  # NaN if any is
            first = np.argwhere(~(np.abs(part, dtype=np.float64) <= LARGEST))[0]
            cell = f"{part[tuple(first)]:g}"
            raise ValueError(f"row {piece.start + first[0]} has {cell}; numbers must be finite and up to {LARGEST:g}")
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        axes = tuple(range(values.ndim - 1))
        extremes = [(part.min(axes), part.max(axes)) for part in (values[piece] for piece in lazy.pieces(values))]
        lowest, highest = (f([e[i] for e in extremes], 0).tolist() for i, f in ((0, np.min), (1, np.max)))
        for column, (low, high) in enumerate(zip(lowest, highest, strict=True)):
            step = max(abs(low), abs(high)) // EXACT
            if 0 < high - low < 1000 * step:
                given = f"column {column} has whole numbers from {low} to {high}"
                raise ValueError(f"{given}, too large to be told apart in float64: subtract {low} from them")
    return values


def _comparable(values: Array) -> Array:
    """Values as Python objects, which compare whole numbers and floats exactly; bytes as text."""
    return np.array([name(v) for v in values.tolist()]) if values.dtype.kind == "S" else values.astype(object)


def _listed(names: Sequence[str]) -> str:
    """Names one class, or several by the first three, for errors."""
    if len(names) == 1:
        return f"class {_short(names[0])}"
    return f"each of {len(names)} classes ({', '.join(map(_short, names[:3]))}{', …' if len(names) > 3 else ''})"


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
