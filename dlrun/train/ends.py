"""How a run can end before its last step."""

import signal
from typing import Protocol


class Stopped(Exception):
    """A signal asked the run to stop, and its state is saved."""

    def __init__(self, signum: int, step: int):
        self.signum = signum
        super().__init__(f"by {signal.Signals(signum).name}; the state of step {step} is saved")


class Pruned(Exception):
    """A search gave the run up, and its state is saved."""

    def __init__(self, step: int):
        super().__init__(f"at step {step}: others of its sweep are better")


class Pruner(Protocol):
    """Decides which runs of a search are worth going on with."""

    def report(self, job: int, step: int, value: float) -> None:
        """A run's metric at an evaluation."""

    def prune(self, job: int, step: int) -> bool:
        """Whether the run is to be given up, now that all runs that train along with it have reported."""
        ...
