"""A sweep from its command to its table: check all jobs, find what is there, train the rest, say what came of it."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dlrun import config, devices, rundir
from dlrun.plan import Plan
from dlrun.run import notice
from dlrun.schema import InvalidConfig
from dlrun.setup import reported
from dlrun.signals import Stop
from dlrun.sweep import study, work
from dlrun.sweep.folder import OVER, Folder, digest, read, taken_from
from dlrun.sweep.groups import Group, grouped, same_data
from dlrun.sweep.job import Job
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.naming import Asked, names
from dlrun.sweep.status import Status, see
from dlrun.sweep.trainer import FAILED, Trainer


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
    for axis in space.axes.values():
        for value in axis.twice:
            print(f"notice: {axis.text}: {value} is there more than once, and is trained once", file=sys.stderr)
    with small_footprint(launcher):
        over = {job.number for job in jobs if folder and job.number in folder.entries}
        over = {n for n in over if folder and folder.status(n) in OVER}
        groups = grouped([job for job in jobs if job.number not in over])
        if dry_run:
            from dlrun.sweep.estimate import report

            print(report(jobs, groups, launcher, len(over)))
            return 0
        if folder is not None:
            # Where nothing is to be trained, it is told all the same that the data is not that of the runs.
            kinds = {taken_from(job.plan.values): job for job in jobs}
            same_data(groups or grouped([*kinds.values()]), folder.data(), folder.directory)
        names(asked.cfg, jobs, folder.entries if folder else {})
        if folder is None:
            folder = Folder(config.create(asked.cfg, "hydra.sweep.dir"), described(asked, space.swept))
        metric, mode = main_metric(folder, groups)

        def train(running: Trainer) -> None:
            running.add(jobs)
            running.train(groups)

        return conducted(asked, folder, launcher, metric, mode, train)


def conducted(
    asked: Asked, folder: Folder, launcher: Launcher, metric: str, mode: str, train: Callable[[Trainer], str | None]
) -> int:
    """Trains with the sweep's directory held, and tells in the end what came of it.

    Args:
      train: gives what else there is to tell.
    """
    work.quiet()
    with rundir.locked(folder.directory), Status(metric, mode) as status:
        ended, more = "failed", None
        with Stop(partial(notice, status)) as stop:
            running = Trainer(asked, folder, launcher, status, stop)
            try:
                more = train(running)
                ended = "failed" if running.failed else "completed"
            finally:
                folder.refresh()
                ended = "stopped" if stop.signum else ended
                idle = not folder.written and folder.says(ended)
                if not idle:
                    folder.write(ended)
        if status.jobs:
            status.note(status.table(partial(seconds, folder)))
        if more:
            status.note(more)
        elif idle:
            status.note(f"nothing to do: all jobs of {folder.directory} are over")
        if stop.signum or any(s not in OVER for s in status.statuses.values()):
            status.note(f"go on with: dlrun resume {shlex.quote(str(folder.directory))}")
        if failed := [n for n in status.statuses if status.statuses[n] in FAILED]:
            shown = ", ".join(map(str, failed[:20])) + (", ..." if len(failed) > 20 else "")
            where = next(filter(None, map(running.log, failed)), None)
            status.note(f"{len(failed)} of {len(status.jobs)} jobs failed: {shown}{see(where)}")
    if asked.cfg.log.plot and not idle:
        picture(status, folder)
    print(folder.directory, flush=True)
    return 128 + stop.signum if stop.signum else int(running.failed)


def picture(status: Status, folder: Folder) -> None:
    """The curves of all runs, once: a picture of each would take longer than to train it."""
    runs = {number: rundir.read_metrics(folder.path(number)) for number in folder.entries}
    if any(runs.values()):
        from dlrun.curves import draw_sweep

        named = {status.name(number): rows for number, rows in runs.items()}
        with contextlib.suppress(OSError):  # a full disk was reported before
            draw_sweep(named, status.metric, status.mode, folder.directory / rundir.CURVES)


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
    if (folder.directory / study.FILE).exists():
        allowed = f"allowed: a new folder, or dlrun resume {folder.directory}"
        raise InvalidConfig([f"hydra.sweep.dir={folder.directory}: the folder of a search; {allowed}"])
    known = {entry.digest for entry in folder.entries.values()}
    if known and not any(digest(job) in known for job in jobs):
        raise InvalidConfig(
            [
                f"hydra.sweep.dir={folder.directory}: the sweep of another command, none of whose runs is among these; "
                f"allowed: a new folder, or dlrun resume {folder.directory}"
            ]
        )
    return folder.numbered(jobs)


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
