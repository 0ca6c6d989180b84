"""Starts processes that train a unit, and that end when the process that started them does."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dlrun.runs import files

LEASH = "DLRUN_LEASH"
LOOK = 0.2  # seconds between two checks of a process


def log(unit: Path) -> Path:
    """The file for a unit's output; it exists once the unit was started."""
    return unit.with_suffix(".log")


def tell(unit: Path, text: object) -> None:
    """Adds a line to a unit's log."""
    with files.appender(log(unit)) as output:
        output.write(f"{text}\n".encode())


def start(
    command: Sequence[str], unit: Path, env: Mapping[str, str], cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Starts a unit's command, and appends its output to the unit's log.

    The command gets a session of its own, so that Ctrl-C at the terminal reaches only this process, which passes it on.
    """
    with files.appender(log(unit)) as output:
        return subprocess.Popen(
            [*command, str(unit)],
            stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, **env, LEASH: "stdin"}, cwd=cwd,
        )  # fmt: skip


def ended(process: "subprocess.Popen[bytes]") -> int | None:
    """The exit code as a shell gives it, 128 + n after signal n; None while the process runs."""
    code = process.poll()
    if code is not None and process.stdin:
        process.stdin.close()
    return code if code is None or code >= 0 else 128 - code


class Errand:
    """Runs a unit's command on another machine: a cluster's scheduler calls this object there, and gets the exit code.

    Both machines see the unit's folder: a file that :meth:`stop` makes there asks the process to stop.
    """

    def __init__(self, command: Sequence[str], unit: Path, env: Mapping[str, str]):
        self.command, self.unit, self.env, self.cwd = command, unit.absolute(), env, Path.cwd()
        self.stops = self.unit.with_suffix(".stop")
        files.remove(self.stops)

    def __call__(self) -> int:
        return self.attend(self.start())

    def start(self) -> "subprocess.Popen[bytes]":
        return start(self.command, self.unit, self.env, self.cwd)

    def attend(self, running: "subprocess.Popen[bytes]") -> int:
        """Waits for the process to end, sends it SIGTERM when :meth:`stop` was called, and gives its exit code."""
        asked = False
        while (code := ended(running)) is None:
            if not asked and self.stops.exists():
                asked = True
                running.terminate()
            time.sleep(LOOK)
        return code

    def stop(self) -> None:
        """Asks the process to stop; called on the machine of the sweep."""
        with contextlib.suppress(FileNotFoundError):  # the sweep's directory is gone: its runs notice
            files.replace(self.stops, [])

    def started(self) -> bool:
        """Whether the process was ever started; called on the machine of the sweep."""
        return log(self.unit).exists()


@contextlib.contextmanager
def deaf(signum: int) -> Iterator[None]:
    """A context that blocks a signal: for processes that are started in it for good, for this one until it is left."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leash() -> None:
    """Has this process send itself SIGTERM when the process that started it is gone; a unit's command calls it.

    That works even after SIGKILL: standard input is a pipe whose other end only the starting process holds. If this
    process was asked to stop before, this is its second signal, and it ends at once.
    """
    if os.environ.pop(LEASH, None):
        threading.Thread(target=_wait_for_starter, name="leash", daemon=True).start()


def _wait_for_starter() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
