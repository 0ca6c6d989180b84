"""Pruning decides well, whatever the order of reports, and costs the best trial nothing."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.sweep.search.pruning import RULES, Halving, History, Hyperband, Median, Pruner, from_state

TOTAL = 27
HALVINGS = (Halving(), Halving(factor=2, min_resource=2), Halving(factor=4))
ALL = (*HALVINGS, Median(), Median(min_resource=5, warmup=2), Hyperband(total=TOTAL), Hyperband(factor=2, total=TOTAL))


def drawn(seed, jobs, levels):
    """Random curves of so many jobs; with few levels there are ties."""
    of = random.Random(seed)
    return [[of.randrange(levels) - levels / 2 for _ in range(TOTAL)] for _ in range(jobs)]


curves = st.builds(drawn, st.integers(0, 9999), st.integers(1, 12), st.sampled_from([2, 5, 100]))
few = settings(max_examples=40)
each_rule = pytest.mark.parametrize("rule", ALL, ids=str)


def lockstep(pruner, values, *, shuffle=None, first=0):
    """Trains jobs side by side, as a stack does; the number of evaluations that each one got."""
    got = dict.fromkeys(range(first, first + len(values)), len(values[0]))
    for step in range(1, len(values[0]) + 1):
        alive = [job for job, last in got.items() if last >= step]
        for order in range(2):
            if shuffle is not None:
                random.Random(shuffle + order).shuffle(alive)
            for job in alive:
                if order == 0:
                    pruner.report(job, step, values[job - first][step - 1])
                elif step < len(values[0]) and pruner.prune(job, step):
                    got[job] = step
    return got


@each_rule
@few
@given(values=curves, shuffle=st.integers(0, 99))
def test_order_does_not_matter(rule, values, shuffle) -> None:
    assert lockstep(Pruner(rule, "max"), values) == lockstep(Pruner(rule, "max"), values, shuffle=shuffle)


@each_rule
@few
@given(values=curves)
def test_minimising_is_maximising_the_negative(rule, values) -> None:
    negative = [[-v for v in curve] for curve in values]
    assert lockstep(Pruner(rule, "max"), values) == lockstep(Pruner(rule, "min"), negative)


@each_rule
@few
@given(values=curves)
def test_who_is_best_at_a_time_is_not_pruned_then(rule, values) -> None:
    """Who leads is never given up; so somebody trains to the end."""
    got = lockstep(Pruner(rule, "max"), values)
    assert TOTAL in got.values()
    for job, last in got.items():
        leader = max(max(values[j][:last]) for j in got if got[j] >= last)
        assert last == TOTAL or max(values[job][:last]) < leader


@each_rule
@few
@given(values=curves, cut=st.integers(1, 12))
def test_a_process_that_starts_with_the_history_decides_the_same(rule, values, cut) -> None:
    whole, first = Pruner(rule, "min"), Pruner(rule, "min")
    for pruner in (whole, first):
        lockstep(pruner, values[:cut])
    second = from_state(json.loads(json.dumps(first.state())))
    assert second.state() == first.state()
    later = values[cut:] or values
    assert lockstep(second, later, first=50) == lockstep(whole, later, first=50)
    first.merge(json.loads(json.dumps(second.state())))
    assert first.history.scores == whole.history.scores
    assert first.history.pruned == whole.history.pruned


@each_rule
def test_reporting_again_changes_nothing(rule) -> None:
    values = [[random.Random(100 * job + step).random() for step in range(TOTAL)] for job in range(9)]
    once, twice = Pruner(rule, "max"), Pruner(rule, "max")
    got = lockstep(once, values)
    lockstep(twice, values)
    for job, last in got.items():  # resumed, and told to stop where it was told before
        for step in range(max(1, last - 3), last + 1):
            twice.report(job, step, values[job][step - 1])
        assert twice.prune(job, last) == (last < TOTAL)
    assert once.state() == twice.state()


@few
@given(st.permutations(range(27)))
def test_halving_keeps_a_third_at_each_rung(quality) -> None:
    got = lockstep(Pruner(Halving(factor=3), "max"), [[float(q)] * TOTAL for q in quality])
    expected = {q: 1 if q < 18 else 3 if q < 24 else 9 if q < 26 else TOTAL for q in range(27)}
    assert {quality[job]: last for job, last in got.items()} == expected


def test_halving_ranks_among_earlier_batches() -> None:
    pruner = Pruner(Halving(factor=3), "max")
    lockstep(pruner, [[10.0] * TOTAL, [11.0] * TOTAL, [12.0] * TOTAL])
    got = lockstep(pruner, [[9.0] * TOTAL, [12.5] * TOTAL, [13.0] * TOTAL], first=3)
    assert got == {3: 1, 4: 3, 5: TOTAL}  # the second of six passes the first rung; at the second it is one of three


def test_halving_ranks_at_the_first_evaluation_after_a_rung() -> None:
    pruner = Pruner(Halving(factor=2, min_resource=4), "max")
    for job, value in enumerate((1.0, 2.0)):
        for step in (3, 6):
            pruner.report(job, step, value)
    assert not pruner.prune(0, 3)
    assert not pruner.prune(1, 6)
    assert pruner.prune(0, 6)


def test_median_takes_the_best_so_far_and_the_others_averages() -> None:
    pruner = Pruner(Median(warmup=3), "min")
    for job, values in enumerate([(5.0, 1.0), (4.0, 4.0), (4.5, 9.0)]):
        for step, value in enumerate(values, 1):
            pruner.report(job, step, value)
    # Averages 3, 4 and 6.75: the median is 4. The best of the last is 4.5.
    assert [pruner.prune(job, 2) for job in range(3)] == [False, False, True]


def test_median_waits() -> None:
    def got(**how):
        return lockstep(Pruner(Median(**how), "max"), [[float(j)] * 9 for j in range(4)])

    assert got(warmup=4) == {0: 1, 1: 1, 2: 9, 3: 9}  # the pruned ones count: not a half of the rest at each step
    assert got(warmup=5) == dict.fromkeys(range(4), 9)
    assert got(min_resource=4) == {0: 4, 1: 4, 2: 9, 3: 9}


def test_hyperband_has_all_brackets_in_their_shares() -> None:
    rule = Hyperband(factor=3, min_resource=1, total=81)
    assert [round(s * 143) for s in rule.shares] == [81, 34, 15, 8, 5]  # the published table of brackets for R = 81
    for first in (0, 17, 4000):
        brackets = [rule.bracket(trial) for trial in range(first, first + 143)]
        assert all(abs(brackets.count(b) - n) <= 3 for b, n in enumerate([81, 34, 15, 8, 5]))
    assert {rule.bracket(trial) for trial in range(8)} >= {0, 1}


def test_hyperband_brackets_start_at_their_rungs() -> None:
    rule = Hyperband(total=TOTAL)
    got = lockstep(Pruner(rule, "max"), [[float(job)] * TOTAL for job in range(60)])
    firsts = {b: min(last for job, last in got.items() if rule.bracket(job) == b) for b in range(4)}
    assert firsts == {0: 1, 1: 3, 2: 9, 3: TOTAL}


def test_a_short_run_has_one_bracket() -> None:
    assert Hyperband(total=2).shares == [1.0]
    assert lockstep(Pruner(Hyperband(total=2), "max"), [[1.0] * 2, [2.0] * 2]) == {0: 1, 1: 2}


@each_rule
def test_seeds_of_a_trial_go_together_by_their_mean(rule) -> None:
    quality = [random.Random(job).random() for job in range(24)]
    seeds = [[q + d] * TOTAL for q in quality for d in (-0.5, 0.75, 0.5)]
    together = lockstep(Pruner(rule, "max", seeds=3), seeds)
    alone = lockstep(Pruner(rule, "max"), [[q + 0.25] * TOTAL for q in quality])
    assert together == {job: alone[job // 3] for job in range(72)}
    assert len(set(alone.values())) > 1


def test_a_trial_is_judged_when_all_its_seeds_have_reported() -> None:
    pruner = Pruner(Halving(factor=2), "max", seeds=2)
    for job, value in enumerate((5.0, 5.0, 0.0)):
        pruner.report(job, 1, value)
    assert not pruner.prune(2, 1)
    pruner.report(3, 1, 1.0)
    assert pruner.prune(2, 1)
    assert pruner.prune(3, 1)
    assert not pruner.prune(0, 1)


@each_rule
@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_is_no_number_is_worst(rule, mode) -> None:
    bad = [[math.nan] * TOTAL, [math.inf] * TOTAL, [-math.inf] * TOTAL]
    pruner = Pruner(rule, mode)
    got = lockstep(pruner, [*bad, *([[1.0] * TOTAL] * 9)])
    assert all(got[job] == TOTAL for job in range(3, 12))
    restored = from_state(json.loads(json.dumps(pruner.state(), allow_nan=False)))
    assert restored.history.scores == pruner.history.scores
    assert any(last < TOTAL for last in got.values())


@pytest.mark.parametrize("rule", [Median(), Halving(), Hyperband(total=TOTAL)], ids=str)
def test_a_step_is_judged_once_not_for_each_run(rule, monkeypatch) -> None:
    computed = []

    def once(history, key, compute, of=History.once):
        return of(history, key, lambda: computed.append(key) or compute())

    monkeypatch.setattr(History, "once", once)
    lockstep(Pruner(rule, "max"), [[float(job)] * TOTAL for job in range(200)])
    assert 0 < len(computed) == len(set(computed)) <= TOTAL


def test_rules_are_named_as_their_classes() -> None:
    assert {type(rule).__name__.lower() for rule in ALL} == set(RULES)
