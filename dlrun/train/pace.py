"""How fast a run is trained."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Pace:
    """How fast a run is trained in this process, compilation aside.

    Args:
      stack: runs that are trained side by side, itself included.
    """

    stack: int = 1
    steps: int = 0
    run_steps: int = 0
    seconds: float = 0.0

    def add(self, steps: int, seconds: float, runs: int = 1) -> None:
        """So many steps of each of ``runs`` took so long."""
        self.steps += steps
        self.run_steps += steps * runs
        self.seconds += seconds

    @property
    def facts(self) -> dict[str, Any]:
        """Fields of run.json: steps a second of the run, and of all that were trained side by side with it."""
        rates = {"steps_per_second": self.steps, "stack_steps_per_second": self.run_steps}
        return {"stack": self.stack} | {
            k: round(n / self.seconds, 3) if self.seconds else None for k, n in rates.items()
        }
