"""stdout and stderr of a process that goes on when nobody reads them any more.

A pipe may be closed (``2>&1 | head``), a terminal may hang up, and either may never have been open (``2>&-``). What is
said to a person must not cost a run, and a reader who has seen enough is no error.
"""

import contextlib
import errno
import io
import logging
import os
import select
import sys
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET)
"""What writing to a closed pipe, a terminal that hung up, or a closed socket fails with."""


class Outlet(io.FileIO):
    """The bytes that go to a file descriptor; once its reader is gone they go nowhere.

    Args:
      results: whether they are a command's results: that these could not be written, as on a full disk, is an error.

    Attributes:
      lost: whether the reader is gone.
    """

    def __init__(self, fd: int, *, results: bool):
        super().__init__(fd, "w", closefd=False)
        self.results, self.lost = results, False

    def write(self, data: Any, /) -> int:
        left = memoryview(data)
        try:
            while left:
                if (written := super().write(left)) is None:  # another program made the terminal non-blocking
                    select.select([], [self], [])
                else:
                    left = left[written:]
        except OSError as error:
            self.lost = error.errno in GONE
            if self.lost or self.results:  # Python tries to write the same again when the process ends
                with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), self.fileno())
            if self.results and not self.lost:
                raise
        return len(data)


def go_on_unread() -> None:
    """Has this process go on when nobody reads its stdout or stderr any more; it calls this first of all."""
    logging.raiseExceptions = False  # a full disk is told once, not by every log line that it swallows
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:  # else the next file that is opened, such as a run's metrics, would be taken for stderr
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _stream(sys.stdout, 1, results=True)
    sys.stderr = _stream(sys.stderr, 2, results=False)


def is_unread(stream: TextIO) -> bool:
    """Whether nobody reads a stream any more, as far as this process has noticed by writing to it."""
    buffer = getattr(stream, "buffer", None)
    return getattr(getattr(buffer, "raw", buffer), "lost", False)


def _stream(old: TextIO | None, fd: int, *, results: bool) -> TextIO:
    """A text stream like ``old``, which is None if the descriptor was closed when Python started."""
    outlet = Outlet(fd, results=results)
    if not isinstance(old, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(outlet), encoding="utf-8", errors="backslashreplace")
    old.flush()
    buffer = outlet if old.write_through else io.BufferedWriter(outlet)  # unbuffered as by `python -u`
    return io.TextIOWrapper(
        buffer,
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
