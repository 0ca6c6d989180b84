"""Numbers in the files of a run, which may hold anything."""

import math
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value can be calculated with: finite, and so far from the largest float that sums are finite too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def finite(value: Any) -> float | None:
    """A value as a float; None where it is no number, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None
