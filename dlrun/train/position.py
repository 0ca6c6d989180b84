"""The position of a run in training: what resuming needs beside the arrays of the state."""

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Position:
    """How far a run is, and what its evaluations came to. Each method gives a new position.

    Args:
      step: optimizer steps taken.
      evaluated: step of the last evaluation, -1 before the first.
      best: best value of the metric that chooses, and the step it was seen at.
      mark: the value that the next one must exceed by ``min_delta`` to be an improvement: that of the last improvement.
      stale: evaluations in a row without an improvement.
      lr_scale: what the plateau schedule has multiplied the learning rate by so far.
      plateau: the best score so far, and how many evaluations in a row were no better (from 0 after each reduction).
      seconds: time spent in training so far.
      rows: how many rows of metrics.jsonl a run that is resumed from here keeps; None in a state of an earlier version.
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
    rows: int | None = 0

    @classmethod
    def saved(cls, values: dict[str, Any]) -> "Position":
        """The position that was saved with a state. Raises TypeError where ``values`` are no position."""
        found = cls(**{"rows": None, **values})
        wholes, numbers = (found.step, found.evaluated, found.stale), (found.lr_scale, found.seconds)
        maybe = (found.best, found.mark, found.best_step, found.rows)
        if not (all(map(_is_whole, wholes)) and all(map(_is_number, numbers))):
            raise TypeError("it lacks numbers")
        if any(value is not None and not _is_number(value) for value in maybe) or not _is_plateau(found.plateau):
            raise TypeError("it holds values that are not numbers")
        best, mark, (flat, count) = _finite(found.best), _finite(found.mark), found.plateau
        best_step = None if best is None else found.best_step
        return replace(found, best=best, best_step=best_step, mark=mark, plateau=(_finite(flat), count))

    def trained(self, step: int, seconds: float) -> "Position":
        """The position after training up to ``step``, which took ``seconds``."""
        return replace(self, step=step, seconds=self.seconds + seconds)

    def written(self, rows: int | None = None) -> "Position":
        """The position after another row was written; or with so many rows."""
        return replace(self, rows=rows if rows is not None else self.rows if self.rows is None else self.rows + 1)

    def measured(self, value: float, mode: str, min_delta: float) -> "Position":
        """The position after an evaluation.

        Args:
          value: of the metric that chooses the best state; NaN where there is no result: never best, no improvement.
          mode: ``min`` or ``max``, whichever is better.
          min_delta: by how much it must be better to count as an improvement.
        """
        sign = -1 if mode == "min" else 1
        best, mark = (-math.inf if v is None else sign * v for v in (self.best, self.mark))
        chosen = (value, self.step) if sign * value >= best else (self.best, self.best_step)  # of equal ones the later
        improved = sign * value - mark > min_delta
        return replace(
            self,
            evaluated=self.step,
            best=chosen[0],
            best_step=chosen[1],
            mark=value if improved else self.mark,
            stale=0 if improved else self.stale + 1,
        )

    def on_plateau(self, score: float, *, factor: float, patience: int, min_scale: float) -> "Position":
        """The position after the plateau schedule: multiplies ``lr_scale`` by ``factor`` if ``patience`` runs out.

        Args:
          score: larger is better; NaN is no better than anything.
          patience: evaluations in a row whose score was no better.
        """
        best, flat = self.plateau
        if score > (-math.inf if best is None else best):
            return replace(self, plateau=(score, 0))
        if flat + 1 >= patience:
            return replace(self, plateau=(best, 0), lr_scale=max(min_scale, self.lr_scale * factor))
        return replace(self, plateau=(best, flat + 1))

    def forgotten(self) -> "Position":
        """The position without any results so far, as they were measured on other data."""
        return replace(self, evaluated=-1, best=None, best_step=None, mark=None, stale=0, plateau=(None, 0), rows=0)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_plateau(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return (value[0] is None or _is_number(value[0])) and _is_whole(value[1])


def _finite(value: float | None) -> float | None:
    """The value, or None if it is not finite: an earlier version saved such values."""
    return None if value is None or not math.isfinite(value) else value
