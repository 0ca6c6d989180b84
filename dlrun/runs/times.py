"""Turns times, as run.json has them and as people type them, into seconds, so that runs of all time zones sort."""

import re
import time
from datetime import datetime
from typing import Any

TIMES = ("start", "end")
"""The columns that hold times."""
ALLOWED = "a time such as 2026-11-23, 2026-11-23T05:22 or 2026-11-23T05:22:39, local unless Z or +01:00 follows"
FORM = re.compile(
    r"[12]\d{3}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def now() -> str:
    """The present time as files have it: local, with its offset, such as ``2026-11-23T05:22:39+0100``."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def instant(told: Any) -> float | None:
    """A time in seconds since 1970; None if the value is not a time.

    A time without an offset is local, with the offset of its day (the first of two, if the clock is set back over it).
    A day, month or year stands for the moment at which it begins.
    """
    if not isinstance(told, str) or not FORM.fullmatch(told):
        return None
    date, _, clock = told.upper().replace(" ", "T", 1).partition("T")
    clock = clock.replace(" ", "")
    try:
        return datetime.fromisoformat(f"{(date + '-01-01')[:10]}T{clock or '00'}").timestamp()
    except (ValueError, OverflowError, OSError):
        return None
