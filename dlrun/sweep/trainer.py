"""Trains groups of jobs: here, or as units that other processes take."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrun import rundir
from dlrun.engine import Engine
from dlrun.signals import Stop
from dlrun.sweep import work
from dlrun.sweep.folder import OVER, UNITS, Folder
from dlrun.sweep.groups import Group
from dlrun.sweep.job import Job
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.naming import Asked, names
from dlrun.sweep.pruning import Pruner
from dlrun.sweep.status import Status

ENGINES = 4  # that are kept: a search goes on with them
LOOK = 2.0  # seconds between two looks at what worker processes have come to
FAILED = ("failed", "diverged", "killed")
AGAIN = ("failed", "stopped")  # what a job may come to a second time


class Trainer:
    """Trains the jobs of a sweep, some groups at a time.

    Args:
      asked: by the user.
      folder: of the sweep.
      launcher: where jobs are trained.
    """

    def __init__(self, asked: Asked, folder: Folder, launcher: Launcher, status: Status, stop: Stop):
        self.asked, self.folder, self.launcher = asked, folder, launcher
        self.status, self.stop = status, stop
        self.failed = False
        self.engines: dict[str, Engine] = {}

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Takes jobs up; gives those that are not over yet."""
        self.folder.add(jobs, names(self.asked.cfg, jobs, self.folder.entries))
        before = {job.number: self.folder.status(job.number) for job in jobs}
        self.status.add(jobs, {n: s for n, s in before.items() if s in OVER})
        for job in jobs:
            self.folder.entries[job.number].status = before[job.number]
            if before[job.number] in OVER:
                self._look(job.number)
                self.failed |= before[job.number] in FAILED
        return [job for job in jobs if before[job.number] not in OVER]

    def train(self, groups: Sequence[Group], pruner: Pruner | None = None) -> None:
        """Trains jobs until all of them ended, or a signal came, or one failed and that is to end it."""
        for group in groups:
            for setup, job in zip(group.setups, group.jobs, strict=True):
                self.status.steps[job.number] = (0, 0, setup.total_steps)
        self.folder.write("running")
        if self.launcher.inside:
            self._train_here(groups, pruner)
        else:
            self._send(groups, pruner)

    def _train_here(self, groups: Sequence[Group], pruner: Pruner | None) -> None:
        for group in groups:
            if self.enough:
                return
            engine = self.engines.pop(group.key, None) or Engine(group.setups[0], self.engines.values())
            self.engines = {**dict(list(self.engines.items())[1 - ENGINES :]), group.key: engine}
            members = []
            for setup, job in zip(group.setups, group.jobs, strict=True):
                resume = self.folder.status(job.number) != "pending"
                directory = self.folder.begin(job)
                members.append(work.Member(job.number, ["dlrun", *job.overrides], setup, directory, resume))
            work.train(
                engine,
                members,
                vmap=self.launcher.vmap,
                chunk=self.launcher.chunk,
                progress=lambda number: self.status.job(number, self._log(number)),
                stop=self.stop,
                pruner=pruner,
                done=self._done,
            )

    def _send(self, groups: Sequence[Group], pruner: Pruner | None) -> None:
        """Has units trained by other processes, several a group where there are more workers than groups."""
        units: dict[Path, list[int]] = {}
        folder = self.folder.directory / UNITS
        folder.mkdir(exist_ok=True)
        workers = self.launcher.workers or 1
        for group in groups:
            parts = min(len(group.jobs), max(1, workers // len(groups)))
            size = -(-len(group.jobs) // parts)
            for i in range(0, len(group.jobs), size):
                jobs = group.jobs[i : i + size]
                for job in jobs:
                    self.folder.begin(job)
                file = folder / f"{jobs[0].number}.json"
                units[file] = [job.number for job in jobs]
                rundir.write(file, json.dumps(self._unit(jobs, pruner)))
        seen = {n: self.folder.status(n) for numbers in units.values() for n in numbers}
        over: set[int] = set()
        looked = 0.0

        def look(numbers: list[int], *, ended: bool = False) -> None:
            for number in numbers:
                now = self.folder.status(number)
                # What it was before this time says nothing yet; a killed one is started again, or else lost: see below.
                if number in over or now == "killed" or (now == seen[number] and not (ended and now in AGAIN)):
                    continue
                seen[number] = now
                self._changed(number, now)
                if now in (*OVER, "failed"):
                    over.add(number)

        def poll() -> None:
            nonlocal looked
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                look([n for numbers in units.values() for n in numbers])
            self.status.tick()

        def done(unit: Path, code: int) -> bool:
            look(units[unit], ended=True)
            lost = [n for n in units[unit] if n not in over and seen[n] != "stopped"]
            if lost and not self.stop.signum:
                self.status.note(
                    f"job {', '.join(map(str, lost))}: its process ended with code {code}; {unit.with_suffix('.log')}"
                )
                for number in lost:
                    self._changed(number, "failed")
            return self.enough

        self.launcher.launch(list(units), stop=lambda: self.stop.signum, done=done, poll=poll)
        look([n for numbers in units.values() for n in numbers])

    def _unit(self, jobs: list[Job], pruner: Pruner | None) -> dict[str, Any]:
        return {
            "sweep": str(self.folder.directory.resolve()),
            "launcher": {
                "vmap": self.launcher.vmap,
                "chunk": self.launcher.chunk,
                "fail_fast": self.launcher.fail_fast,
            },
            "trust": list(self.asked.trust),
            "config_dirs": [str(d.resolve()) for d in self.asked.config_dirs],
            "pruner": None if pruner is None else pruner.state(),
            "jobs": [
                {
                    "number": job.number,
                    "directory": self.folder.entries[job.number].directory,
                    "overrides": job.overrides,
                    "values": job.plan.values,
                }
                for job in jobs
            ],
        }

    @property
    def enough(self) -> bool:
        """Whether nothing more is to be started."""
        return bool(self.stop.signum) or (self.launcher.fail_fast and self.failed)

    def _done(self, number: int, code: int) -> bool:
        self._changed(number, self.folder.status(number) if code != 2 else "failed")
        return self.enough

    def _changed(self, number: int, status: str) -> None:
        self.failed |= status in FAILED
        error = (rundir.read_json(self.folder.path(number) / rundir.RUN) or {}).get("error")
        if error and status in FAILED and not self.launcher.inside:
            self.status.failed(number, f"{status}: {error}", self._log(number))
        self.folder.note(number, status)
        self._look(number)
        if status == "running":
            self.status.statuses[number] = status
        else:
            self.status.ended(number, status)

    def _log(self, number: int) -> Path:
        return self.folder.path(number) / rundir.LOG

    def _look(self, number: int) -> None:
        """Takes the best value of a run that is over from its directory."""
        summary = rundir.read_json(self.folder.path(number) / rundir.SUMMARY) or {}
        self.status.value(number, summary.get(f"best/{self.status.metric}"))
