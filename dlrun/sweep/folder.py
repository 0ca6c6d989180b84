"""The sweep's directory: its record ``sweep.json``, a run directory for each job, and which jobs are there already.

sweep.json says what was asked for and how far it came; what a job came to is in its own run.json, which is believed.
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
from dlrun.runs import atomic, rundir, times
from dlrun.runs.status import now
from dlrun.sweep.jobs.job import Job, dumped, hydra_text

UNITS = ".units"
OWN = (rundir.SWEEP, rundir.CURVES, rundir.STUDY, catalogue.EXPERIMENT)  # beside the directories of jobs
WRITE_SECONDS = 1.0  # a sweep of thousands of short jobs does not write its record at the end of each


@dataclass
class Entry:
    """A job as sweep.json has it.

    Args:
      directory: below the sweep's.
      digest: of its configuration.
    """

    job: int
    directory: str
    overrides: list[str]
    digest: str
    status: str = "pending"


class Folder:
    """A sweep's directory.

    Args:
      directory: exists.
      described: what the sweep is: ``command``, ``overrides``, ``config_dirs``, ``swept``.
    """

    def __init__(self, directory: Path, described: dict[str, Any]):
        self.directory, self.described = directory, described
        self.record = record = atomic.read_json(directory / rundir.SWEEP) or {}
        self.entries = {e["job"]: Entry(**e) for e in record.get("jobs", [])}
        self.start = record.get("start") or times.now()
        if "command" in record:  # what made it stays on record
            again = {"time": times.now(), "command": described["command"]}
            self.described = {**described, "command": record["command"], "resumed": [*record.get("resumed", []), again]}
        self.written = 0.0

    def numbered(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs with the numbers that those of the same configuration have here, and new ones for the others."""
        here: dict[str, list[int]] = defaultdict(list)
        for entry in self.entries.values():
            here[entry.digest].append(entry.job)
        new = max(self.entries, default=-1) + 1
        found = []
        for job in jobs:
            numbers = here[digest(job)]
            if not numbers:
                new, number = new + 1, new
            else:
                number = numbers.pop(0)
            found.append(replace(job, number=number))
        return found

    def add(self, jobs: Sequence[Job], names: dict[int, str]) -> None:
        """Adds jobs that are not here yet, in directories of these names."""
        for job in jobs:
            if job.number not in self.entries:
                name = names[job.number]
                self.entries[job.number] = Entry(job.number, name, list(job.overrides), digest(job))

    def path(self, number: int) -> Path:
        return self.directory / self.entries[number].directory

    def status(self, number: int) -> str:
        return status(self.path(number))

    def changes(self, number: int) -> list[str]:
        """What a job's run was resumed with by itself: it is not what the sweep would have made of it."""
        resumed = (atomic.read_json(self.path(number) / rundir.RUN) or {}).get("resumed")
        if not isinstance(resumed, list):
            return []
        times = [again.get("overrides") for again in resumed if isinstance(again, dict)]
        return [str(text) for overrides in times if isinstance(overrides, list) for text in overrides]

    def data(self) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
        """By what data was taken from: each run that took it, and its data.json."""
        found = defaultdict(list)
        for number in sorted(self.entries):
            path = self.path(number)
            config = (atomic.read_json(path / rundir.RUN) or {}).get("config")
            if isinstance(config, dict) and (path / rundir.DATA).exists():
                found[taken_from(config)].append((path, rundir.read_data(path)))
        return dict(found)

    def begin(self, job: Job) -> Path:
        """Makes a job's directory with what Hydra writes there, unless that is done; gives it."""
        path = self.path(job.number)
        hydra = path / ".hydra"
        if not (hydra / "overrides.yaml").is_file():
            hydra.mkdir(parents=True, exist_ok=True)
            (path / rundir.CONFIG).write_text(job.config, encoding="utf-8")
            (hydra / "hydra.yaml").write_text(hydra_text(job, path), encoding="utf-8")
            (hydra / "overrides.yaml").write_text(dumped(job.overrides), encoding="utf-8")
        return path

    def note(self, number: int, status: str) -> None:
        """A job came to ``status``."""
        self.entries[number].status = status
        if time.monotonic() - self.written > WRITE_SECONDS:
            self.write("running")

    def refresh(self) -> None:
        """Reads anew what all jobs came to."""
        for number, entry in self.entries.items():
            entry.status = self.status(number)

    def says(self, status: str) -> bool:
        """Whether sweep.json said so before this process, of the sweep and of each job."""
        jobs = [vars(entry) for _, entry in sorted(self.entries.items())]
        return self.record.get("status") == status and self.record.get("jobs") == jobs

    def write(self, status: str, **more: Any) -> None:
        """Writes sweep.json."""
        self.written = time.monotonic()
        jobs = [vars(entry) for _, entry in sorted(self.entries.items())]
        end = None if status == "running" else times.now()
        value = {"format": rundir.FORMAT, "status": status, **self.described, "start": self.start, "end": end, **more}
        # A job a line: people read it, and thousands of jobs are written in a moment.
        lines = ",\n    ".join(json.dumps(job, ensure_ascii=False) for job in jobs)
        text = json.dumps(value, indent=2, ensure_ascii=False)[:-2]
        atomic.write(self.directory / rundir.SWEEP, f'{text},\n  "jobs": [\n    {lines}\n  ]\n}}\n')


def read(directory: Path) -> dict[str, Any] | None:
    """sweep.json of a sweep's directory; None where there is none. Raises :class:`InvalidConfig` for a damaged one."""
    file = directory / rundir.SWEEP
    if not file.is_file():
        return None
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
        raise InvalidConfig([f"{file}: can't be read: it is no sweep's record"]) from None
    return record


def status(directory: Path) -> str:
    """What a job came to, from its run directory; ``running`` of a process that is gone is ``killed``."""
    run = atomic.read_json(directory / rundir.RUN)
    if run is None:
        return "pending"
    written = str(run.get("status"))
    # A completed one that is not in use was killed where it has no summary, which is written last.
    whole = written != "completed" or atomic.read_json(directory / rundir.SUMMARY) is not None
    return now(written if whole else "running", directory)


def begun(directory: Path) -> bool:
    """Whether a job goes on from what its run directory holds."""
    return (directory / rundir.RUN).exists() or (directory / rundir.CHECKPOINTS).exists()


def is_name(directory: str) -> bool:
    """Whether a job's directory may have this name: below the sweep's, and none that the sweep itself has."""
    path = Path(directory)
    hidden = any(part.startswith(".") for part in path.parts)
    return bool(path.parts) and not path.is_absolute() and not hidden and path.parts[0] not in OWN


def taken_from(values: dict[str, Any]) -> str:
    """What of a configuration decides where the data comes from and how it is cut."""
    how = values.get("data"), values.get("split"), (values.get("stream") or {}).get("fingerprint")
    return json.dumps(atomic.jsonable(how), sort_keys=True, default=str)


def digest(job: Job) -> str:
    """Identifies a job's configuration."""
    return hashlib.sha256(json.dumps(job.plan.values, sort_keys=True, default=str).encode()).hexdigest()[:16]
