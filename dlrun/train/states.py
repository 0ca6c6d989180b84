"""The interface between the loop and the training states on the devices, of one run or several side by side.

Runs are named by their places: 0, 1, … in the order in which they were given. Each method takes all runs that need it,
so that these cost one dispatch and one transfer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from dlrun.data.feed import Feed
from dlrun.program.compiled import CompiledProgram, Evaluation
from dlrun.program.state import TrainState

DISPATCH_SECONDS = 0.1  # how long a call of several steps may take: a signal has to wait for it

Arrays = dict[str, Any]
"""The arrays that are saved of a run, by path."""


class States(Protocol):
    """The states of runs of one program, which all stand at the same step.

    Attributes:
      compiled: their program.
      eval_size: how many examples are evaluated at a time.
    """

    compiled: CompiledProgram

    @property
    def eval_size(self) -> int: ...

    def start(self, saved: Mapping[int, Arrays | None]) -> None:
        """Puts the state of each run on the devices: from its saved arrays, or the initial one for None.

        Raises :class:`~dlrun.runs.checkpoint.CheckpointError` where arrays don't fit.
        """

    def advance(self, step: int, until: int) -> tuple[int, float | None]:
        """Trains all runs by one dispatch from ``step`` towards ``until``, which lies in the same epoch.

        Gives the step that was reached, and how many seconds it took; None for the first dispatch, which compiles.
        """
        ...

    def evaluate(self, split: str, places: Sequence[int], stopped: Callable[[], bool]) -> dict[int, Evaluation]:
        """Evaluates some runs on a split; gives nothing if ``stopped``, called between dispatches, returns True."""
        ...

    def totals(self, places: Sequence[int]) -> dict[int, tuple[dict[str, Any], float | None]]:
        """The sums of the training metrics since :meth:`reset`, and the loss scale, or None without one."""
        ...

    def reset(self, places: Sequence[int]) -> None:
        """Sets the sums of the training metrics to zero."""

    def scale(self, scales: Mapping[int, float]) -> None:
        """Sets the factor of the learning rate, of runs whose schedule follows the validation metric."""

    def health(self, places: Sequence[int]) -> dict[int, tuple[int, dict[str, Any]]]:
        """How many steps were skipped; and for each parameter and statistic, by path, whether it is not finite."""
        ...

    def arrays(self, places: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
        """Copies of the arrays to save."""
        ...

    def place(self, saved: Mapping[int, Arrays]) -> None:
        """Replaces the states of some runs by saved arrays. Raises CheckpointError where these don't fit."""

    def state(self, place: int) -> TrainState:
        """The state of one run."""
        ...

    def feed(self, place: int) -> Feed:
        """The feed of one run, which gives the rows of its batches."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Trains only these runs from now on: the others have ended."""

    def close(self) -> None:
        """Ends the threads that read data in the background."""


def dispatched(most: int, step_seconds: float | None) -> int:
    """How many of ``most`` steps the next dispatch takes: as many as fit into DISPATCH_SECONDS; one if it compiles."""
    return 1 if step_seconds is None else max(1, min(most, int(DISPATCH_SECONDS / step_seconds)))


def evaluated(
    states: States, split: str, sums: Any, step: Callable[..., Any], stopped: Callable[[], bool]
) -> dict[str, Any] | None:
    """The sums over a split's examples; None if ``stopped``, called between dispatches, returns True.

    Args:
      sums: zeros on the devices.
      step: adds some batches to the sums, given these, table, order, first batch and how many batches.
    """
    compiled, size = states.compiled, states.eval_size
    batches = compiled.eval_batches(size)
    most = batches if compiled.setup.program.loop else 1
    for table, order, first, count in states.feed(0).evaluate(split, size, batches, most):
        sums = step(sums, table, order, np.int32(first), np.int32(count))
        if stopped():
            return None
    return jax.device_get(sums)
