"""A comparison of two groups in one line of plain English."""

import math
from dataclasses import dataclass
from typing import Literal

from dlrun.compare.statistics.comparison import MORE, POWER, Comparison
from dlrun.compare.statistics.significance import ALPHA
from dlrun.display.units import noun

__all__ = ["Measure", "conclusion", "notes", "verdict"]


@dataclass(frozen=True)
class Measure:
    """What the values of a metric mean: which are better, and in which unit they are shown.

    Args:
      better: whether the ``min`` or the ``max`` is better; None if neither is, as for a count.
      share: whether it is a share such as an accuracy, whose differences are given in points (hundredths).
      positive: whether it is never below 0, as a time is, so that intervals of means end at 0.
      unit: of the values, such as ``s``.
      lacking: how runs without a value are described.
    """

    better: Literal["min", "max"] | None = "max"
    share: bool = False
    positive: bool = False
    unit: str = ""
    lacking: str = "without a finite value"

    def amount(self, *numbers: float, digits_of: float) -> list[str]:
        """Differences as text without unit, with as many decimals as give ``digits_of`` two significant digits."""
        scale = 100 if self.share else 1
        size = abs(digits_of) * scale
        places = max(0, 1 - math.floor(math.log10(size))) if size else 0
        return [f"{x * scale + 0.0:.{places}f}" if places <= 6 else f"{x * scale:.1e}" for x in numbers]

    def size(self, number: float) -> str:
        """A difference in words, without sign: ``0.5 points``."""
        (text,) = self.amount(abs(number), digits_of=number)
        return self.named(f"{float(text):g}" if abs(float(text)) < 1e6 else text)

    def named(self, text: str) -> str:
        unit = noun(1 if text == "1" else 2, "point") if self.share else self.unit
        return f"{text} {unit}" if unit else text


def verdict(c: Comparison, measure: Measure, detect: float | None = None) -> str:
    """A comparison in one line of plain English.

    Args:
      detect: the difference that is worth finding, in the metric's unit; None for the one that was seen.
    """
    return "; ".join([conclusion(c, measure, detect), *notes(c, measure)])


def conclusion(c: Comparison, measure: Measure, detect: float | None = None) -> str:
    """Says whether there is a difference, how large it is, and which test shows it."""
    n = min(c.sizes)
    if c.p is None or c.difference is None:
        if n == 0:
            return f"{c.group if c.sizes[0] == 0 else c.baseline} has no value to compare"
        whose = "" if len({*c.sizes}) == 1 else f" of {c.group if c.sizes[0] == n else c.baseline}"
        return f"{n} {noun(n, 'seed')}{whose} {'is' if n == 1 else 'are'} too few to compare"
    few = f" as only {c.few} match{'es' if c.few == 1 else ''}" if c.few else ""
    over = f"paired over {_values(c)}" if c.paired else f"unpaired{few}, {_values(c)}"
    how = f"({over}, {_p(c)})"
    if c.significant:
        words = {"max": ("beats", "loses to"), "min": ("loses to", "beats"), None: ("exceeds", "is below")}
        verb = words[measure.better][c.difference < 0]
        return f"{c.group} {verb} {c.baseline} by {_by(c, measure)} {how}"
    if not any(c.spreads or ()):
        if not c.difference:
            return f"no difference: all values are equal ({over})"
        size = measure.size(c.difference)
        return (
            f"no difference shown: the means differ by {size}, but the values have no spread to test it against {how}"
        )
    return f"no difference shown {how}; {_outlook(c, measure, detect)}"


def _by(c: Comparison, measure: Measure) -> str:
    """The size of a difference: ``0.84 ± 0.31 points``, or with both ends of an interval that is not symmetric."""
    assert c.difference is not None
    if c.interval is None or c.interval[0] == c.interval[1]:
        return measure.size(c.difference)
    low, high = c.interval if c.difference > 0 else (-c.interval[1], -c.interval[0])
    middle, half = abs(c.difference), (high - low) / 2
    by, below, above, low_text, high_text = measure.amount(
        middle, middle - low, high - middle, low, high, digits_of=half
    )
    return measure.named(f"{by} ± {below}") if below == above else measure.named(f"{by} ({low_text} to {high_text})")


def _outlook(c: Comparison, measure: Measure, detect: float | None) -> str:
    """Says how many more seeds would show a difference, or how large a difference these seeds could show."""
    wanted = abs(c.difference or 0.0) if detect is None else abs(detect)
    more = c.more(wanted)
    each = "" if c.paired else " of each"
    if more:
        found = f"a difference of {measure.size(wanted)} with {POWER:.0%} power"
        return f"{more} more {noun(more, 'seed')}{each} would detect {found}"
    if more is None and detect is not None:
        needed = f"more than {MORE} more seeds{each} would be needed"
        return f"{needed} to detect a difference of {measure.size(wanted)} with {POWER:.0%} power"
    # Either these seeds are enough to find that size (more is 0), or the one seen is so small that none would be.
    reach = wanted if more == 0 else c.detectable or 0.0
    return f"{_values(c)} can detect a difference of {measure.size(reach)} with {POWER:.0%} power"


def _p(c: Comparison) -> str:
    """``p = 0.003``, with enough digits to be on the right side of the level."""
    p = c.corrected if c.corrected is not None else 1.0
    text = "p < 0.001"
    if p >= 0.001:
        digits = 1 if p < 0.01 else 2
        while (float(f"{p:.{digits}g}") <= ALPHA) != (p <= ALPHA):
            digits += 1
        text = f"p = {p:.{digits}g}"
    return f"{text} corrected for {c.comparisons} comparisons" if c.comparisons > 1 else text


def notes(c: Comparison, measure: Measure) -> list[str]:
    """Says which values are left out of the comparison, or averaged."""
    missing = [f"{n} {noun(n, 'run')} of {name}" for name, n in zip((c.group, c.baseline), c.missing, strict=True) if n]
    left = [f"{' and '.join(missing)} {measure.lacking}"] if missing else []
    left += [f"{c.unpaired} {noun(c.unpaired, 'run')} without a partner"] if c.unpaired else []
    texts = [f"left out: {', '.join(left)}"] if left else []
    return texts + ([f"{c.repeats} {noun(c.repeats, 'repeat')} averaged"] if c.repeats else [])


def _values(c: Comparison) -> str:
    """The number of values that were compared: ``8 seeds``, or ``8 and 6 seeds``."""
    return " and ".join(map(str, (*c.sizes[:-1], f"{c.sizes[-1]} {noun(c.sizes[-1], 'seed')}")))
