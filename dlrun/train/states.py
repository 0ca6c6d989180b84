"""What the loop asks of the states of runs on the devices, be it one run's or those of several, side by side.

Runs are named by their places: 0, 1, … in the order in which they were given. What is done for several runs at one time
is asked for once, so that it costs one dispatch and one transfer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dlrun.data.feed import Feed
from dlrun.program.compiled import Engine, Evaluation
from dlrun.program.state import TrainState

DISPATCH_SECONDS = 0.1  # as long as one call to the device may take, where several steps are one call

Arrays = dict[str, Any]
"""All that is saved of a run, by path."""


class States(Protocol):
    """The states of runs of one program, which all stand at the same step.

    Args:
      engine: of their program.
      eval_size: examples that are evaluated at a time.
    """

    engine: Engine

    @property
    def eval_size(self) -> int: ...

    def start(self, saved: Mapping[int, Arrays | None]) -> None:
        """Takes the state of each run: its saved arrays, or None before the first step.

        Raises :class:`~dlrun.runs.checkpoint.CheckpointError` where arrays don't fit.
        """

    def advance(self, step: int, until: int) -> tuple[int, float | None]:
        """Trains all in one dispatch from ``step`` towards ``until``, in the same epoch.

        Gives the step that they came to, and how many seconds it took; None for the first, which compiles.
        """
        ...

    def evaluate(self, split: str, places: Sequence[int], stopped: Callable[[], bool]) -> dict[int, Evaluation]:
        """What comes of a split for some runs; nothing if ``stopped``, which is asked between dispatches, says so."""
        ...

    def totals(self, places: Sequence[int]) -> dict[int, tuple[dict[str, Any], float | None]]:
        """Training metrics since :meth:`reset`, and the loss scale."""
        ...

    def reset(self, places: Sequence[int]) -> None:
        """Training metrics begin anew."""

    def scale(self, scales: Mapping[int, float]) -> None:
        """Sets what learning rates are multiplied by, where the schedule follows the validation metric."""

    def health(self, places: Sequence[int]) -> dict[int, tuple[int, dict[str, Any]]]:
        """How many steps were skipped, and by path which parameters and statistics are not finite."""
        ...

    def arrays(self, places: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
        """Copies of all that is saved."""
        ...

    def place(self, saved: Mapping[int, Arrays]) -> None:
        """Takes saved arrays into the places of some runs. Raises CheckpointError where they don't fit."""

    def state(self, place: int) -> TrainState:
        """The state of one run."""
        ...

    def feed(self, place: int) -> Feed:
        """What gives the rows of one run."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Goes on with these runs alone: the others have ended."""

    def close(self) -> None:
        """Lets go of what reads in the background."""


def dispatched(most: int, step_seconds: float | None) -> int:
    """How many steps of so many the next dispatch takes: no more than a signal can wait for; one for the first."""
    return 1 if step_seconds is None else max(1, min(most, int(DISPATCH_SECONDS / step_seconds)))
