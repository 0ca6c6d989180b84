"""How fast a run is trained."""

import operator
from collections import deque
from dataclasses import dataclass
from typing import Any

WINDOW = 30.0  # seconds of training


@dataclass
class Pace:
    """Steps per second of training over the last :data:`WINDOW` seconds of it, in this process.

    Seconds in which the program is compiled, evaluated or saved count for nothing. This is what is shown while a run
    trains, and what run.json has in the end.

    Args:
      stack: how many runs are trained side by side, this one included.
      steps: of this run.
    """

    stack: int = 1
    steps: int = 0

    def __post_init__(self) -> None:
        self._recent: deque[tuple[int, int, float]] = deque()  # steps, steps of all runs in the stack, and seconds
        self._sums = (0, 0, 0.0)  # of these

    def add(self, steps: int, seconds: float, runs: int = 1) -> None:
        """Adds a dispatch that trained each of ``runs`` runs for ``steps`` steps in ``seconds``."""
        self.steps += steps
        self._recent.append((steps, steps * runs, seconds))
        self._sums = tuple(map(operator.add, self._sums, self._recent[-1]))
        while self._sums[2] - self._recent[0][2] >= WINDOW:
            self._sums = tuple(map(operator.sub, self._sums, self._recent.popleft()))

    def rate(self, which: int = 0) -> float | None:
        """Steps per second of this run, or with ``which=1`` of all runs of its stack; None before there are any."""
        return self._sums[which] / self._sums[2] if self._sums[2] > 0 else None

    @property
    def facts(self) -> dict[str, Any]:
        """Fields of run.json: steps per second of this run, and of all runs of its stack together."""
        rates = {"steps_per_second": self.rate(), "stack_steps_per_second": self.rate(1)}
        return {"stack": self.stack} | {k: None if rate is None else round(rate, 3) for k, rate in rates.items()}
