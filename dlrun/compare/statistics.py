"""Is the difference between two groups of runs real, how large is it, and how many more seeds would tell?

**The test.** Runs of two groups that match in seed and all else are pairs; the differences of a seed's pairs are
averaged, and those of the seeds are tested: by sign flips, exactly, where that test has the resolution to reach a
verdict, else by Student's t. Groups without enough pairs are compared by Welch's t. Each choice looks at the number of
values only, never at how they came out. Fewer than three seeds are never tested.

False alarms at the 5% level, in percent, of groups drawn alike (20,000 times; 5,000 for 10 pairs, 4,000 unpaired)::

                                       paired t       sign flips     Welch's t
    n                                  3    5    8    5    8   10    3:3  5:5  4:8
    normal                           4.8  4.9  4.9    0  4.7  4.8    3.4  4.0  5.0
    Student's t, 2 degrees (heavy)   3.7  3.3  3.5    0  4.6  4.8    2.5  2.9  3.2
    Beta(50, 1) (accuracies near 1)  3.4  3.4  3.9    0  4.5  5.2    2.4  2.8  4.5
    0.99 of 100 rows right (ties)    1.3  4.2  5.4    0  1.4  2.1    2.7  4.0  5.5
    0.975 of 360 rows right (ties)   4.0  4.9  5.2    0  3.6  3.4    3.4  4.7  5.8
    one run in ten fails             2.8  2.1  2.1    0  4.9  4.4    1.7  2.0  2.6

The unit is the seed, as its luck is in all its runs. Of seeds at four learning rates each, of normal values (4,000
times, ``benchmarks/error_rates.py``), as if each run were a pair of its own, and as they are tested::

                                     by runs             by seeds            no pairs, by seeds
    seeds                            3     5     12      3     5     12      3     5     12
    no effect of a seed in a group   4.7   5.3   4.5     4.8   5.0   4.7     3.3   4.8   4.9
    half as large as the noise      12.4  13.0  10.8     5.1   4.7   4.7     3.3   4.7   4.6
    twice as large                  35.3  33.2  29.6     5.6   4.4   4.8     3.4   4.5   4.9
    the same, a fifth of runs gone  25.1  24.6  22.5     5.5   4.5   4.7     3.4   4.0   4.6

Each of 3 or 5 seeds on each of as many splits: 27 to 39% by runs with an effect twice the noise, 1 to 2% as they are
tested (:mod:`dlrun.compare.units`).

The smallest two-sided p of n sign flips is 2/2^n: below six pairs they can never alarm, nor detect anything. Power for
normal differences of d_z = 1.4, 1.15, 1 at n = 6, 8, 10: t 0.79, 0.79, 0.80; sign flips 0.61, 0.77, 0.80. Hence t for
few pairs and the exact test, whose level needs no normal distribution, from 2/2^n ≤ 0.01/(number of comparisons) on:
from 8 pairs for one comparison, from 10 for five, and to 14, with 16,384 sign flips. Differences that are all equal
have no t; they are tested by sign flips whatever their number.

Unpaired groups are never compared by permutation: it asks whether the distributions are equal, and where only the
spreads differ (1 to 4, 5:5 runs) it alarms in 8.2% against Welch's 5.7% (8:4 runs: 15.2% against 6.0%), and is no
stronger where they do not (5:5, 2 standard deviations: 0.76 both). What no test here repairs is few pairs whose
differences are skewed about a mean of zero (exponential: 9 to 11% false alarms).

**Seeds to come.** How many more would show a difference is reckoned as if the true spread were the one seen, which is
uncertain with few seeds, and often too small; were it that, power would be what :mod:`dlrun.compare.power` says. Of
as many new pairs as were asked for 80%, this share showed a true difference of 0.5, 0.7, 1.1 standard deviations d_z:
63, 70, 74% (after 3 seeds), 74, 78, 84% (5), 75, 79, 92% (8).

**Resolution.** Metrics are float32 in training. Numbers nearer than that resolves are equal: else ties, as between
accuracies of few rows, would be broken by rounding, and differences that are all equal would seem to have a spread.

Everything is computed by ``scipy.special``, as ``scipy.stats`` does, which takes half a second to import.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from dlrun.compare.power import Power, critical
from dlrun.compare.units import RESOLUTION, Match, Result, Sample, Seeds, match, sample

__all__ = ["Comparison", "Result", "Summary", "compare", "holm", "summary"]

ALPHA = 0.05
"""Level of tests; intervals hold the true value with probability 1 - ALPHA."""
POWER = 0.8
FEWEST = 3
"""Values, or pairs, below which nothing is tested."""
PERMUTATIONS = 20_000
"""As many are gone through for an exact test."""
RESOLVED = 5
"""An exact test is used where its smallest p is this many times below the level that Holm's first step asks for."""
MORE = 100
"""As many more seeds are ever suggested."""


