"""A process that trains a unit, and that ends when the one that started it does."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

LEASH = "DLRUN_LEASH"
LOOK = 0.2  # seconds between two looks at a process


def log(unit: Path) -> Path:
    """Where a unit's output goes; it is there once the unit was started."""
    return unit.with_suffix(".log")


def start(
    command: Sequence[str], unit: Path, env: Mapping[str, str], cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Starts a unit's command, with its output added to the unit's log.

    In a session of its own: Ctrl-C at the terminal is for the one that started it, who passes it on once.
    """
    with log(unit).open("ab") as output:
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
    """A unit's process on another machine, for what runs there to call; gives the exit code.

    Both machines see the unit's folder: a file there is how the process is asked to stop, whatever lies between them.
    """

    def __init__(self, command: Sequence[str], unit: Path, env: Mapping[str, str]):
        self.command, self.unit, self.env, self.cwd = command, unit.absolute(), env, Path.cwd()
        self.stops = self.unit.with_suffix(".stop")
        self.stops.unlink(missing_ok=True)

    def __call__(self) -> int:
        return self.attend(self.start())

    def start(self) -> "subprocess.Popen[bytes]":
        return start(self.command, self.unit, self.env, self.cwd)

    def attend(self, running: "subprocess.Popen[bytes]") -> int:
        """Waits for the process, and passes on that it should stop."""
        asked = False
        while (code := ended(running)) is None:
            if not asked and self.stops.exists():
                asked = True
                running.terminate()
            time.sleep(LOOK)
        return code

    def stop(self) -> None:
        """Called on this side."""
        self.stops.touch()

    def started(self) -> bool:
        """Whether the process was ever started, as seen from this side."""
        return log(self.unit).exists()


@contextlib.contextmanager
def deaf(signum: int) -> Iterator[None]:
    """What is started meanwhile never hears a signal, nor does what it starts; here the signal only comes later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leash() -> None:
    """Called by the command: has this process stopped, as by SIGTERM, when the one that started it is gone.

    Whatever ended that one, SIGKILL included: standard input is a pipe whose other end nobody else holds. A process
    that was asked to stop before takes it for the second signal, and ends at once.
    """
    if os.environ.pop(LEASH, None):
        threading.Thread(target=_follow, name="leash", daemon=True).start()


def _follow() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
