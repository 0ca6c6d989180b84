"""What is measured of each run: a metric at some point, or how long it took to reach a target."""

from dataclasses import dataclass

from dlrun.compare.verdict import Measure
from dlrun.errors import InvalidConfig, nearest, show
from dlrun.runs.metric_names import SPLITS
from dlrun.runs.run import At, Run, usual
from dlrun.runs.runs import Runs

SHARES = ("accuracy", "top5", "f1")
"""Metrics that are shares between 0 and 1: their differences are given in points (hundredths)."""


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number of each run.

    Args:
      name: as the head of a column, such as ``val/accuracy``.
      measure: which of its values are better, and how they are shown.
      values: by run; None if a run has none.
      metric: the metric that it comes from.
    """

    name: str
    measure: Measure
    values: dict[Run, float | None]
    metric: str

    def missing(self, runs: Runs) -> list[Run]:
        """The runs that have no value."""
        return [run for run in runs if self.values[run] is None]

    def rank(self, run: Run) -> float | None:
        """A number to sort by, smaller if a run is better; None if it has no value."""
        value = self.values[run]
        return -value if value is not None and self.measure.better == "max" else value


def metric(runs: Runs, name: str, at: At) -> Quantity:
    """A metric at some point of each run; see :meth:`Run.metric`."""
    name = full(runs, name)
    when = "" if at == usual(name) else f" at step {at}" if isinstance(at, int) else f" at {at}"
    measure = Measure(runs.direction(name), share=name.endswith(SHARES))
    return Quantity(name + when, measure, dict(zip(runs, runs.metric(name, at), strict=True)), name)


def until(runs: Runs, name: str, target: float) -> list[Quantity]:
    """Two quantities: the steps, and the seconds of training, after which a metric is first as good as a target."""
    name = full(runs, name)
    sign = "≤" if runs.direction(name) == "min" else "≥"
    times = runs.time_to(name, target)
    quantities = []
    for i, unit in enumerate(("steps", "seconds")):
        values = [None if reached is None else float(reached[i]) for reached in times]
        measure = Measure(
            "min", positive=True, unit="s" if unit == "seconds" else unit, lacking="that did not reach it"
        )
        quantities.append(
            Quantity(f"{unit} to {name} {sign} {target:g}", measure, dict(zip(runs, values, strict=True)), name)
        )
    return quantities


def full(runs: Runs, name: str) -> str:
    """The full name of a metric, as :meth:`Runs.column`. Raises :class:`InvalidConfig` if no run has it."""
    for whole in (name, *(f"{split}/{name}" for split in SPLITS)):
        if whole in runs.metrics:
            return whole
    known = ", ".join(runs.metrics) or "none"
    raise InvalidConfig([f"{show(name)}: no such metric{nearest(name, runs.metrics)}; known: {known}"])
