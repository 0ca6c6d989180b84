"""How likely a test is to find a true difference: by numerical integration over the spreads that may be seen.

A t test finds a difference where |D| > c(R)·R, with the difference seen D, its standard error seen R, and the critical
value c. Given R, D is normal, so that the power is the mean over R of Φ(δ/σ - c·R/σ) + Φ(-δ/σ - c·R/σ). It is at most 1
and grows with δ, whatever nodes of R the mean is computed at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

__all__ = ["Power", "critical"]


def _nodes(number: int, width: float = 7.5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in even steps of normal quantiles, and their weights: a mean over them converges exponentially."""
    z = np.linspace(-width, width, number)
    weights = np.exp(-(z**2) / 2)
    return special.ndtr(z), weights / weights.sum()


SCALES, SCALE_WEIGHTS = _nodes(301)
RATIOS, RATIO_WEIGHTS = _nodes(61)


def critical(df: float | np.ndarray, alpha: float) -> np.ndarray:
    """The critical value of a two-sided t test: what |t| exceeds with probability ``alpha``."""
    return -special.stdtrit(df, alpha / 2)


@dataclass(frozen=True)
class Power:
    """A t test at some level.

    Args:
      error: σ, the true standard error of the difference.
      thresholds: what |D|/σ has to exceed, by the spread that is seen.
      weights: how probable these are.
    """

    error: float
    thresholds: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, spreads: Sequence[float], sizes: Sequence[int], alpha: float) -> "Power":
        """Student's t for one spread (of differences); Welch's, with its estimated degrees of freedom, for two.

        The squared errors of two means, v_i·χ²(d_i)/d_i, are S·(U·v_1/d_1 + (1 - U)·v_2/d_2) with S of χ²(d_1 + d_2)
        and U of Beta(d_1/2, d_2/2), which are independent; Welch's degrees of freedom depend on U alone.

        Args:
          spreads: true standard deviations, not all zero.
        """
        v = np.array([s**2 / n for s, n in zip(spreads, sizes, strict=True)])
        error = float(np.sqrt(v.sum()))
        v, d = v / v.sum(), np.array([n - 1.0 for n in sizes])
        scales = 2 * special.gammaincinv(d.sum() / 2, SCALES)
        if len(v) == 1:
            return cls(error, critical(d[0], alpha) * np.sqrt(scales / d[0]), SCALE_WEIGHTS)
        shares = special.betaincinv(*d / 2, RATIOS)
        parts = np.array([shares * v[0] / d[0], (1 - shares) * v[1] / d[1]])
        square = parts.sum(0)
        df = 1 / ((parts / square) ** 2 / d[:, None]).sum(0)
        thresholds = critical(df, alpha) * np.sqrt(square)
        return cls(error, np.outer(thresholds, np.sqrt(scales)), np.outer(RATIO_WEIGHTS, SCALE_WEIGHTS))

    def at(self, difference: float) -> float:
        """The probability that a true difference of this size is found."""
        shift = abs(difference) / self.error
        seen = special.ndtr(shift - self.thresholds) + special.ndtr(-shift - self.thresholds)
        return min(float((seen * self.weights).sum()), 1.0)

    def detectable(self, power: float) -> float:
        """The size of a true difference that is found with this probability."""
        low, high = 0.0, self.error
        while self.at(high) < power:
            low, high = high, 2 * high
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.at(middle) < power else (low, middle)
        return high
