"""How a run can end before its last step, and what its record then says."""

import signal
from typing import Protocol

from dlrun.program.nonfinite import NonFinite
from dlrun.runs.checkpoint import CheckpointError


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


def is_known(error: BaseException | None) -> bool:
    """Whether an error is one that runs are known to end by: its record says all there is to say."""
    return error is None or isinstance(error, Stopped | Pruned | NonFinite | CheckpointError | OSError)


def status_of(error: BaseException | None) -> tuple[str, str | None, int]:
    """Status and error of a run's record, and the exit code, by what ended the run."""
    if error is None:
        return "completed", None, 0
    if isinstance(error, Stopped):
        return "stopped", str(error), 128 + error.signum
    if isinstance(error, Pruned):
        return "pruned", str(error), 0
    if isinstance(error, NonFinite):
        return "diverged", str(error), 1
    if isinstance(error, CheckpointError):
        return "failed", str(error), 1
    if isinstance(error, OSError):
        return "failed", f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""), 1
    if isinstance(error, Exception):
        return "failed", f"{type(error).__name__}: {error}".splitlines()[0], 1
    return "failed", None, 1
