"""The ways in which a run can end before its last step, and what run.json then says."""

import shlex
import signal
from pathlib import Path
from typing import Protocol

from dlrun.check.nonfinite import remedies
from dlrun.program.nonfinite import NonFinite
from dlrun.program.setup import Setup
from dlrun.runs.checkpoint import CheckpointError
from dlrun.runs.lock import Gone


class Stopped(Exception):
    """A signal asked the run to stop, and its state is saved."""

    def __init__(self, signum: int, step: int):
        self.signum = signum
        super().__init__(f"by {signal.Signals(signum).name}; the state of step {step} is saved")


class Pruned(Exception):
    """The pruner of a search gave the run up, and its state is saved."""

    def __init__(self, step: int):
        super().__init__(f"at step {step}: others of its sweep are better")


class Pruner(Protocol):
    """Decides which runs of a search to give up."""

    def report(self, job: int, step: int, value: float) -> None:
        """Takes a run's metric at an evaluation; ``step`` counts evaluations."""

    def prune(self, job: int, step: int) -> bool:
        """Whether to give up the run; asked once all runs that are trained side by side have reported."""
        ...


def advice(error: BaseException | None, setup: Setup, directory: Path) -> str:
    """What a person can do about the end of a run, to follow its message; empty if there is nothing special."""
    if isinstance(error, Stopped):
        return f"; go on with: dlrun resume {shlex.quote(str(directory))}"
    return f"; try {remedies(setup, str(error))}" if isinstance(error, NonFinite) else ""


def is_known(error: BaseException | None) -> bool:
    """Whether an error is an expected one: its message tells all, and no traceback is needed."""
    return error is None or isinstance(error, Stopped | Pruned | NonFinite | CheckpointError | Gone | OSError)


def status_of(error: BaseException | None) -> tuple[str, str | None, int]:
    """The status and the error that run.json gets, and the exit code, for what ended a run."""
    if error is None:
        return "completed", None, 0
    if isinstance(error, Stopped):
        return "stopped", str(error), 128 + error.signum
    if isinstance(error, Pruned):
        return "pruned", str(error), 0
    if isinstance(error, NonFinite):
        return "diverged", str(error), 1
    if isinstance(error, CheckpointError | Gone):
        return "failed", str(error), 1
    if isinstance(error, OSError):
        return "failed", f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""), 1
    if isinstance(error, Exception):
        return "failed", f"{type(error).__name__}: {error}".splitlines()[0], 1
    return "failed", None, 1
