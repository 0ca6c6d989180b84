"""The curves of runs and their means, as numbers: along steps, epochs, examples or seconds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlrun.compare.axes import Axis, per_step
from dlrun.compare.groups import Group
from dlrun.compare.measures import SHARES
from dlrun.runs.run import Run


class Line(NamedTuple):
    """A curve: places on the axis, values, how far they spread to either side, and over how many seeds; arrays of one
    shape."""

    x: np.ndarray
    values: np.ndarray
    spread: np.ndarray
    n: np.ndarray

    @property
    def most(self) -> int:
        """How many seeds it is a mean of, where all are there."""
        return int(self.n.max(initial=0))

    def band(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """The lower and upper edge of the values ± their spread; of a share such as an accuracy cut at 0 and 1."""
        low, high = self.values - self.spread, self.values + self.spread
        share = metric.endswith(SHARES) and self.values.min(initial=0) >= 0 and self.values.max(initial=0) <= 1
        return (np.maximum(low, 0), np.minimum(high, 1)) if share else (low, high)


def mean_of(group: Group, metric: str, axis: Axis) -> Line:
    """Mean and standard deviation over the seeds of a group; runs of the same seed are averaged first."""
    seeds = [
        [line for run in runs if (line := of_run(run, metric, axis)).x.size] for runs in group.by_seeds(group.completed)
    ]
    means = [mean_line(lines) for lines in seeds if lines]
    return mean_line([Line(m.x, m.values, np.zeros_like(m.values), np.ones_like(m.values)) for m in means])


def mean_line(lines: Sequence[Line]) -> Line:
    """Mean and standard deviation at each place that any curve has, over the curves that reach it.

    A curve reaches from its first place to its last; between its own places it is interpolated.
    """
    if len(lines) == 1:
        return lines[0]
    x = np.unique(np.concatenate([line.x for line in lines])) if lines else np.empty(0)
    there = np.full((len(lines), x.size), np.nan)
    for values, line in zip(there, lines, strict=True):
        values[:] = np.interp(x, line.x, line.values, left=np.nan, right=np.nan)
    n = np.isfinite(there).sum(0)
    known = n > 0  # there may be a gap between runs, if one ended before another began
    x, there, n = x[known], there[:, known], n[known]
    mean = np.nansum(there, 0) / n
    square = np.nansum((there - mean) ** 2, 0)
    return Line(x, mean, np.sqrt(square / np.maximum(n - 1, 1)), n)


def of_run(run: Run, metric: str, axis: Axis) -> Line:
    """A run's curve; of several rows at the same place, the last counts. Empty where the axis is not known."""
    scale = per_step(run, axis)
    found = {
        seconds if axis == "seconds" else step * scale: value
        for step, seconds, value in run.series(metric)
        if scale and abs(value) < 1e100  # its square is finite
    }
    x, values = np.array(sorted(found.items()), float).reshape(-1, 2).T
    return Line(x, values, np.zeros_like(values), np.ones_like(values))
