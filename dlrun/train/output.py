"""All that a run writes into its directory: rows, states, records, log.txt. It holds the directory's lock meanwhile.

The directory may be moved or deleted while the run is trained. By its path the run would then write half a directory
anew, or into somebody else's: so each write first asks whether the lock is still there.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.program.setup import Setup
from dlrun.runs import rundir
from dlrun.runs.lock import Lock, locked
from dlrun.train import sinks
from dlrun.train.ends import Pruned, Stopped
from dlrun.train.keeper import Keeper
from dlrun.train.log_file import LogFile
from dlrun.train.position import Position
from dlrun.train.record import Record


class Output:
    """The files of one run.

    Args:
      directory: the run directory; any path, for a process that writes nothing.
      own_log: whether the run writes its log.txt itself, as runs that share a process do; else the caller does.
      record: see :class:`~dlrun.train.record.Record`: what it takes beside setup and directory.

    Attributes:
      record: None as long as nothing was written into the directory.
    """

    def __init__(self, setup: Setup, directory: Path, own_log: bool, **record: Any):
        self.setup, self.directory = setup, directory
        self.keeper = Keeper(directory / rundir.CHECKPOINTS, setup.plan.settings.checkpoint.keep)
        self.new_record = partial(Record, setup, directory, **record)
        self.record: Record | None = None
        self.sinks: list[Any] = []
        self.log_file = LogFile(directory) if own_log else None
        self.lock: Lock | None = None
        self.held = contextlib.ExitStack()  # the lock, held until the run has ended

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """A context in which log lines go to this run's log.txt."""
        return self.log_file.turn() if self.log_file else contextlib.nullcontext()

    def take_lock(self) -> None:
        """Locks the directory. Raises :class:`~dlrun.runs.lock.InUse` when another process works there."""
        self.lock = self.held.enter_context(locked(self.directory))

    def require(self) -> None:
        """Raises :class:`~dlrun.runs.lock.Gone` where the directory was moved or deleted since it was locked."""
        if self.lock is not None:
            self.lock.require()

    def open_sinks(self, warn: Callable[[str], None]) -> None:
        """Opens metrics.jsonl and the other places for rows; ``warn`` tells the person of one that fails."""
        how, values = self.setup.plan.settings.log, self.setup.plan.values
        others = sinks.Sinks(list(how.sinks), warn, self.directory, how.project, values)
        self.sinks = [sinks.JsonLines(self.directory), others]

    def write(self, row: dict[str, Any]) -> None:
        """Writes a row of metrics."""
        self.require()
        for sink in self.sinks:
            sink.write(row)

    def save(self, at: Position, arrays: dict[str, np.ndarray] | None) -> None:
        """Saves a state; without arrays another process does."""
        self.require()
        self.keeper.save(at, arrays)

    @contextlib.contextmanager
    def closing(self) -> Any:
        """A context for the last records, at whose end the log and the lock are given back."""
        if self.log_file:
            self.held.callback(self.log_file.close)
        with self.held, self.turn():
            yield

    def close(self, error: BaseException | None) -> BaseException | None:
        """Closes sinks and states; gives the error to report: ``error``, or the one that closing raised.

        Where the directory is gone, that explains all others.
        """
        kind = "completed" if error is None else "stopped" if isinstance(error, Stopped | Pruned) else "failed"
        try:
            for sink in self.sinks:
                sink.close(kind)
            self.keeper.checkpoints.close()
        except Exception as failed:
            error = failed
        try:
            self.require()
        except Exception as gone:
            error = gone
        return error
