"""A sweep from its command to its table: check all jobs, find what is there, train the rest, say what came of it."""

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun import config, devices, rundir
from dlrun.engine import Engine
from dlrun.plan import Plan
from dlrun.run import notice
from dlrun.schema import InvalidConfig
from dlrun.setup import reported
from dlrun.signals import Stop
from dlrun.sweep import work
from dlrun.sweep.folder import OVER, UNITS, Entry, Folder, digest, read
from dlrun.sweep.groups import Group, grouped
from dlrun.sweep.job import Job, hydra_text
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.pruning import Pruner
from dlrun.sweep.status import Status

ENGINES = 4  # that are kept; each holds its compiled functions, and a copy of the data
LOOK = 2.0  # seconds between two looks at what worker processes have come to
FAILED = ("failed", "diverged", "killed")


@dataclass(frozen=True)
class Asked:
    """What a sweep was asked for.

    Args:
      cfg: the composed configuration of the command.
      overrides, config_dirs: of the command.
      trust: packages that the user allowed on this command to be imported from.
    """

    cfg: Any
    overrides: list[str]
    config_dirs: list[Path]
    trust: tuple[str, ...]


class Sweep:
    """A sweep whose jobs are trained, some at a time.

    Args:
      asked: by the user.
      folder: of the sweep.
      launcher: where jobs are trained.
    """

    def __init__(self, asked: Asked, folder: Folder, launcher: Launcher, status: Status, stop: Stop):
        self.asked, self.folder, self.launcher = asked, folder, launcher
        self.status, self.stop = status, stop
        self.failed = False
        self.engines: dict[str, Engine] = {}  # of the groups trained last, as a search goes on with them

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Takes jobs up; gives those that are not over yet."""
        self.folder.add(jobs, names(self.asked.cfg, jobs, self.folder.entries))
        before = {job.number: self.folder.status(job.number) for job in jobs}
        self.status.add(jobs, {n: s for n, s in before.items() if s in OVER}, differing(jobs))
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
            engine = self.engines.pop(group.key, None) or Engine(group.setups[0])
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
                progress=self.status.job,
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
        seen: dict[int, str] = {}
        looked = 0.0

        def look(numbers: list[int]) -> None:
            for number in numbers:
                if seen.get(number) not in (*OVER, "failed"):
                    now = self.folder.status(number)
                    if now != seen.get(number, "pending"):
                        self._changed(number, now)
                    seen[number] = now

        def poll() -> None:
            nonlocal looked
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                look([n for numbers in units.values() for n in numbers])
            self.status.tick()

        def done(unit: Path, code: int) -> bool:
            look(units[unit])
            lost = [n for n in units[unit] if seen.get(n, "pending") not in (*OVER, "failed", "stopped")]
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
        self.folder.note(number, status)
        self._look(number)
        if status == "running":
            self.status.statuses[number] = status
        else:
            self.status.ended(number, status)

    def _look(self, number: int) -> None:
        """Takes the best value of a run that is over from its directory."""
        summary = rundir.read_json(self.folder.path(number) / rundir.SUMMARY) or {}
        self.status.value(number, summary.get(f"best/{self.status.metric}"))


def sweep(asked: Asked, hydra: Any, found: list[str], *, dry_run: bool) -> int:
    """Runs the sweep of a command; gives the exit code. The last line on stdout is the sweep's directory.

    Raises:
      InvalidConfig: with all that is wrong with any job, before anything is made.
    """
    from dlrun.sweep.space import Space

    space = Space(hydra, asked.cfg, asked.overrides)
    most = config.plain(asked.cfg)[0].get("launcher", {}).get("max_jobs", Launcher.max_jobs)
    jobs = space.grid(asked.trust, found, most if isinstance(most, int) else Launcher.max_jobs)
    launcher = launcher_of([job.plan for job in jobs])
    devices.initialize(jobs[0].plan.settings)
    where = directory(asked.cfg)
    there = None if where is None else read(where)
    folder = None if there is None or where is None else Folder(where, described(asked, space.swept))
    if folder is not None:
        jobs = belonging(folder, jobs)
    with small_footprint(launcher):
        over = {job.number for job in jobs if folder and job.number in folder.entries}
        over = {n for n in over if folder and folder.status(n) in OVER}
        groups = grouped([job for job in jobs if job.number not in over])
        if dry_run:
            from dlrun.sweep.estimate import report

            print(report(jobs, groups, launcher, len(over)))
            return 0
        names(asked.cfg, jobs, folder.entries if folder else {})
        for text in dict.fromkeys(w for group in groups for w in group.setups[0].warnings):
            print(f"warning: {text}", file=sys.stderr)
        if folder is None:
            folder = Folder(config.create(asked.cfg, "hydra.sweep.dir"), described(asked, space.swept))
        metric, mode = main_metric(folder, groups)
        return conducted(
            asked, folder, launcher, metric, mode, lambda running: (running.add(jobs), running.train(groups))
        )


def conducted(asked: Asked, folder: Folder, launcher: Launcher, metric: str, mode: str, train: Any) -> int:
    """Trains with the sweep's directory held, and tells in the end what came of it."""
    work.quiet()
    with rundir.locked(folder.directory), Status(metric, mode) as status:
        with Stop(partial(notice, status)) as stop:
            running = Sweep(asked, folder, launcher, status, stop)
            try:
                train(running)
            finally:
                folder.refresh()
                ended = "stopped" if stop.signum else "failed" if running.failed else "completed"
                folder.write(ended)
        status.note(status.table(partial(seconds, folder)))
        if stop.signum or any(entry.status not in OVER for entry in folder.entries.values()):
            status.note(f"go on with: dlrun resume {shlex.quote(str(folder.directory))}")
        if failed := [n for n in status.statuses if status.statuses[n] in FAILED]:
            shown = ", ".join(map(str, failed[:20])) + (", ..." if len(failed) > 20 else "")
            status.note(
                f"{len(failed)} of {len(status.jobs)} jobs failed: {shown}; see {folder.path(failed[0]) / rundir.LOG}"
            )
    print(folder.directory, flush=True)
    return 128 + stop.signum if stop.signum else int(running.failed)


