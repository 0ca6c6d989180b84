"""Numbers, times and lists as people read them."""

from typing import Any


def fitted(parts: list[tuple[int, str]], width: int | None) -> str:
    """Parts (rank, text) side by side, in ``width`` columns: where they don't fit, the largest ranks are left out."""
    kept, used = set(), 0
    for i in sorted(range(len(parts)), key=lambda i: parts[i][0]):
        length = len(parts[i][1]) + 2 * bool(kept)
        if width is None or not kept or used + length <= width:
            kept.add(i)
            used += length
    return "  ".join(text for i, (_, text) in enumerate(parts) if i in kept)[:width].rstrip()


def noun(n: int, one: str) -> str:
    """The word for ``n`` things, made of the word for one: ``step``, ``steps``, ``classes``."""
    return one if n == 1 else f"{one}es" if one.endswith("s") else f"{one}s"


def counted(n: int, one: str) -> str:
    """``1 step``, ``1,294 rows``, ``10 classes``."""
    return f"{n:,} {noun(n, one)}"


def prefixed(number: float, unit: str, base: int = 1000) -> str:
    """Three digits with the prefix that fits: ``1.5 MB``, ``12.3 GFLOP``; with the base 1024, ``1.04 MiB``."""
    power = 0
    unit = "B" if unit == "iB" and number < 999.5 else unit
    while number >= 999.5 and power < 5:
        number, power = number / base, power + 1
    return f"{number:.3g} {('', 'k' if base == 1000 else 'K', 'M', 'G', 'T', 'P')[power]}{unit}"


def number(value: Any) -> str:
    """Four decimals, or four digits in scientific form if those would say nothing; a whole number as it is."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"


def clock(seconds: float) -> str:
    """``0:05``, ``12:34``, ``1:02:03``, ``2d 03:04``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def cut(text: str, width: int) -> str:
    """Text cut to ``width``, with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
