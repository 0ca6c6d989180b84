"""Follows the jobs of units by what their worker processes write into the run directories."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from dlrun.runs.status import OVER, REPEATABLE

LOOK = 2.0  # seconds between two looks at all jobs


class Following:
    """Looks at the run directories of jobs that worker processes train, and reports what they came to.

    Args:
      units: the numbers of each unit's jobs, by the unit's file.
      status: gives the present status of a job.
      running: called with each job that runs, at each look.
      changed: called with a job and the status that it came to.
    """

    def __init__(
        self,
        units: dict[Path, list[int]],
        status: Callable[[int], str],
        running: Callable[[int], None],
        changed: Callable[[int, str], None],
    ):
        self.units, self.status, self.running, self.changed = units, status, running, changed
        self.jobs = [number for numbers in units.values() for number in numbers]
        self.seen = {number: status(number) for number in self.jobs}
        self.over: set[int] = set()
        self.looked = 0.0

    def look(self, numbers: Iterable[int], *, ended: bool = False) -> None:
        """Looks at some jobs; ``ended`` says that their worker has ended."""
        for number in numbers:
            now = self.status(number)
            if now == "running":
                self.running(number)
            # The status that it had before says nothing. A killed job is started again, or is lost.
            if (
                number in self.over
                or now == "killed"
                or (now == self.seen[number] and not (ended and now in REPEATABLE))
            ):
                continue
            self.seen[number] = now
            self.changed(number, now)
            if now in (*OVER, "failed"):
                self.over.add(number)

    def poll(self) -> None:
        """Looks at all jobs, unless it did so a moment ago."""
        if time.monotonic() - self.looked > LOOK:
            self.looked = time.monotonic()
            self.look(self.jobs)

    def lost(self, unit: Path) -> list[int]:
        """Looks at the jobs of a unit whose worker has ended; gives those that neither are over nor were stopped."""
        self.look(self.units[unit], ended=True)
        return [n for n in self.units[unit] if n not in self.over and self.seen[n] != "stopped"]
