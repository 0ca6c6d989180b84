"""How fast a run is trained."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Pace:
    """Counts steps and seconds of training in this process, without compilation.

    Args:
      stack: how many runs are trained side by side, this one included.
      steps, seconds: of this run.
      run_steps: steps of all runs in the stack, added up.
    """

    stack: int = 1
    steps: int = 0
    run_steps: int = 0
    seconds: float = 0.0

    def add(self, steps: int, seconds: float, runs: int = 1) -> None:
        """Adds a dispatch that trained each of ``runs`` runs for ``steps`` steps in ``seconds``."""
        self.steps += steps
        self.run_steps += steps * runs
        self.seconds += seconds

    @property
    def facts(self) -> dict[str, Any]:
        """Fields of run.json: steps per second of this run, and of all runs of its stack together."""
        rates = {"steps_per_second": self.steps, "stack_steps_per_second": self.run_steps}
        return {"stack": self.stack} | {
            k: round(n / self.seconds, 3) if self.seconds else None for k, n in rates.items()
        }
