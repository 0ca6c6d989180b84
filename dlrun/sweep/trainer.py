"""Has groups of jobs trained: in this process, or as units in others."""

import json
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dlrun.errors import InvalidConfig
from dlrun.program.compiled import CompiledProgram
from dlrun.runs import atomic, files, rundir
from dlrun.runs.live import Rows
from dlrun.runs.status import LOST, OVER
from dlrun.sweep import train_jobs
from dlrun.sweep.display import SweepDisplay, see
from dlrun.sweep.folder import UNITS, Folder, begun, digest
from dlrun.sweep.following import Following
from dlrun.sweep.jobs.groups import Group, identity_of, same_data
from dlrun.sweep.jobs.job import Job
from dlrun.sweep.launchers import process
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.names import names
from dlrun.sweep.prepared_job import PreparedJob
from dlrun.sweep.request import SweepRequest
from dlrun.sweep.search.pruning import Pruner
from dlrun.train.signals import Stop

KEPT = 4  # compiled groups that are kept, for the next trials of a search


class Trainer:
    """Trains the jobs of a sweep, given as groups, and keeps its record and its display up to date.

    Args:
      launcher: says where jobs are trained.

    Attributes:
      failed: whether a job failed.
      compiled: programs of the latest groups, by the group's key, for later groups of a search.
      rows: readers of the metrics.jsonl of jobs that other processes train, by number.
    """

    def __init__(self, request: SweepRequest, folder: Folder, launcher: Launcher, display: SweepDisplay, stop: Stop):
        self.request, self.folder, self.launcher = request, folder, launcher
        self.display, self.stop = display, stop
        self.failed = False
        self.compiled: dict[str, CompiledProgram] = {}
        self.rows: dict[int, Rows] = {}
        self.data = folder.data()
        self.units: dict[int, Path] = {}  # the files by which jobs were handed to other processes

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Adds jobs to the sweep; gives those that are still to be trained.

        Raises:
          InvalidConfig: where the directory of one has another configuration.
        """
        for job in jobs:
            entry = self.folder.entries.get(job.number)
            if entry is not None and entry.digest != digest(job):
                where = self.folder.path(job.number)
                raise InvalidConfig([f"{where}: a run of another configuration; allowed: another hydra.sweep.dir"])
        self.folder.add(jobs, names(self.request.cfg, jobs, self.folder.entries))
        over = self.show([job.number for job in jobs])
        return [job for job in jobs if job.number not in over]

    def show(self, numbers: Sequence[int]) -> set[int]:
        """Adds jobs to the display, with the statuses that their runs have now; gives those that are over."""
        before = {number: self.folder.status(number) for number in numbers}
        over = {n: s for n, s in before.items() if s in OVER}
        self.display.add({n: self.folder.entries[n].overrides for n in numbers}, over)
        for number, status in before.items():
            self.folder.entries[number].status = status
            if status in OVER:
                self._read_best(number)
                self.failed |= status in LOST
            elif status != "pending":
                self.follow(number)
            if changes := self.folder.changes(number):
                text = f"{self.display.name(number)}: {self.folder.path(number)} was resumed by itself with "
                self.display.warn(f"{text}{' '.join(changes)}")
        return set(over)

    def train(self, groups: Sequence[Group], pruner: Pruner | None = None) -> None:
        """Trains jobs until all have ended, a signal arrived, or, with ``fail_fast``, one failed.

        Raises:
          Gone: when the sweep's directory was moved or deleted meanwhile.
        """
        if not groups:
            return
        for group in groups:
            for setup, job in zip(group.setups, group.jobs, strict=True):
                self.display.lengthened(job.number, setup.total_steps)
        same_data(groups, self.data, self.folder.directory)
        self.folder.write("running")
        if self.launcher.inside:
            self._train_here(groups, pruner)
        else:
            self._send(groups, pruner)
        self.folder.require()

    def _train_here(self, groups: Sequence[Group], pruner: Pruner | None) -> None:
        for group in groups:
            if self.enough:
                return
            compiled = self.compiled.pop(group.key, None) or CompiledProgram(group.setups[0], self.compiled.values())
            self.compiled = {**dict(list(self.compiled.items())[1 - KEPT :]), group.key: compiled}
            jobs = []
            for setup, job in zip(group.setups, group.jobs, strict=True):
                if (directory := self._begin(job)) is not None:
                    command = ["dlrun", *job.overrides]
                    jobs.append(PreparedJob(job.number, command, setup, directory, begun(directory)))
            train_jobs.train(
                compiled,
                jobs,
                vmap=self.launcher.vmap,
                chunk=self.launcher.chunk,
                progress=lambda number: self.display.job(number, partial(self.log, number)),
                stop=self.stop,
                pruner=pruner,
                done=self._done,
            )

    def _begin(self, job: Job) -> Path | None:
        """Makes a job's directory; gives None if that is not possible, and the job has failed."""
        try:
            return self.folder.begin(job)
        except OSError as error:
            text = f"failed: {error.filename or self.folder.path(job.number)}: {error.strerror or error}"
            self.display.note(f"{self.display.name(job.number)}: {text}")
            self._changed(job.number, "failed")
            return None

    def _send(self, groups: Sequence[Group], pruner: Pruner | None) -> None:
        """Has other processes train the groups as units."""
        units = self._written(groups, pruner)
        following = Following(units, self.folder.status, self.follow, self._changed)

        def poll() -> None:
            following.poll()
            self.display.tick()

        def done(unit: Path, code: int) -> bool:
            lost = following.lost(unit)
            if lost and not self.stop.signum:
                text = f"job {', '.join(map(str, lost))}: its process ended with code {code}"
                self.display.note(text + see(process.log(unit)))
                for number in lost:
                    self._changed(number, "failed")
            return self.enough

        def stop() -> int | None:
            return self.stop.signum or (signal.SIGTERM if self.folder.is_gone else None)

        self.launcher.launch(list(units), stop=stop, done=done, poll=poll)
        following.look(following.jobs)

    def _written(self, groups: Sequence[Group], pruner: Pruner | None) -> dict[Path, list[int]]:
        """Writes the files of units: several for each group, if there are workers enough. Gives the jobs of each."""
        units: dict[Path, list[int]] = {}
        folder = self.folder.directory / UNITS
        workers = self.launcher.workers or 1
        for group in groups:
            parts = min(len(group.jobs), max(1, workers // len(groups)))
            size = -(-len(group.jobs) // parts)
            for i in range(0, len(group.jobs), size):
                jobs = [job for job in group.jobs[i : i + size] if self._begin(job) is not None]
                if not jobs:
                    continue
                file = folder / f"{jobs[0].number}.json"
                units[file] = [job.number for job in jobs]
                self.units |= dict.fromkeys(units[file], file)
                unit = {**self._unit(jobs, pruner), "data": identity_of(group.setups[0].data)}
                atomic.write(file, json.dumps(unit), below=self.folder.directory)
        return units

    def _unit(self, jobs: list[Job], pruner: Pruner | None) -> dict[str, Any]:
        return {
            "sweep": str(self.folder.directory.resolve()),
            "launcher": {
                "vmap": self.launcher.vmap,
                "chunk": self.launcher.chunk,
                "fail_fast": self.launcher.fail_fast,
            },
            "trust": list(self.request.trust),
            "config_dirs": [str(d.resolve()) for d in self.request.config_dirs],
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
        """Whether nothing more should be started."""
        return bool(self.stop.signum) or (self.launcher.fail_fast and self.failed) or self.folder.is_gone

    def _done(self, number: int, code: int) -> bool:
        status = self.folder.status(number)
        self._changed(number, "failed" if code == 2 or status == "pending" else status)  # or its directory is gone
        return self.enough

    def _changed(self, number: int, status: str) -> None:
        self.failed |= status in LOST
        error = (atomic.read_json(self.folder.path(number) / rundir.RUN) or {}).get("error")
        if error and status in LOST and not self.launcher.inside:
            self.display.failed(number, f"{status}: {error}", self.log(number))
        self.folder.note(number, status)
        self._read_best(number)
        self.display.came_to(number, status)

    def follow(self, number: int) -> None:
        """Reads how far a job is, and its best value, from its metrics.jsonl."""
        rows = self.rows.get(number)
        seen = (rows or self.rows.setdefault(number, Rows(self.folder.path(number)))).read()
        step = int(seen.furthest("step") or 0)
        if rows is None:
            self.display.found(number, step)
        else:
            self.display.advance(number, step)
        self.display.value(number, (seen.least if self.display.mode == "min" else seen.most).get(self.display.metric))

    def log(self, number: int) -> Path | None:
        """The file with details of a job: its own log, or that of its unit's process; None if there is neither."""
        unit = self.units.get(number)
        places = [self.folder.path(number) / rundir.LOG, *([] if unit is None else [process.log(unit)])]
        return next((file for file in places if files.kind(file) == "file" and file.lstat().st_size), None)

    def _read_best(self, number: int) -> None:
        """Reads the best value of a job that is over from its summary.json."""
        summary = atomic.read_json(self.folder.path(number) / rundir.SUMMARY) or {}
        self.display.value(number, summary.get(f"best/{self.display.metric}"))
