"""log.txt of a run: what the person was told, and what libraries log meanwhile."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlrun.runs import rundir


def handler(directory: Path) -> logging.FileHandler:
    """Appends what is logged to the log.txt of a run directory."""
    made = logging.FileHandler(directory / rundir.LOG)
    made.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return made


class LogFile:
    """The log.txt of one of several runs in a process, which take turns; it is opened at the first turn."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.handler: logging.FileHandler | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """What is logged meanwhile goes there."""
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
