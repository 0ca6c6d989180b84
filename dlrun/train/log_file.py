"""Writes log.txt of a run: what the person was told, and what libraries logged during the run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, TextIOWrapper
from pathlib import Path

from dlrun.errors import safe
from dlrun.runs import files, rundir


class Handler(logging.FileHandler):
    """Appends to a file that is opened like any other of a run directory."""

    def _open(self) -> TextIOWrapper:
        whole_lines = BufferedWriter(files.appender(self.baseFilename))  # pyright: ignore[reportArgumentType]
        return TextIOWrapper(whole_lines, "utf-8", "backslashreplace")


def handler(directory: Path) -> logging.FileHandler:
    """A logging handler that appends to the log.txt of a run directory."""
    made = Handler(directory / rundir.LOG)
    made.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return made


class _Formatter(logging.Formatter):
    """Lines in which nothing acts on the terminal that shows the file, whoever wrote what they tell."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


class LogFile:
    """The log.txt of one of several runs that take turns in a process; it is opened at the first turn."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.handler: logging.FileHandler | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A context in which all log lines of the process go to this file."""
        self.handler = self.handler or handler(self.directory)
        root = logging.getLogger()
        root.addHandler(self.handler)
        try:
            yield
        finally:
            root.removeHandler(self.handler)

    def close(self) -> None:
        if self.handler is not None:
            self.handler.close()
