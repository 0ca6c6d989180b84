"""What is independent in a comparison, and what is held against what: against NumPy and scipy by hand."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from dlrun.compare.statistics.comparison import Comparison, compare, summary
from dlrun.compare.statistics.units import Result, sample, units
from dlrun.compare.verdict import Measure, verdict

DRAWS = 600
RATES = (0.001, 0.01, 0.1, 1.0)


def at_rates(values: np.ndarray, rates: Any = RATES, first: int = 0) -> list[Result]:
    """Runs by seed (from ``first`` on) and learning rate."""
    table = [(s, r, float(v)) for s, row in enumerate(values, first) for r, v in zip(rates, row, strict=True)]
    return [Result((s,), v, {"optim.lr": r}) for s, r, v in table if v == v]


def compared(group: list[Result], baseline: list[Result]) -> Comparison:
    (found,) = compare({"a": group, "b": baseline}, "b")
    return found


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# Seeds at several rates


def test_the_runs_of_a_seed_are_a_pair_with_those_of_its_partner() -> None:
    a, b = drawn(2, 5, 4)
    found = compared(at_rates(a), at_rates(b))
    expected = stats.ttest_rel(a.mean(1), b.mean(1))
    assert (found.method, found.sizes, found.unpaired) == ("paired t", (5,), 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_seeds_without_partner_are_compared_by_their_means() -> None:
    a, b = drawn(5, 4), drawn(6, 4, seed=1)
    found = compared(at_rates(a), at_rates(b, first=100))
    expected = stats.ttest_ind(a.mean(1), b.mean(1), equal_var=False)
    assert (found.method, found.sizes) == ("Welch", (5, 6))
    assert found.p == pytest.approx(expected.pvalue)


def test_runs_that_are_missing_take_their_partners_along() -> None:
    a, b = drawn(2, 4, 4)
    b = b + 100 * np.arange(4)  # a rate matters far more than all else
    a = a + 100 * np.arange(4)
    a[0, 1] = a[2, 3] = b[2, 0] = np.nan
    found = compared(at_rates(a), at_rates(b))
    expected = stats.ttest_1samp(np.nanmean(a - b, axis=1), 0)
    assert (found.sizes, found.unpaired) == ((4,), 3)
    assert found.p == pytest.approx(expected.pvalue)


def test_a_group_is_summed_up_by_seeds() -> None:
    a = drawn(5, 4)
    found, means = summary(at_rates(a)), a.mean(1)
    assert (found.n, found.mean, found.std) == (5, pytest.approx(means.mean()), pytest.approx(means.std(ddof=1)))
    assert found.interval == pytest.approx(tuple(stats.ttest_1samp(means, 0).confidence_interval()))
    assert (found.min, found.max) == (a.min(), a.max())


@pytest.mark.parametrize("n", [3, 5, 12])
@pytest.mark.parametrize("first", [0, 100], ids=["pairs", "no pairs"])
def test_false_alarms_of_seeds_at_several_rates(n: int, first: int) -> None:
    """A third, were each run a pair of its own."""
    rng, alarms = np.random.default_rng(n), 0
    for _ in range(DRAWS):
        both = 2 * rng.normal(size=(2, n, 1)) + rng.normal(size=(2, n, 4))
        both[rng.random(both.shape) < 0.1] = np.nan
        alarms += compared(at_rates(both[0]), at_rates(both[1], first=first)).significant
    assert alarms / DRAWS <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / DRAWS)


# What differs beside


def test_groups_at_one_rate_each_are_paired_by_seed_and_it_is_said() -> None:
    a, b = drawn(2, 5, 1)
    found = compared(at_rates(a, [0.1]), at_rates(b, [0.01]))
    assert found.p == pytest.approx(stats.ttest_rel(a[:, 0], b[:, 0]).pvalue)
    assert (found.apart, found.shared, found.unpaired) == ({"optim.lr": ([0.1], [0.01])}, {}, 0)


def test_groups_of_other_rates_are_compared_by_the_means_of_their_seeds() -> None:
    a, b = drawn(2, 5, 2)
    found = compared(at_rates(a, [0.1, 1.0]), at_rates(b, [0.01, 0.001]))
    assert found.p == pytest.approx(stats.ttest_rel(a.mean(1), b.mean(1)).pvalue)
    assert (found.apart, found.repeats) == ({"optim.lr": ([0.1, 1.0], [0.01, 0.001])}, 0)


@pytest.mark.parametrize("first", [0, 100])
def test_groups_are_compared_at_the_rates_that_both_have(first: int) -> None:
    a, b = drawn(2, 5, 2)
    found = compared(at_rates(a, [0.1, 0.01]), at_rates(b, [0.01, 0.001], first=first))
    test = stats.ttest_ind if first else stats.ttest_rel
    expected = test(a[:, 1], b[:, 0], **({"equal_var": False} if first else {}))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.apart, found.shared, found.unpaired) == ({}, {"optim.lr": [0.01]}, 10)


@pytest.mark.parametrize("swapped", [False, True])
def test_seeds_at_what_the_other_group_lacks_break_no_pairs(swapped: bool) -> None:
    a, b, more = drawn(3, 1), drawn(6, 1, seed=1), drawn(3, 1, seed=2)
    relu, gelu = at_rates(b, [20]), at_rates(a, [20])
    extra = at_rates(more, [21], first=3)
    sides = [[*gelu, *extra], relu]
    found = compared(*(sides[::-1] if swapped else sides))
    expected = stats.ttest_rel(*((b[:3, 0], a[:, 0]) if swapped else (a[:, 0], b[:3, 0])))
    assert (found.method, found.sizes, found.unpaired, found.few) == ("paired t", (3,), 6, 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    alone = compared(*((relu, gelu) if swapped else (gelu, relu)))
    assert (found.p, found.interval, found.difference) == (alone.p, alone.interval, alone.difference)
    assert found.shared == {"optim.lr": [20]}


def test_seeds_that_match_and_are_too_few_for_pairs_are_counted() -> None:
    a, b = drawn(2, 6, 1)
    found = compared(at_rates(a, [20]), at_rates(b, [20], first=4))
    assert (found.method, found.sizes, found.few) == ("Welch", (6, 6), 2)
    assert found.p == pytest.approx(stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).pvalue)
    assert "(unpaired as only 2 match, 6 and 6 seeds, p = " in verdict(found, Measure())
    assert "(unpaired as only 1 matches, 6 and 6 " in verdict(
        compared(at_rates(a, [20]), at_rates(b, [20], first=5)), Measure()
    )
    assert "(unpaired, 6 and 6 seeds, p" in verdict(compared(at_rates(a, [20]), at_rates(b, [20], first=6)), Measure())


def test_keys_that_match_one_by_one_and_not_together() -> None:
    def at(values: np.ndarray, decay: dict[float, float]) -> list[Result]:
        return [r._replace(others={**r.others, "decay": decay[r.others["optim.lr"]]}) for r in at_rates(values, decay)]

    a, b = drawn(2, 4, 2)
    found = compared(at(a, {0.1: 0, 0.01: 1}), at(b, {0.1: 1, 0.01: 0}))
    assert set(found.apart) == {"optim.lr", "decay"}
    assert found.p == pytest.approx(stats.ttest_rel(a.mean(1), b.mean(1)).pvalue)


# Several seeds


def crossed(values: np.ndarray, first: int = 0) -> list[Result]:
    return [Result((s + first, p + first), float(v)) for (s, p), v in np.ndenumerate(values)]


@pytest.mark.parametrize(
    ("seeds", "n"),
    [
        ([(0, 0), (1, 0), (2, 0)], 3),
        ([(0, 0), (0, 1), (0, 2)], 3),
        ([(0, 5), (1, 6), (2, 7)], 3),  # they go together
        ([(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)], 3),  # each split has seeds of its own
        ([(s, p) for s in range(5) for p in range(3)], 3),
        ([(s, p) for s in range(3) for p in range(5)], 3),
        ([(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (0, 3)], 3),
        ([(0, 0)] * 4, 1),
        ([], 0),
    ],
)
def test_how_many_values_seeds_come_to(seeds: list[tuple[int, int]], n: int) -> None:
    assert units(seeds) == n
    values = [(s, float(i)) for i, s in enumerate(seeds)]
    assert not seeds or sample(values, 0.0).n == n


def test_seeds_within_splits_are_averaged() -> None:
    a, b = drawn(2, 4, 3)
    nested = [[Result((10 * p + i, p), float(v)) for (p, i), v in np.ndenumerate(x)] for x in (a, b)]
    assert compared(*nested).p == pytest.approx(stats.ttest_rel(a.mean(1), b.mean(1)).pvalue)


def test_the_spreads_of_seeds_and_of_splits_add() -> None:
    a, b = drawn(2, 4, 5)
    found, d = compared(crossed(a), crossed(b)), a - b
    error = np.sqrt(d.mean(1).var(ddof=1) / 4 + d.mean(0).var(ddof=1) / 5)
    assert (found.sizes, found.method, found.difference) == ((4,), "paired t", pytest.approx(d.mean()))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(d.mean()) / error, 3))
    alone = summary(crossed(a))
    error = np.sqrt(a.mean(1).var(ddof=1) / 4 + a.mean(0).var(ddof=1) / 5)
    assert alone.interval == pytest.approx(
        (a.mean() - stats.t.isf(0.025, 3) * error, a.mean() + stats.t.isf(0.025, 3) * error)
    )


@pytest.mark.parametrize("first", [0, 100], ids=["pairs", "no pairs"])
@pytest.mark.parametrize("effects", [(1, 1), (0, 2)])
def test_false_alarms_of_each_seed_on_each_split(effects: tuple[float, float], first: int) -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        both = (
            rng.normal(size=(2, 4, 9))
            + effects[0] * rng.normal(size=(2, 4, 1))
            + effects[1] * rng.normal(size=(2, 1, 9))
        )
        alarms += compared(crossed(both[0]), crossed(both[1], first)).significant
    assert alarms / DRAWS <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / DRAWS)


# Symmetries

RUN = st.builds(
    lambda seed, split, rate, value: Result((seed, split), value / 64, {"optim.lr": rate}),
    st.integers(0, 4), st.integers(0, 2), st.integers(0, 2), st.integers(-64, 64),
)  # fmt: skip


CROSSED = [Result(seeds, 0.0, {"optim.lr": rate}) for seeds, rate in (((0, 1), 0), ((1, 1), 2), ((2, 1), 0))]
"""Three seeds on one split; a run on another split that matches nothing makes two keys of the seeds."""


@given(
    st.lists(RUN, min_size=1, max_size=30), st.lists(RUN, min_size=1, max_size=30), st.randoms(use_true_random=False)
)
@example([Result((0, 0), 0.0, {"optim.lr": 0}), *CROSSED], CROSSED, Random(0))
@settings(max_examples=60, deadline=None)
def test_the_order_of_runs_and_of_groups_means_nothing(a: list[Result], b: list[Result], random: Any) -> None:
    found = compared(a, b)
    mirrored = compared(random.sample(b, len(b)), random.sample(a, len(a)))
    assert found.sizes == mirrored.sizes[::-1]
    assert (found.unpaired, found.repeats) == (mirrored.unpaired, mirrored.repeats)
    assert found.p == pytest.approx(mirrored.p)
    assert found.difference == (None if mirrored.difference is None else pytest.approx(-mirrored.difference))
    assert min(found.sizes) <= min(max(len({r.seeds[k] for r in side}) for k in (0, 1)) for side in (a, b))
    if not found.unpaired:  # a run that is left out may be all that crossed two keys of seeds
        assert min(found.sizes) <= min(units(r.seeds for r in side) for side in (a, b))
    assert found.p is None or 0 < found.p <= 1
