"""SIGTERM, Ctrl-C, a terminal that hangs up: the first asks the run to save and stop, the second ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SEVERAL = (signal.SIGHUP,)
"""Signals that one event may send several times, the system and the shell each: none of them counts as a second one."""


class Stop:
    """A context in which the first signal is only noted in ``signum``; a second one ends the process.

    Python runs signal handlers only when a compilation or a kernel has returned, but writes to the wake-up file
    descriptor at once. A thread reads that, so that a second signal ends the process whatever the main thread is doing.
    Files are written such that this is safe at any time. In any other thread than the main one nothing is caught.

    Args:
      notify: called once, with the first signal's name, from another thread.
    """

    def __init__(self, notify: Callable[[str], None] = lambda name: None) -> None:
        self.signum: int | None = None
        self.notify = notify

    def __enter__(self) -> "Stop":
        if threading.current_thread() is not threading.main_thread():
            self._old = {}
            return self
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        # What `nohup` has a process ignore stays ignored.
        heard = [s for s in SIGNALS if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]
        self._old = {s: signal.signal(s, self._note) for s in heard}
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._old:
            for s, handler in self._old.items():
                signal.signal(s, handler)
            signal.set_wakeup_fd(self._old_fd)
            os.write(self._write, b"\0")  # ends the watching thread

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum

    def _watch(self) -> None:
        first, counted = True, 0
        while number := os.read(self._read, 1)[0]:
            if number not in self._old:
                continue
            self.signum = self.signum or number
            counted += number not in SEVERAL
            if counted > 1:
                with contextlib.suppress(OSError):
                    if os.isatty(2):
                        os.write(2, b"\n")  # so that the shell's prompt starts on a line of its own
                os._exit(128 + number)
            if first:
                first = False
                self.notify(signal.Signals(number).name)
        os.close(self._read)
        os.close(self._write)