def launcher_of(plans: list[Plan]) -> Launcher:
    """The launcher that the jobs agree on. Raises :class:`InvalidConfig` where they don't, or it can't work here."""
    found: list[str] = []
    if len({plan.choices["launcher"] for plan in plans}) > 1:
        raise InvalidConfig(["launcher: several values; allowed: one, as it is none of a run's"])
    with reported(found, "launcher", fatal=True):
        return plans[0].choices["launcher"]()
    raise AssertionError


def directory(cfg: Any) -> Path | None:
    """The sweep's directory where the user names one."""
    named = config.named_directory(cfg, "hydra.sweep.dir")
    return None if named is None else Path(named)


def described(asked: Asked, swept: dict[str, Any]) -> dict[str, Any]:
    """What sweep.json says of the command."""
    return {
        "command": ["dlrun", *sys.argv[1:]],
        "overrides": asked.overrides,
        "config_dirs": [str(d.resolve()) for d in asked.config_dirs],
        "swept": swept,
    }


def belonging(folder: Folder, jobs: list[Job]) -> list[Job]:
    """The jobs with their numbers in a sweep that is there. Raises :class:`InvalidConfig` where it has none of them."""
    known = {entry.digest for entry in folder.entries.values()}
    if known and not any(digest(job) in known for job in jobs):
        raise InvalidConfig(
            [
                f"hydra.sweep.dir={folder.directory}: the sweep of another command, none of whose runs is among these; "
                f"allowed: a new folder, or dlrun resume {folder.directory}"
            ]
        )
    return folder.numbered(jobs)


def subdirectory(cfg: Any, job: Job) -> str:
    """The name of a job's directory in its sweep's."""
    name = config.raw(cfg, "hydra.sweep.subdir")
    if name == "${hydra.job.num}":
        return str(job.number)
    whole = OmegaConf.create({**job.written, **yaml.safe_load(hydra_text(job, Path()))})
    HydraConfig.instance().set_config(whole)
    try:
        return str(whole.hydra.sweep.subdir)
    except OmegaConfBaseException as error:
        raise InvalidConfig([f"hydra.sweep.subdir={name}: {config.said(error)}"]) from None


def names(cfg: Any, jobs: Sequence[Job], there: dict[int, Entry]) -> dict[int, str]:
    """The directories of new jobs by number. Raises :class:`InvalidConfig` where two jobs would share one."""
    found = {job.number: subdirectory(cfg, job) for job in jobs if job.number not in there}
    if len({*found.values(), *(e.directory for e in there.values())}) < len(found) + len(there):
        shown = config.raw(cfg, "hydra.sweep.subdir")
        raise InvalidConfig([f"hydra.sweep.subdir={shown}: the same for several runs; allowed: ${{hydra.job.num}}"])
    return found


def differing(jobs: Sequence[Job]) -> set[str]:
    """Keys that are not the same for all jobs, as typed."""
    texts = [set(job.overrides) for job in jobs]
    shared = set.intersection(*texts) if texts else set()
    return {text.split("=")[0] for some in texts for text in some - shared}


def main_metric(folder: Folder, groups: Sequence[Group]) -> tuple[str, str]:
    """What the sweep's jobs are compared by; of one whose jobs are over, what they were chosen by."""
    if groups:
        return groups[0].setups[0].metric, groups[0].setups[0].mode
    for entry in folder.entries.values():
        summary = rundir.read_json(folder.directory / entry.directory / rundir.SUMMARY) or {}
        if isinstance(summary.get("metric"), str):
            return summary["metric"], str(summary.get("mode", "max"))
    return "val/loss", "min"


def seconds(folder: Folder, number: int) -> float | None:
    """How long a job trained; of stacked jobs, its share."""
    return (rundir.read_json(folder.path(number) / rundir.SUMMARY) or {}).get("seconds")


@contextlib.contextmanager
def small_footprint(launcher: Launcher) -> Iterator[None]:
    """While other processes train, this one takes no memory of a GPU."""
    variable = "XLA_PYTHON_CLIENT_PREALLOCATE"
    before = os.environ.get(variable)
    if not launcher.inside:
        import jax

        os.environ[variable] = "false"
        jax.devices()  # reads it
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
    yield
