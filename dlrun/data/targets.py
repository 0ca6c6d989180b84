"""From targets as a user has them to those of :class:`~dlrun.data.dataset.Rows`; what is wrong is a ``ValueError``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlrun.data.dataset import Array

LARGEST = 1e18
"""Larger numbers overflow float32 when they are squared."""


def class_numbers(train: Array, others: dict[str, Array], *, cut: bool) -> tuple[tuple[str, ...], list[Array]]:
    """Numbers 0, 1, … for values of any type that has an order, in that order.

    Args:
      train: values (n,) of the training rows, which decide what classes there are.
      others: values of further rows, by a name for errors.
      cut: whether further splits are cut from the training rows.

    Returns:
      The classes' names, and the numbers (n,) as int32 of ``train`` and the others.
    """
    values, counts = np.unique(train, return_counts=True)
    names = tuple(map(name, values.tolist()))
    if len(set(names)) < len(names):
        raise ValueError("there are classes that read alike")
    if len(values) < 2:
        raise ValueError(f"there is one class only, {_short(names[0])}, in all {len(train)} rows")
    if cut and counts.min() < 2:
        alone = [k for k, count in zip(names, counts, strict=True) if count < 2]
        raise ValueError(f"there is a single row of {_listed(alone)}; a split needs two (or give task=regression)")
    found = []
    for place, part in {"": train, **others}.items():
        numbers = np.searchsorted(values, part)
        known = values[np.minimum(numbers, len(values) - 1)] == part
        if not known.all():
            unknown = list(map(name, np.unique(part[~known]).tolist()))
            raise ValueError(f"there is {_listed(unknown)} in {place} that no training row has")
        found.append(numbers.astype(np.int32))
    return names, found


def name(value: Any) -> str:
    """A class's name: ``3`` for 3.0, ``true`` for True."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def finite(values: Array, dtype: type = np.float32) -> Array:
    """Numbers as ``dtype``, all of them finite and small enough to compute with; without copies of the whole."""
    for start in range(0, len(values), 4096):
        part = values[start : start + 4096]
        sound = np.abs(part, dtype=np.float64) <= LARGEST  # NaN is not
        if not sound.all():
            first = np.argwhere(~sound)[0]
            cell = part[tuple(first)]
            raise ValueError(f"row {start + first[0]} has {cell}; numbers must be finite and up to {LARGEST:g}")
    return values if values.dtype == dtype else values.astype(dtype)


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"class {_short(names[0])}"
    return f"each of {len(names)} classes ({', '.join(map(_short, names[:3]))}{', …' if len(names) > 3 else ''})"


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
