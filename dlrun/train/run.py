"""Trains a single run, outside of any sweep: puts together its display, signals, state and the loop."""

from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dlrun.display.terminal import TerminalProgress
from dlrun.program.compiled import CompiledProgram
from dlrun.program.setup import Setup
from dlrun.train.loop import train
from dlrun.train.signals import Stop
from dlrun.train.single import SingleState
from dlrun.train.training_run import TrainingRun


class Notes(Protocol):
    """Shows lines to a person."""

    def note(self, text: str) -> None: ...


def train_alone(setup: Setup, directory: Path, **how: Any) -> int:
    """Trains a run in a directory that exists; gives the exit code: 0 done, 1 failed, 128 + a signal's number stopped.

    Args:
      how: goes on to :class:`~dlrun.train.training_run.TrainingRun`.

    Raises:
      InvalidConfig: when a resumed run can't go on, or another process works in the directory.
      Exception: an unexpected error (see :func:`~dlrun.train.ends.is_known`), after it was recorded.
    """
    with TerminalProgress(setup.metric) as progress, Stop(partial(notice, progress)) as stop:
        run = TrainingRun(setup, directory, progress, **how)
        train([run], SingleState(setup, CompiledProgram(setup)), stop)
        if run.raised is not None:
            raise run.raised
        return run.code


def notice(shown: Notes, signal_name: str) -> None:
    """Tells the person that a signal was received, since saving may take a moment."""
    shown.note(f"{signal_name}: saving the state and stopping; send it again to stop at once")
