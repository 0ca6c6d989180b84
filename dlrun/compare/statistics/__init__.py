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

The unit is the seed, as all runs of a seed share its luck. False alarms of seeds at four learning rates each, with
normal values (4,000 times, ``benchmarks/error_rates.py``): if each run were a pair of its own ("by runs"), and as they
are tested here ("by seeds")::

                                     by runs             by seeds            no pairs, by seeds
    seeds                            3     5     12      3     5     12      3     5     12
    no effect of a seed in a group   4.7   5.3   4.5     4.8   5.0   4.7     3.3   4.8   4.9
    half as large as the noise      12.4  13.0  10.8     5.1   4.7   4.7     3.3   4.7   4.6
    twice as large                  35.3  33.2  29.6     5.6   4.4   4.8     3.4   4.5   4.9
    the same, a fifth of runs gone  25.1  24.6  22.5     5.5   4.5   4.7     3.4   4.0   4.6

With each of 3 or 5 seeds on each of as many splits, and effects of a seed twice as large as the noise, 27 to 39% of
tests by runs are false alarms, and 1 to 2% as they are tested here (:mod:`dlrun.compare.statistics.units`).

The smallest two-sided p of n sign flips is 2/2^n: below six pairs they can never alarm, nor detect anything. Power for
normal differences of d_z = 1.4, 1.15, 1 at n = 6, 8, 10: t 0.79, 0.79, 0.80; sign flips 0.61, 0.77, 0.80. Hence t for
few pairs, and the exact test, whose level needs no normal distribution, from 2/2^n ≤ 0.01/(number of comparisons) on:
from 8 pairs for one comparison, from 10 for five, and to 14, with 16,384 sign flips. Differences that are all equal
have no t; they are tested by sign flips whatever their number.

Unpaired groups are never compared by permutation: it asks whether the distributions are equal, and where only the
spreads differ (1 to 4, 5:5 runs) it alarms in 8.2% against Welch's 5.7% (8:4 runs: 15.2% against 6.0%), and is no
stronger where they do not (5:5, 2 standard deviations: 0.76 both). No test here is right for few pairs whose
differences are skewed about a mean of zero (exponential: 9 to 11% false alarms).

**Seeds to come.** How many more seeds would show a difference is computed as if the true spread were the one seen. If
it were, power would be what :mod:`dlrun.compare.statistics.power` says; but with few seeds the spread seen is
uncertain, and often too small. Tests of as many new pairs as were suggested for 80% power showed a true difference of
0.5, 0.7, 1.1 standard deviations (d_z) in 63, 70, 74% of cases (after 3 seeds), 74, 78, 84% (5), 75, 79, 92% (8).

**Resolution.** Metrics are float32 in training. Numbers that are closer than float32 can tell apart count as equal:
else rounding would break ties, as between accuracies of few rows, and give differences that are all equal a spread.

Everything is computed by ``scipy.special``, as ``scipy.stats`` does, which takes half a second to import.
"""
