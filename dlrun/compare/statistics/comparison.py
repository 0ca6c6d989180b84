"""Groups of runs as numbers: a group's mean, spread and interval, and its difference to the baseline, tested."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scipy import special

from dlrun.compare.statistics.power import Power, critical
from dlrun.compare.statistics.significance import ALPHA, exact, holm, sign_flips, standard_error
from dlrun.compare.statistics.units import RESOLUTION, Match, Result, Sample, Seeds, match, sample

__all__ = ["Comparison", "Summary", "compare", "summary"]

POWER = 0.8
"""The probability with which suggested seeds would find the difference."""
FEWEST = 3
"""Values, or pairs, below which nothing is tested."""
MORE = 100
"""More further seeds than this are never suggested."""


@dataclass(frozen=True)
class Summary:
    """A group's values in a few numbers. The runs of a seed count as one value, their mean.

    Args:
      n: how many seeds have a value in float32's range. All else is computed from these; None where they are too few.
      mean: of the seeds.
      std: standard deviation of a seed, with n - 1.
      interval: of the mean, 95%, by Student's t with n - 1 degrees of freedom: mean ± t·std/√n; of shares on the scale
        of log-odds, of positive numbers cut at 0: :func:`interval`.
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
    """A group compared with the baseline: the difference of their means (group minus baseline), and its test.

    Args:
      group, baseline: their names.
      method: the test of the difference, a key of :data:`METHODS`; where nothing is tested, what it would have been.
      sizes: (number of pairs,), or how many values the group and the baseline have: means of the runs of a seed.
      spreads: standard deviations that go with ``sizes``: of the differences, or of the values of each.
      missing: runs of the group and of the baseline that have no finite value, left out.
      unpaired: runs with a finite value that match no run of the other group, left out.
      repeats: runs that repeat another run of their group, with the same seed and all else.
      apart, shared, few: keys in which the groups differ, and seeds that are too few for pairs, as in :class:`Match`.
      difference: in the metric's unit; None without values.
      interval: 95%, of the difference; not corrected for the number of comparisons. None where nothing is tested.
      p: of the test, two-sided; None where the values are too few.
      corrected: p by Holm's method over all comparisons: what the verdict goes by.
      comparisons: how many p is corrected for: those tested with the same baseline, or all pairs of groups.
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
    def test(self) -> str | None:
        """The test that took part, a key of :data:`METHODS`; None for too few values, and where all are equal."""
        return None if self.p is None or (not self.difference and not any(self.spreads or ())) else self.method

    @property
    def significant(self) -> bool:
        return self.corrected is not None and self.corrected <= ALPHA

    def power(self, difference: float, more: int = 0) -> float | None:
        """The probability that a true difference of this size is found, if the true spread is the one seen.

        The level is shared by the comparisons (Bonferroni: the strictest step of Holm's). For sign flips, the
        power of a t test at the level that they attain, 2·⌊2^n·α/2⌋/2^n, is right to 0.02, with dozens of comparisons
        to 0.04.

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
        """Whether there is no test, or no spread, from which power could be computed."""
        return self.p is None or not any(self.spreads or ())

    def _power(self, more: int) -> Power:
        alpha, sizes = ALPHA / self.comparisons, [n + more for n in self.sizes]
        if self.paired and self.flips and exact(sizes[0], self.comparisons):
            alpha = 2 * math.floor(2 ** sizes[0] * alpha / 2) / 2 ** sizes[0]
        return Power.of(self.spreads or (), sizes, alpha)


METHODS = {
    "paired t": "scipy.stats.ttest_rel",
    "sign flips": "scipy.stats.permutation_test(permutation_type='samples'), all of them",
    "Welch": "scipy.stats.ttest_ind(equal_var=False)",
    "permutation": "scipy.stats.permutation_test(permutation_type='independent'), all of them",
}
"""The tests, and what in SciPy gives the same p."""


def summary(runs: Sequence[Result], share: bool = False, positive: bool = False) -> Summary:
    """Mean, spread and interval of a group's values.

    Args:
      share: whether the values are shares of examples, in [0, 1].
      positive: whether the values are never below 0.
    """
    values = [(r.seeds, r.value) for r in runs if r.finite and r.value is not None]
    if not values:
        return Summary(0)
    low, high = min(v for _, v in values), max(v for _, v in values)
    seeds = sample(values, RESOLUTION * max(-low, high))
    if seeds.std is None:
        return Summary(seeds.n, seeds.mean, min=low, max=high)
    error, df = seeds.std / math.sqrt(seeds.n), seeds.n - 1
    ends = interval(seeds.mean, error, df, share and 0 <= low <= high <= 1, positive and low >= 0)
    return Summary(seeds.n, seeds.mean, seeds.std, ends, low, high)


def interval(mean: float, error: float, df: int, share: bool, positive: bool = False) -> tuple[float, float]:
    """The 95% interval of a mean: mean ± t·error; of shares, on the scale of log-odds, which never leaves [0, 1].

    Of positive numbers, such as steps to a target, it is cut at 0. As their true mean is not below 0, it holds that
    mean exactly as often as before. The scale of logarithms would keep it above 0, too, but with few seeds it says
    nothing: of 60 and 880 (t = 12.7) the ends would be 470·exp(±11.1), 0.007 and 31 million; cut, they are 0 and 5679.

    The log-odds of the mean, L = ln(m/(1 - m)), have the standard error error/(m·(1 - m)), so that the ends are
    1/(1 + exp(-(L ± t·error/(m·(1 - m))))). Source: E. L. Korn, B. I. Graubard, Confidence intervals for proportions
    with small expected number of positive counts estimated from survey data, Survey Methodology 24 (1998), as
    ``svyciprop(method="logit")`` of R's package survey computes it.

    How often the interval held the true mean, and in how many draws mean ± t·error left [0, 1], in percent (20,000
    draws of each)::

                                            t           log-odds      t left [0, 1]
        n                              3   5  10      3   5  10      3   5  10
        normal, 0.5 ± 0.02            95  95  95     95  95  95      0   0   0
        normal, 0.98 ± 0.01, cut      95  95  95     95  95  95     53   6   0
        Beta(50, 1)                   89  89  90     94  93  93     87  54   3
        0.99 of 100 rows right        94  95  94     94  96  97     85  69  11
        0.97 of 36 rows right         90  95  94     89  97  96     84  64   8

    Cut at 0 and 1, t would hold the mean as often as before; log-odds hold it more often where accuracies near 1 have
    a long tail, and are nearly the same where both ends are far from 0 and 1.
    """
    half = float(critical(df, ALPHA)) * error
    if not share or not error or not 0 < mean < 1:
        return max(mean - half, 0.0) if positive else mean - half, mean + half
    odds, width = float(special.logit(mean)), half / (mean * (1 - mean))
    return float(special.expit(odds - width)), float(special.expit(odds + width))


def compare(groups: Mapping[str, Sequence[Result]], baseline: str, chosen: bool = False) -> list[Comparison]:
    """Every other group against the baseline, in order, with Holm's correction over those that are tested.

    Args:
      chosen: whether the results chose the baseline, as the best group. Then any pair of the groups could have been
        compared, and p is corrected for all of these pairs: with false alarms held at 5% whichever group is the best.
    """
    untested = [_untested(name, runs, baseline, groups[baseline]) for name, runs in groups.items() if name != baseline]
    tested = sum(min(c.sizes) >= FEWEST for c, _, _ in untested)
    family = tested * (tested + 1) // 2 if chosen else tested
    results = [_tested(replace(c, comparisons=max(family, 1)), m, samples) for c, m, samples in untested]
    corrected = iter(holm([c.p for c in results if c.p is not None], family))
    return [c if c.p is None else replace(c, corrected=next(corrected)) for c in results]


def _untested(
    name: str, group: Sequence[Result], against: str, base: Sequence[Result]
) -> tuple[Comparison, Match, list[Sample]]:
    """A comparison before its test, and what is tested: the differences of pairs, or the values of both groups."""
    matched = match(group, base)
    sides = list(matched.sides) if matched.pairs is None else [matched.pairs]
    samples = [_sample(side, 2 * matched.equal) for side in sides]
    comparison = Comparison(
        name,
        against,
        "Welch" if matched.pairs is None else "paired t",
        sizes=tuple([s.n for s in samples]),
        missing=(sum(not r.finite for r in group), sum(not r.finite for r in base)),
        unpaired=matched.left,
        repeats=matched.repeats,
        flips=all(s.values is not None for s in samples),
        apart=matched.apart,
        shared=matched.shared,
        few=matched.few,
    )
    return comparison, matched, samples


def _sample(values: Sequence[tuple[Seeds, float]], equal: float) -> Sample:
    return sample(values, equal) if values else Sample(0, 0.0, None, None)


def _tested(c: Comparison, matched: Match, x: Sequence[Sample]) -> Comparison:
    if min(c.sizes) == 0:
        return c
    difference = x[0].mean - (0.0 if c.paired else x[1].mean)
    difference = 0.0 if abs(difference) <= matched.equal else difference
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
    if c.paired and (pairs := x[0].values) is not None and exact(c.sizes[0], c.comparisons):
        p, interval = sign_flips(pairs, matched.equal)
        return replace(c, method="sign flips", p=p, interval=interval)
    error, df = standard_error(c.spreads or (), c.sizes)
    half = critical(df, ALPHA) * error
    p = float(2 * special.stdtr(df, -abs(difference) / error))
    return replace(c, p=p, interval=(float(difference - half), float(difference + half)))


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
