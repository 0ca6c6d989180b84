"""Where a run stands, beside its arrays: what resuming needs."""

import math
from dataclasses import dataclass


@dataclass
class Position:
    """Where a run stands, beside its arrays: what resuming needs.

    Args:
      step: optimizer steps taken.
      evaluated: step of the last evaluation, -1 before the first.
      best: best value of the metric that chooses, and the step it was seen at.
      mark: the value that an improvement is measured from: the last one that exceeded the one before by ``min_delta``.
      stale: evaluations in a row without an improvement.
      lr_scale: what the plateau schedule has multiplied the learning rate by so far.
      plateau: the best value since it last did, and how many evaluations in a row were no better.
      seconds: time spent in training so far.
    """

    step: int = 0
    evaluated: int = -1
    best: float | None = None
    best_step: int | None = None
    mark: float | None = None
    stale: int = 0
    lr_scale: float = 1.0
    plateau: tuple[float | None, int] = (None, 0)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Of a state that an earlier version saved, values that are not finite are none."""

        def known(value: float | None) -> float | None:
            return None if value is None or not math.isfinite(value) else value

        self.best, self.mark = known(self.best), known(self.mark)
        self.best_step = None if self.best is None else self.best_step
        self.plateau = (known(self.plateau[0]), self.plateau[1])

    def forget(self) -> None:
        """What was measured so far counts no more: it was on other data."""
        self.evaluated, self.best, self.best_step, self.mark, self.stale = -1, None, None, None, 0
        self.plateau = (None, 0)

    def lower_on_plateau(self, score: float, *, factor: float, patience: int, min_scale: float) -> None:
        """Lowers ``lr_scale`` by ``factor`` after ``patience`` evaluations in a row whose score was no better.

        NaN is no better than anything.
        """
        best, flat = self.plateau
        if score > (-math.inf if best is None else best):
            self.plateau = (score, 0)
            return
        flat += 1
        if flat >= patience:
            self.lr_scale, flat = max(min_scale, self.lr_scale * factor), 0
        self.plateau = (best, flat)
