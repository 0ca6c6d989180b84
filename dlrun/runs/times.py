"""Times as run.json tells them and as people type them, as instants: runs of other time zones are in one order."""

import re
import time
from datetime import datetime
from typing import Any

TIMES = ("start", "end")
"""The columns that are times."""
ALLOWED = "a time such as 2026-11-23, 2026-11-23T05:22 or 2026-11-23T05:22:39, local unless Z or +01:00 follows"
FORM = re.compile(
    r"[12]\d{3}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def now() -> str:
    """The time as files tell it: local, with its offset, such as ``2026-11-23T05:22:39+0100``."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def instant(told: Any) -> float | None:
    """Seconds since 1970 of a time; None for what is none.

    A time without offset is local, by the rules of the day that it names (of an hour that the clocks repeat, the first
    time). A day, month or year is the moment at which it begins.
    """
    if not isinstance(told, str) or not FORM.fullmatch(told):
        return None
    date, _, clock = told.upper().replace(" ", "T", 1).partition("T")
    clock = clock.replace(" ", "")
    try:
        return datetime.fromisoformat(f"{(date + '-01-01')[:10]}T{clock or '00'}").timestamp()
    except (ValueError, OverflowError, OSError):
        return None
