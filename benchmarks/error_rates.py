"""How often ``dlrun compare`` finds a difference where there is none, and how often it finds one that there is.

    python benchmarks/error_rates.py [DRAWS]

False alarms, in percent at the 5% level, of two groups drawn alike whose runs share seeds: each seed at four learning
rates, all there or a fifth missing, with equal seeds in both groups (pairs) or others; and each seed on each of as many
splits. A run's value is that of its rate, plus its seed's, plus its seed's within the group, plus noise. ``runs``
counts each run (or pair of runs) as independent, ``seeds`` is what dlrun does.

Power: what is promised for a true difference, were the spread known, and in how many of the draws it is found.
"""

import math
import sys
from collections.abc import Callable

import numpy as np

from dlrun.compare.statistics.comparison import Comparison, compare
from dlrun.compare.statistics.significance import ALPHA
from dlrun.compare.statistics.units import Result

RATES, MISSING = 4, 0.2
EFFECTS = {"none": (0.0, 1.0), "weak": (0.5, 1.0), "strong": (1.0, 0.5)}
"""Standard deviation of what a seed does in a group, and of the noise of a run."""
Drawn = Callable[[np.random.Generator, float, float], list[list[Result]]]


def rates(seeds: int, missing: float, paired: bool) -> Drawn:
    """Two groups of seeds at several rates."""

    def draw(rng: np.random.Generator, of_seed: float, noise: float) -> list[list[Result]]:
        shared = rng.normal(size=(seeds, 1))
        values = rng.normal(scale=of_seed, size=(2, seeds, 1)) + rng.normal(scale=noise, size=(2, seeds, RATES))
        values += (shared if paired else rng.normal(size=(2, seeds, 1))) + 3 * np.arange(RATES)
        there = rng.random(values.shape) >= missing
        return [
            [
                Result((s if paired else (group, s),), float(values[group, s, r]), {"optim.lr": r})
                for s in range(seeds)
                for r in range(RATES)
                if there[group, s, r]
            ]
            for group in range(2)
        ]

    return draw


def splits(seeds: int, missing: float, paired: bool) -> Drawn:
    """Two groups of each seed on each split; both have an effect of their own within a group."""

    def draw(rng: np.random.Generator, of_seed: float, noise: float) -> list[list[Result]]:
        shape = (2, seeds, seeds)
        values = rng.normal(scale=noise, size=shape) + rng.normal(scale=of_seed, size=(2, seeds, 1))
        values += rng.normal(scale=of_seed, size=(2, 1, seeds)) + rng.normal(size=(seeds, seeds))
        there = rng.random(shape) >= missing
        name = (lambda group, i: i) if paired else (lambda group, i: (group, i))
        return [
            [
                Result((name(group, s), name(group, p)), float(values[group, s, p]))
                for s in range(seeds)
                for p in range(seeds)
                if there[group, s, p]
            ]
            for group in range(2)
        ]

    return draw


def each(results: list[Result]) -> list[Result]:
    """The same, every run a seed of its own."""
    return [Result(((*r.seeds, *r.others.values()),), r.value) for r in results]


def alarms(draw: Drawn, effect: str, draws: int) -> tuple[float, float]:
    """Shares of false alarms by runs and by seeds."""
    rng, found = np.random.default_rng(0), np.zeros(2)
    for _ in range(draws):
        a, b = draw(rng, *EFFECTS[effect])
        found += [compare({"a": x, "b": y}, "b")[0].significant for x, y in ((each(a), each(b)), (a, b))]
    runs, seeds = found / draws
    return float(runs), float(seeds)


def power(sizes: tuple[int, ...], spreads: tuple[float, ...], comparisons: int, promised: float, draws: int) -> float:
    """The share of draws in which the difference is found that is found with the probability promised."""
    known = Comparison("a", "b", "", sizes, spreads, p=0.5, comparisons=comparisons)
    rng, found = np.random.default_rng(1), 0
    difference = known._power(0).detectable(promised)
    for _ in range(draws):
        sides = [rng.normal(size=n) * s for n, s in zip(sizes, spreads, strict=True)]
        a = [Result((("a" * (len(sizes) > 1), i),), difference + float(x)) for i, x in enumerate(sides[0])]
        b = [Result((("", i),), float(x)) for i, x in enumerate(sides[1] if sides[1:] else np.zeros(sizes[0]))]
        # The others are far off: what is left is the strictest step of Holm's.
        far = {
            str(i): [r._replace(value=r.value + 1e3 * (-1) ** k) for k, r in enumerate(b)]
            for i in range(1, comparisons)
        }
        p = compare({"a": a, **far, "b": b}, "b")[0].p
        found += p is not None and p <= ALPHA / comparisons
    return found / draws


def main(draws: int) -> None:
    print("false alarms, %                    seed's effect:  none         weak         strong")
    print("                                                   runs seeds   runs seeds   runs seeds")
    for name, design, sizes in (("seeds x 4 rates", rates, (3, 5, 12)), ("seeds x as many splits", splits, (3, 5))):
        for paired in (True, False):
            for n in sizes:
                for missing in (0.0, MISSING):
                    cells = [alarms(design(n, missing, paired), effect, draws) for effect in EFFECTS]
                    said = f"{n:2} {name}, {'pairs' if paired else 'no pairs'}{', a fifth missing' * (missing > 0)}"
                    print(f"{said:50}", "   ".join(f"{100 * a:4.1f} {100 * b:5.1f}" for a, b in cells), flush=True)
    print("\npower: promised, found")
    grid = [(n,) for n in (3, 5, 7, 8, 10, 14, 20)] + [(3, 3), (5, 5), (3, 8), (10, 20), (20, 20)]
    worst = 0.0
    for sizes in grid:
        for spreads in [(1.0,)] if len(sizes) == 1 else [(1.0, 1.0), (1.0, 3.0), (3.0, 1.0)]:
            for comparisons in (1, 4):
                found = [power(sizes, spreads, comparisons, p, draws) for p in (0.4, 0.8)]
                worst = max(worst, abs(found[0] - 0.4), abs(found[1] - 0.8))
                said = f"{':'.join(map(str, sizes))} spreads {spreads} comparisons {comparisons}"
                print(f"{said:50} 0.40 {found[0]:.3f}   0.80 {found[1]:.3f}", flush=True)
    print(f"largest error {worst:.3f}; of a share of {draws} draws, 3 standard errors are {1.5 / math.sqrt(draws):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