@dataclass(frozen=True)
class Summary:
    """A group of values, by seeds: runs of one count as their mean.

    Args:
      n: seeds with values that are numbers in float32's range; all else is of these only. None where they are too few.
      mean: of the seeds.
      std: standard deviation of a seed, with n - 1.
      interval: of the mean, 95%, by Student's t with n - 1 degrees of freedom: mean ± t·std/√n. It held the mean of 3,
        5 and 10 normal values in 95% of draws, of Beta(50, 1), accuracies near 1 with a long tail, in 89 to 90%.
      min, max: of the runs.
    """

    n: int
    mean: float | None = None
    std: float | None = None
    interval: tuple[float, float] | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A group's mean minus the baseline's.

    Args:
      group, baseline: their names.
      method: the test of the difference, a key of :data:`METHODS`; where nothing is tested, what it would have been.
      sizes: (pairs,), or how many values the group and the baseline have: seeds, over whose runs means are taken.
      spreads: standard deviations that go with ``sizes``: of the differences, or of the values of each.
      missing: runs of the group and of the baseline that have no finite value, left out.
      unpaired: runs with a finite value that go with none of the other group, left out.
      repeats: runs that another run of the group equals in seed and all else.
      apart, shared, few: keys in which the groups differ, seeds too few for pairs; see :class:`Match`.
      difference: in the metric's unit; None without values.
      interval: 95%, of the difference; not corrected for the number of comparisons. None where nothing is tested.
      p: two-sided; None where the values are too few.
      corrected: p by Holm's method over all comparisons: what the verdict goes by.
      comparisons: how many were tested with the same baseline.
      flips: whether pairs may be tested by sign flips; those of several seeds that vary independently are not.
      effect: Cohen's d_z, the mean difference of pairs over its standard deviation; unpaired, Hedges' g. None without
        spread.
    """

    group: str
    baseline: str
    method: str
    sizes: tuple[int, ...]
    spreads: tuple[float, ...] | None = None
    missing: tuple[int, int] = (0, 0)
    unpaired: int = 0
    repeats: int = 0
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None
    comparisons: int = 1
    effect: float | None = None
    flips: bool = True
    apart: dict[str, tuple[list[Hashable], list[Hashable]]] = field(default_factory=dict)
    shared: dict[str, list[Hashable]] = field(default_factory=dict)
    few: int = 0

    @property
    def paired(self) -> bool:
        return len(self.sizes) == 1

    @property
    def significant(self) -> bool:
        return self.corrected is not None and self.corrected <= ALPHA

    def power(self, difference: float, more: int = 0) -> float | None:
        """The probability that a true difference of this size is found, were the true spread the one seen.

        The level is shared by the comparisons (Bonferroni: the strictest step of Holm's). For sign flips it is that of
        t at the level that they attain, 2·⌊2^n·α/2⌋/2^n, which is right to 0.02, with dozens of comparisons to 0.04.

        Args:
          difference: in the metric's unit.
          more: seeds beyond those there are, for each group.
        """
        return None if self._flat else self._power(more).at(difference)

    def more(self, difference: float) -> int | None:
        """How many more seeds would detect this with 80% power; None for more than MORE, or where that is not known."""
        if self._flat or self._power(MORE).at(difference) < POWER:
            return None
        low, high = -1, MORE
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._power(middle).at(difference) < POWER else (low, middle)
        return high

    @property
    def detectable(self) -> float | None:
        """The difference that as many seeds as there are detect with 80% power."""
        return None if self._flat else self._power(0).detectable(POWER)

    @property
    def _flat(self) -> bool:
        return self.p is None or not any(self.spreads or ())

    def _power(self, more: int) -> Power:
        alpha, sizes = ALPHA / self.comparisons, [n + more for n in self.sizes]
        if self.paired and self.flips and _resolved(sizes[0], self.comparisons):
            alpha = 2 * math.floor(2 ** sizes[0] * alpha / 2) / 2 ** sizes[0]
        return Power.of(self.spreads or (), sizes, alpha)


METHODS = {
    "paired t": "scipy.stats.ttest_rel",
    "sign flips": "scipy.stats.permutation_test(permutation_type='samples'), all of them",
    "Welch": "scipy.stats.ttest_ind(equal_var=False)",
    "permutation": "scipy.stats.permutation_test(permutation_type='independent'), all of them",
}
"""The tests, and what gives the same p."""


def summary(runs: Sequence[Result]) -> Summary:
    """Mean, spread and interval of a group's values."""
    values = [(r.seeds, r.value) for r in runs if r.finite and r.value is not None]
    if not values:
        return Summary(0)
    low, high = min(v for _, v in values), max(v for _, v in values)
    found = sample(values, RESOLUTION * max(-low, high))
    if found.std is None:
        return Summary(found.n, found.mean, min=low, max=high)
    half = float(critical(found.n - 1, ALPHA) * found.std / math.sqrt(found.n))
    return Summary(found.n, found.mean, found.std, (found.mean - half, found.mean + half), low, high)


def compare(groups: Mapping[str, Sequence[Result]], baseline: str) -> list[Comparison]:
    """Every other group against the baseline, in order, with Holm's correction over those that are tested."""
    found = [_untested(name, runs, baseline, groups[baseline]) for name, runs in groups.items() if name != baseline]
    tested = sum(min(c.sizes) >= FEWEST for c, _, _ in found)
    results = [_tested(replace(c, comparisons=max(tested, 1)), m, samples) for c, m, samples in found]
    corrected = iter(holm([c.p for c in results if c.p is not None]))
    return [c if c.p is None else replace(c, corrected=next(corrected)) for c in results]


def holm(p: Sequence[float]) -> list[float]:
    """p values that may be held against one level, however many they are: in order, the i-th smallest of m times
    m - i + 1, never below the one before.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(stepped, 1)
    return found.tolist()


def _untested(
    name: str, group: Sequence[Result], against: str, base: Sequence[Result]
) -> tuple[Comparison, Match, list[Sample]]:
    """What is compared with what: the differences of pairs, or the values of both."""
    found = match(group, base)
    sides = list(found.sides) if found.pairs is None else [found.pairs]
    samples = [_sample(side, 2 * found.equal) for side in sides]
    common = Comparison(
        name,
        against,
        "Welch" if found.pairs is None else "paired t",
        sizes=tuple([s.n for s in samples]),
        missing=(sum(not r.finite for r in group), sum(not r.finite for r in base)),
        unpaired=found.left,
        repeats=found.repeats,
        flips=all(s.values is not None for s in samples),
        apart=found.apart,
        shared=found.shared,
        few=found.few,
    )
    return common, found, samples


def _sample(values: Sequence[tuple[Seeds, float]], equal: float) -> Sample:
    return sample(values, equal) if values else Sample(0, 0.0, None, None)


def _tested(c: Comparison, found: Match, x: Sequence[Sample]) -> Comparison:
    if min(c.sizes) == 0:
        return c
    difference = x[0].mean - (0.0 if c.paired else x[1].mean)
    difference = 0.0 if abs(difference) <= found.equal else difference
    c = replace(c, difference=difference)
    if min(c.sizes) < 2:
        return c
    c = replace(c, spreads=tuple([s.std or 0.0 for s in x]))
    c = replace(c, effect=_effect(c))
    flat = not any(c.spreads or ())
    if min(c.sizes) < FEWEST:
        return c
    if flat:  # no other permutation of the values is as extreme on this side
        p = 2 / (2 ** c.sizes[0] if c.paired else math.comb(sum(c.sizes), c.sizes[0]))
        interval = (difference, difference) if p <= ALPHA else None
        method = "sign flips" if c.paired else "permutation"
        return replace(c, method=method, p=p if difference else 1.0, interval=interval)
    if c.paired and (pairs := x[0].values) is not None and _resolved(c.sizes[0], c.comparisons):
        p, interval = _sign_flips(pairs, found.equal)
        return replace(c, method="sign flips", p=p, interval=interval)
    error, df = _error(c.spreads or (), c.sizes)
    half = critical(df, ALPHA) * error
    p = float(2 * special.stdtr(df, -abs(difference) / error))
    return replace(c, p=p, interval=(float(difference - half), float(difference + half)))


def _resolved(pairs: int, comparisons: int) -> bool:
    """Whether the exact test is the one to use."""
    return 2 / ALPHA * RESOLVED * comparisons <= 2**pairs <= PERMUTATIONS


def _sign_flips(x: np.ndarray, equal: float) -> tuple[float, tuple[float, float]]:
    """Exact test of the mean of differences, and the interval of the means that it does not reject.

    Under the null each difference, symmetric about zero, may as well have the other sign. The mean with the signs of a
    subset flipped is at least the one seen just where the subset's own mean is at most zero, so the one-sided p is one
    more than the number of such subsets over 2^n; the two-sided one is twice the smaller of both. A shift of the data
    shifts the subsets' means, so the k-th smallest and k-th largest of these bound the interval, k = ⌊2^n·α/2⌋.
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


def _error(spreads: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Standard error of a difference, and its degrees of freedom.

    Source: B. L. Welch, The generalization of 'Student's' problem, Biometrika 34 (1947). With one spread, that of the
    differences of pairs, the degrees are n - 1.
    """
    parts = [s**2 / n for s, n in zip(spreads, sizes, strict=True)]
    total = sum(parts)
    # Of shares, as the squares of small parts are nothing.
    df = 1 / sum((v / total) ** 2 / (n - 1) for v, n in zip(parts, sizes, strict=True))
    return math.sqrt(total), df


def _effect(c: Comparison) -> float | None:
    """Cohen's d_z = mean/std of the differences; Hedges' g = J·(difference/pooled std), J = Γ(m/2)/(√(m/2)·Γ((m-1)/2))
    with m degrees of freedom.

    Source: L. V. Hedges, Distribution theory for Glass's estimator of effect size, J. Educ. Statist. 6 (1981).
    """
    if c.difference is None or not c.spreads or not any(c.spreads):
        return None
    if c.paired:
        return c.difference / c.spreads[0]
    m = sum(c.sizes) - 2
    pooled = math.sqrt(sum((n - 1) * s**2 for n, s in zip(c.sizes, c.spreads, strict=True)) / m)
    return c.difference / pooled * math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2)) / math.sqrt(m / 2)
