"""Reads and writes a sweep's directory: its record ``sweep.json``, and a run directory for each job.

sweep.json says what the command was and how far the sweep is. Where it and a run's own run.json differ about the
run's status, run.json is right.
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrun.config import catalogue
from dlrun.errors import InvalidConfig
from dlrun.runs import atomic, files, rundir, times
from dlrun.runs.lock import Lock
from dlrun.runs.status import now
from dlrun.sweep.jobs.job import Job, dumped, hydra_text, taken_from, without_waiting

UNITS = ".units"
OWN = (rundir.SWEEP, rundir.CURVES, rundir.STUDY, catalogue.EXPERIMENT)  # what lies beside the directories of jobs
OWN_FILES = (
    rundir.SWEEP,
    rundir.CURVES,
    rundir.LOCK,
    *(f"{rundir.STUDY}{end}" for end in ("", "-journal", "-wal", "-shm")),
)
WRITE_SECONDS = 1.0  # at least, between two writes of the record: there may be thousands of short jobs


@dataclass
class Entry:
    """A job as sweep.json records it.

    Args:
      job: its number.
      directory: its name, relative to the sweep's.
      overrides: what makes the same run by itself.
      digest: of its configuration.
      status: of its run.
    """

    job: int
    directory: str
    overrides: list[str]
    digest: str
    status: str = "pending"


class Folder:
    """A sweep's directory, and its record.

    Args:
      directory: one that exists already.
      described: what the sweep is: ``command``, ``overrides``, ``config_dirs``, ``swept``.

    Attributes:
      lock: of the directory, once this process holds it. If that is gone nothing is written: the path leads elsewhere.
    """

    def __init__(self, directory: Path, described: dict[str, Any]):
        self.directory, self.described = directory, described
        self.record = record = atomic.read_json(directory / rundir.SWEEP) or {}
        self.entries = {e["job"]: Entry(**e) for e in record.get("jobs", [])}
        self.start = record.get("start") or times.now()
        if "command" in record:  # the command that began the sweep stays on record
            again = {"time": times.now(), "command": described["command"]}
            self.described = {**described, "command": record["command"], "resumed": [*record.get("resumed", []), again]}
        self.written = 0.0
        self.lock: Lock | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the directory was moved or deleted since it was locked."""
        return self.lock is not None and not self.lock.is_there

    def require(self) -> None:
        """Raises :class:`~dlrun.runs.lock.Gone` where the directory was moved or deleted since it was locked."""
        if self.lock is not None:
            self.lock.require()

    def numbered(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs renumbered: each as the job here that has its configuration, or else with the next free number."""
        here: dict[str, list[int]] = defaultdict(list)
        for entry in self.entries.values():
            here[entry.digest].append(entry.job)
        new = max(self.entries, default=-1) + 1
        renumbered = []
        for job in jobs:
            numbers = here[digest(job)]
            if not numbers:
                new, number = new + 1, new
            else:
                number = numbers.pop(0)
            renumbered.append(replace(job, number=number))
        return renumbered

    def add(self, jobs: Sequence[Job], names: dict[int, str]) -> None:
        """Adds the jobs that are not here yet, with the names of their directories by number."""
        for job in jobs:
            if job.number not in self.entries:
                name = names[job.number]
                self.entries[job.number] = Entry(job.number, name, list(job.overrides), digest(job))

    def path(self, number: int) -> Path:
        return self.directory / self.entries[number].directory

    def status(self, number: int) -> str:
        return status(self.path(number))

    def changes(self, number: int) -> list[str]:
        """The overrides with which the user resumed a job's run alone: it is no longer what the sweep would make."""
        resumed = (atomic.read_json(self.path(number) / rundir.RUN) or {}).get("resumed")
        if not isinstance(resumed, list):
            return []
        times = [again.get("overrides") for again in resumed if isinstance(again, dict)]
        return [str(text) for overrides in times if isinstance(overrides, list) for text in overrides]

    def data(self) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
        """The data that the runs were trained on.

        For each source of data (see :func:`taken_from`): the directory and data.json of each run that used it.
        """
        by_source = defaultdict(list)
        for number in sorted(self.entries):
            path = self.path(number)
            config = (atomic.read_json(path / rundir.RUN) or {}).get("config")
            if isinstance(config, dict) and (path / rundir.DATA).exists():
                by_source[taken_from(config)].append((path, rundir.read_data(path)))
        return dict(by_source)

    def begin(self, job: Job) -> Path:
        """Makes a job's directory and the files that Hydra writes in a run's, unless they are there; gives its path."""
        self.require()
        path = self.path(job.number)
        if files.kind(path / rundir.OVERRIDES) is None:
            texts = {rundir.CONFIG: job.config, rundir.HYDRA: hydra_text(job, path)}
            for name, text in {**texts, rundir.OVERRIDES: dumped(job.overrides)}.items():
                atomic.write(path / name, text, below=self.directory, durable=False)
        return path

    def note(self, number: int, status: str) -> None:
        """Records the status that a job came to."""
        self.entries[number].status = status
        if time.monotonic() - self.written > WRITE_SECONDS:
            self.write("running")

    def refresh(self) -> None:
        """Updates all statuses from the runs' own records."""
        for number, entry in self.entries.items():
            entry.status = self.status(number)

    def says(self, status: str) -> bool:
        """Whether sweep.json, as this process found it, already has this status and the present entries of all jobs."""
        jobs = [vars(entry) for _, entry in sorted(self.entries.items())]
        return self.record.get("status") == status and self.record.get("jobs") == jobs

    def write(self, status: str, **more: Any) -> None:
        """Writes sweep.json, unless the directory is gone."""
        if self.is_gone:
            return
        self.written = time.monotonic()
        jobs = [vars(entry) for _, entry in sorted(self.entries.items())]
        end = None if status == "running" else times.now()
        value = {"format": rundir.FORMAT, "status": status, **self.described, "start": self.start, "end": end, **more}
        # One line for each job: people can read that, and json's indentation is slow for thousands of jobs.
        lines = ",\n    ".join(json.dumps(job, ensure_ascii=False) for job in jobs)
        text = json.dumps(value, indent=2, ensure_ascii=False)[:-2]
        atomic.write(self.directory / rundir.SWEEP, f'{text},\n  "jobs": [\n    {lines}\n  ]\n}}\n')


def read(directory: Path) -> dict[str, Any] | None:
    """sweep.json of a sweep's directory; None where there is none. Raises :class:`InvalidConfig` for a damaged one."""
    file = directory / rundir.SWEEP
    if files.kind(file) is None:
        return None
    rundir.check(directory, OWN_FILES, (catalogue.EXPERIMENT, UNITS))
    written = sorted(
        f"{catalogue.EXPERIMENT}/{path.name}" for path in (directory / catalogue.EXPERIMENT).glob("best*.yaml")
    )
    rundir.check(directory, tuple(written), ())
    record = atomic.read_json(file)
    try:
        if record is None:
            raise ValueError
        entries = [Entry(**entry) for entry in record["jobs"]]
        texts = [record["overrides"], record.get("config_dirs", []), *(entry.overrides for entry in entries)]
        sound = all(isinstance(entry.job, int) and is_name(entry.directory) for entry in entries)
        sound &= all(isinstance(some, list) and all(isinstance(text, str) for text in some) for some in texts)
        sound &= all(len({*of}) == len(entries) for of in zip(*((e.job, e.directory) for e in entries), strict=True))
        if not sound:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InvalidConfig([f"{file}: can't be read: it is not the record of a sweep"]) from None
    for entry in entries:
        try:
            files.inside(directory / entry.directory / rundir.RUN, directory)
        except files.Refused as error:
            raise InvalidConfig([f"{error.filename}: {error.strerror}; nothing was changed"]) from None
        rundir.check(directory / entry.directory)
    return record


def status(directory: Path) -> str:
    """The status of a job's run; ``pending`` before it began, ``killed`` where its process ended without a word."""
    run = atomic.read_json(directory / rundir.RUN)
    if run is None:
        return "pending"
    written = str(run.get("status"))
    # The summary is written last: a completed run that has none is still writing, or was killed while it wrote.
    whole = written != "completed" or atomic.read_json(directory / rundir.SUMMARY) is not None
    return now(written if whole else "running", directory)


def begun(directory: Path) -> bool:
    """Whether a job was begun before, so that it is resumed from its run directory."""
    return (directory / rundir.RUN).exists() or (directory / rundir.CHECKPOINTS).exists()


def is_name(directory: str) -> bool:
    """Whether a job's directory may have this name: inside the sweep's, not hidden, not a name of ``OWN``."""
    path = Path(directory)
    hidden = any(part.startswith(".") for part in path.parts)
    return bool(path.parts) and not path.is_absolute() and not hidden and path.parts[0] not in OWN


def digest(job: Job) -> str:
    """Text that identifies a job's configuration, apart from how long a server of its data is waited for."""
    values = {**job.plan.values, "data": without_waiting(job.plan.values["data"])}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
