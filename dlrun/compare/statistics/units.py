"""From runs to the values that are tested: which values are independent, and which runs of two groups match.

Runs that share a seed share its luck, whatever else they differ in: they are one value, their mean, and not several.
With one key of seeds, there are as many values as seeds. With several (``seed`` and ``split.seed``):

- seeds that are nested in those of another key, as where each split has seeds of its own, add nothing: the runs of a
  split are one value;
- seeds that are crossed (each seed on each split) have a spread by each key, and these add: the variance of a mean is
  s²/n by the one plus s²/n by the other. This counts noise that comes from neither twice, so it is rather too large
  than too small. The values are tested as if there were as many as the key with fewer values has.

Two groups are compared where they match. A key of which they have no value in common, as where all runs of one group
have one learning rate and all of the other have another, can't match, and is named. For any other key, runs with a
value that only one group has are left out and counted.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

__all__ = ["LARGEST", "RESOLUTION", "Match", "Result", "Sample", "match", "sample", "units"]

RESOLUTION, TINIEST, LARGEST = 2.0**-23, 2.0**-149, (2 - 2.0**-23) * 2.0**127
"""Of float32: the relative distance of neighbours, the smallest positive and the largest number."""
FEWEST, SHARE = 3, 2 / 3
"""Pairs are used where there are at least this many, and they cover this share of the smaller group."""

Seeds = tuple[Hashable, ...]
Key = TypeVar("Key", bound=Hashable)
Values = list[tuple[Seeds, float]]


class Result(NamedTuple):
    """What came out of a run.

    Args:
      seeds: its seeds, by which it is paired; every run has the same number of them.
      value: of the quantity that is compared; None where the run has none.
      others: its values of all other keys in which the runs of a comparison may differ.
    """

    seeds: Seeds
    value: float | None
    others: Mapping[str, Hashable] = {}

    @property
    def finite(self) -> bool:
        return self.value is not None and abs(self.value) <= LARGEST


class Sample(NamedTuple):
    """Independent values.

    Args:
      n: how many there are.
      mean: of all.
      std: their standard deviation; None for less than two.
      values: the means of seeds; None where several seeds vary independently.
    """

    n: int
    mean: float
    std: float | None
    values: np.ndarray | None


@dataclass(frozen=True)
class Match:
    """Two groups, reduced to the values that can be compared.

    Args:
      pairs: the differences of pairs, with their seeds; None where there are too few pairs.
      sides: the values of each group, with their seeds.
      left: how many finite values match nothing in the other group, and are left out.
      repeats: how many runs repeat another run of their group, with the same seeds and all else.
      apart: keys of which the groups have no value in common, and the values of each.
      shared: keys of which they have only some values in common, and these values.
      largest: the largest magnitude of all values.
      few: how many seeds match, where they are too few for pairs; else 0.
    """

    pairs: Values | None
    sides: tuple[Values, Values]
    left: int = 0
    repeats: int = 0
    apart: dict[str, tuple[list[Hashable], list[Hashable]]] = field(default_factory=dict)
    shared: dict[str, list[Hashable]] = field(default_factory=dict)
    largest: float = 0.0
    few: int = 0

    @property
    def equal(self) -> float:
        """Numbers that differ by less than this count as equal."""
        return max(RESOLUTION * self.largest, TINIEST)


def sample(values: Sequence[tuple[Seeds, float]], equal: float) -> Sample:
    """Reduces the values of runs, at least one, to independent values.

    Args:
      equal: values that all lie within this have no spread: only rounding tells them apart.
    """
    by_seeds = _means(values)
    keys = _independent(list(by_seeds))
    parts = [np.array(list(_means([(s[k], v) for s, v in by_seeds.items()]).values())) for k in keys]
    spreads = [None if len(x) < 2 else 0.0 if np.ptp(x) <= equal else float(x.std(ddof=1)) for x in parts]
    if len(parts) == 1:
        return Sample(len(parts[0]), float(parts[0].mean()), spreads[0], parts[0])
    n = min(map(len, parts))
    variance = sum((s or 0.0) ** 2 / len(x) for s, x in zip(spreads, parts, strict=True))
    return Sample(n, math.fsum(by_seeds.values()) / len(by_seeds), math.sqrt(n * variance), None)


def units(seeds: Iterable[Seeds]) -> int:
    """How many independent values there are in runs with these seeds."""
    distinct = list(dict.fromkeys(seeds))
    return min((len({s[k] for s in distinct}) for k in _independent(distinct)), default=0)


def match(group: Sequence[Result], baseline: Sequence[Result]) -> Match:
    """Finds the values of two groups that can be compared.

    These are pairs, if there are three or more (or all that the smaller group has) and they cover at least two thirds
    of the smaller group. Of each group, the seeds are counted of runs whose other keys the other group has too. With
    fewer pairs, what is left out would cost more power than pairing brings, unless seeds decide most of a value (a
    correlation of 0.6 at four pairs of six and six). Otherwise they are the runs of both groups that match in all but
    the seeds.
    """
    sides = [[r for r in side if r.finite] for side in (group, baseline)]
    repeats = sum(len(side) - len({(r.seeds, *sorted(r.others.items(), key=_first)) for r in side}) for side in sides)
    apart, shared = _keys(*sides)
    a, b = ([(r.seeds, _cell(r, apart), r.value or 0.0) for r in side] for side in sides)
    largest = max((abs(v) for _, _, v in (*a, *b)), default=0.0)
    left, right = (_means([((seeds, cell), v) for seeds, cell, v in side]) for side in (a, b))
    both = [key for key in left if key in right]
    cells = {cell for _, cell in left} & {cell for _, cell in right}
    smaller = min(len({seeds for seeds, cell in side if cell in cells}) for side in (left, right))
    matching = len({seeds for seeds, _ in both})
    if matching >= max(1, min(FEWEST, smaller), smaller * SHARE):
        pairs, kept = [(key[0], left[key] - right[key]) for key in both], set(both)
        left, right = ({key: side[key] for key in both} for side in (left, right))
        lost = sum((seeds, cell) not in kept for seeds, cell, _ in (*a, *b))
    else:
        pairs = None
        if left and right:
            left, right = ({key: v for key, v in side.items() if key[1] in cells} for side in (left, right))
        lost = sum(cell not in cells for _, cell, _ in (*a, *b)) if a and b else 0
    x, y = ([(seeds, value) for (seeds, _), value in side.items()] for side in (left, right))
    return Match(pairs, (x, y), lost, repeats, apart, shared, largest, matching if pairs is None else 0)


def _keys(
    a: Sequence[Result], b: Sequence[Result]
) -> tuple[dict[str, tuple[list[Hashable], list[Hashable]]], dict[str, list[Hashable]]]:
    """The keys whose values no run of the one group shares with the other, and those that only some share."""
    if not a or not b:
        return {}, {}
    names = dict.fromkeys(name for r in (*a, *b) for name in r.others)
    values = {name: tuple(list(dict.fromkeys(r.others.get(name) for r in side)) for side in (a, b)) for name in names}
    apart = {name: (x, y) for name, (x, y) in values.items() if not set(x) & set(y)}
    if not {_cell(r, apart) for r in a} & {
        _cell(r, apart) for r in b
    }:  # each key has common values, but no combination of all is common
        return {name: (x, y) for name, (x, y) in values.items() if len({*x, *y}) > 1}, {}
    shared = {name: [v for v in x if v in y] for name, (x, y) in values.items() if set(x) != set(y)}
    return apart, {name: common for name, common in shared.items() if name not in apart}


def _cell(result: Result, apart: Mapping[str, object]) -> tuple[tuple[str, Hashable], ...]:
    """A run's values that have to match those of its partner, beside the seeds."""
    if not result.others:
        return ()
    return tuple(sorted(((k, v) for k, v in result.others.items() if k not in apart), key=_first))


def _first(item: tuple[str, Hashable]) -> str:
    return item[0]


def _independent(seeds: Sequence[Seeds]) -> list[int]:
    """Which keys of seeds vary, and are nested in no other: of those that determine each other, the first."""
    every = range(len(seeds[0])) if seeds else range(0)
    varying = [k for k in every if len({s[k] for s in seeds}) > 1] or list(every)[:1]
    count: Callable[..., int] = lambda *keys: len({tuple([s[k] for k in keys]) for s in seeds})  # noqa: E731
    kept: list[int] = []
    for k in sorted(varying, key=count):  # those of few values first: others may be nested in these
        if not any(count(k, other) == count(k) for other in kept):
            kept.append(k)
    return kept


def _means(values: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    by_key: dict[Key, list[float]] = defaultdict(list)
    for key, value in values:
        by_key[key].append(value)
    return {key: math.fsum(some) / len(some) for key, some in by_key.items()}
