"""Tests of a difference: exact sign flips, Welch's t, and Holm's correction for several of them."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["ALPHA", "exact", "holm", "sign_flips", "standard_error"]

ALPHA = 0.05
"""Level of tests; intervals hold the true value with probability 1 - ALPHA."""
PERMUTATIONS = 20_000
"""An exact test goes through this many sign flips at most."""
RESOLVED = 5
"""An exact test is used where its smallest p is this many times below the level of Holm's first step, or more."""


def holm(p: Sequence[float], family: int | None = None) -> list[float]:
    """p values, corrected so that all may be compared with one level, however many there are.

    The i-th smallest of m is multiplied by m - i + 1, and is never below the one before.

    Args:
      family: m, where these are some of a larger number of p values. The i-th smallest of some comes at the i-th place
        of all or later, so that it is multiplied by as much as there, or by more.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.asarray(p, float)[order] * ((family or len(p)) - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return corrected.tolist()


def exact(pairs: int, comparisons: int) -> bool:
    """Whether the exact test is the one to use."""
    return 2 / ALPHA * RESOLVED * comparisons <= 2**pairs <= PERMUTATIONS


def sign_flips(x: np.ndarray, equal: float) -> tuple[float, tuple[float, float]]:
    """Exact test of the mean of differences, and the interval of the means that it does not reject.

    If the null hypothesis is true, each difference is symmetric about zero, and may as well have the other sign. The
    mean with the signs of a subset flipped is at least the one seen just where the subset's own mean is at most zero,
    so the one-sided p is one more than the number of such subsets over 2^n; the two-sided one is twice the smaller of
    both. A shift of the data shifts the subsets' means, so the k-th smallest and k-th largest of these bound the
    interval, k = ⌊2^n·α/2⌋.
    Source: J. A. Hartigan, Using subsample values as typical values, JASA 64 (1969).

    Args:
      x: six differences or more.
      equal: means nearer to zero than this are zero.
    """
    sums, counts = np.zeros(1), np.zeros(1)
    for value in x:
        sums, counts = np.concatenate([sums, sums + value]), np.concatenate([counts, counts + 1])
    means = np.sort(sums[1:] / counts[1:])
    tail = 1 + min(int((means <= equal).sum()), int((means >= -equal).sum()))
    k = math.floor(2 ** len(x) * ALPHA / 2)
    return min(1.0, 2 * tail / 2 ** len(x)), (float(means[k - 1]), float(means[-k]))


def standard_error(spreads: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Standard error of a difference, and its degrees of freedom.

    Source: B. L. Welch, The generalization of 'Student's' problem, Biometrika 34 (1947). With one spread, that of the
    differences of pairs, the degrees are n - 1.
    """
    parts = [s**2 / n for s, n in zip(spreads, sizes, strict=True)]
    total = sum(parts)
    # Computed from shares, as the squares of small parts would be rounded to zero.
    df = 1 / sum((v / total) ** 2 / (n - 1) for v, n in zip(parts, sizes, strict=True))
    return math.sqrt(total), df
