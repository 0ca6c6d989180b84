"""What a cell of a table says: numbers, mean and spread, intervals, differences, times, and a drawing of intervals."""

import math
from collections.abc import Sequence

from dlrun.compare.statistics.comparison import Comparison, Summary

NONE = "–"  # in place of a value
BAR = 21  # characters


def spread(s: Summary) -> str:
    """``mean ± standard deviation``, with two significant digits of the latter."""
    if s.mean is None:
        return NONE
    places = _places(s.std)
    return number(s.mean) if s.std is None else f"{s.mean:.{places}f} ± {s.std:.{places}f}"


def mean(s: Summary, n: int) -> str:
    """Mean ± standard deviation, and the number of seeds if some have no value."""
    return spread(s) if s.n in (0, n) else f"{spread(s)} (n={s.n})"


def bars(summaries: Sequence[Summary], width: int = BAR) -> list[str]:
    """Draws each mean as a dot on its interval, all on one scale."""
    ends = [x for s in summaries for x in (s.mean, *(s.interval or ())) if x is not None]
    low, high = min(ends), max(ends)
    at = lambda x: round((x - low) / (high - low or 1) * (width - 1))  # noqa: E731

    def bar(s: Summary) -> str:
        cells = [" "] * width
        if s.mean is None:
            return "".join(cells)
        if s.interval:
            first, last = map(at, s.interval)
            cells[first : last + 1] = "─" * (last - first + 1)
            cells[first], cells[last] = "├", "┤"
        cells[at(s.mean)] = "●"
        return "".join(cells)

    return [bar(s) for s in summaries]


def number(value: float | None) -> str:
    """A number on its own, with four digits."""
    if value is None:
        return NONE
    if value == int(value) and abs(value) < 1e6:
        return str(int(value)) if abs(value) >= 10 else f"{value:.4g}"
    return f"{value:.4f}" if 0.1 <= abs(value) < 10 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """``8.2 s``, ``3:05 min``, ``2:05 h``."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return (
        f"{int(seconds) // 60}:{int(seconds) % 60:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
    )


def rate(a_second: float | None) -> str:
    return NONE if a_second is None else f"{a_second:.0f}" if a_second >= 10 else f"{a_second:.2g}"


def numbers(values: Sequence[float | None]) -> list[str]:
    """Numbers of one column: shares get four decimals."""
    known = [abs(v) for v in values if v is not None]
    if known and max(known) <= 1 and min(known) >= 0.001:
        return [NONE if v is None else f"{v:.4f}" for v in values]
    return [number(v) for v in values]


def _places(std: float | None) -> int:
    return min(max(1 - math.floor(math.log10(std)), 0), 8) if std else 4


def interval(s: Summary) -> str:
    if s.interval is None:
        return NONE
    places = _places(s.std)
    return f"{s.interval[0]:.{places}f} … {s.interval[1]:.{places}f}"


def difference(c: Comparison | None) -> str:
    if c is None or c.difference is None:
        return ""
    if c.interval is None:
        return f"{c.difference:+.3g}"
    half = (c.interval[1] - c.interval[0]) / 2
    places = _places(half)
    return f"{c.difference:+.{places}f} ± {half:.{places}f}"


def p_value(c: Comparison | None) -> str:
    p = c.corrected if c is not None else None
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"
