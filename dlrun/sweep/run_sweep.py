"""What grids and searches share: launcher, directory, lock and signals before, and the table and figure at the end."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from dlrun.config import directories
from dlrun.config.plan import Plan
from dlrun.errors import InvalidConfig
from dlrun.program import devices
from dlrun.program.misfits import reported
from dlrun.runs import atomic, rundir
from dlrun.runs.loading import load
from dlrun.runs.lock import Gone, locked
from dlrun.runs.status import LOST, OVER
from dlrun.sweep import train_jobs
from dlrun.sweep.display import SweepDisplay, see
from dlrun.sweep.folder import Folder, read
from dlrun.sweep.jobs.groups import Group
from dlrun.sweep.jobs.job import Job
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.request import SweepRequest
from dlrun.sweep.trainer import Trainer
from dlrun.train.run import notice
from dlrun.train.signals import Stop


def run_sweep(
    request: SweepRequest,
    folder: Folder,
    launcher: Launcher,
    metric: str,
    mode: str,
    train: Callable[[Trainer], str | None],
) -> int:
    """Trains a sweep while its directory is locked, prints the results at the end, and gives the exit code.

    Args:
      metric, mode: what jobs are compared by, such as ``val/loss`` and ``min``.
      train: has the given trainer train the jobs; gives further lines to print at the end, or None.
    """
    train_jobs.quiet()
    with locked(folder.directory) as folder.lock, SweepDisplay(metric, mode) as display:
        rundir.remove_parts(folder.directory)
        ended, more, gone = "failed", None, None
        with Stop(partial(notice, display)) as stop:
            running = Trainer(request, folder, launcher, display, stop)
            try:
                more = train(running)
                ended = "failed" if running.failed else "completed"
            except Exception as error:
                if not folder.is_gone:
                    raise
                gone = error if isinstance(error, Gone) else Gone(folder.directory)
            finally:
                folder.refresh()
                ended = "stopped" if stop.signum else ended
                idle = not folder.written and folder.says(ended)
                if not idle:
                    folder.write(ended)
        if gone:
            display.note(f"failed: {gone}")
            print(folder.directory, flush=True)
            return 128 + stop.signum if stop.signum else 1
        if display.jobs:
            display.note(display.table(partial(seconds, folder)))
        if more:
            display.note(more)
        elif idle:
            display.note(f"nothing to do: all jobs of {folder.directory} are done")
        if stop.signum or any(s not in OVER for s in display.statuses.values()):
            display.note(f"go on with: dlrun resume {shlex.quote(str(folder.directory))}")
        if failed := [n for n in display.statuses if display.statuses[n] in LOST]:
            shown = ", ".join(map(str, failed[:20])) + (", ..." if len(failed) > 20 else "")
            where = next(filter(None, map(running.log, failed)), None)
            display.note(f"{len(failed)} of {len(display.jobs)} jobs failed: {shown}{see(where)}")
    if request.cfg.log.plot and not idle:
        picture(display, folder)
    print(folder.directory, flush=True)
    return 128 + stop.signum if stop.signum else int(running.failed)


def picture(display: SweepDisplay, folder: Folder) -> None:
    """Draws all runs into one figure, in groups, as ``dlrun compare --plot`` does.

    A figure for each run could take longer than its training.
    """
    with contextlib.suppress(OSError, InvalidConfig):  # a full disk, a folder that is gone: reported before
        runs = load([folder.directory])
        if display.metric in runs.metrics:
            from dlrun.compare.grouping import grouped
            from dlrun.compare.measures import metric
            from dlrun.compare.plot import curves

            by = metric(runs, display.metric, "best")
            groups = grouped(runs, by=by)
            curves.draw(groups, groups.ranked(by), [by], folder.directory / rundir.CURVES)


def opened(jobs: list[Job]) -> Launcher:
    """The launcher of the jobs, once JAX is set up as they ask for.

    Raises:
      InvalidConfig: if they name several launchers, or theirs can't work here.
    """
    launcher = launcher_of([job.plan for job in jobs])
    devices.initialize(jobs[0].plan.settings)
    return launcher


def existing(request: SweepRequest, swept: dict[str, list[Any]]) -> Folder | None:
    """The directory that the command names, if it holds a sweep; ``swept`` has the several values by key."""
    where = directories.named(request.cfg, "hydra.sweep.dir")
    return None if where is None or read(where) is None else Folder(where, described(request, swept))


def created(request: SweepRequest, swept: dict[str, list[Any]]) -> Folder:
    """Makes the directory of a new sweep."""
    return Folder(directories.create(request.cfg, "hydra.sweep.dir"), described(request, swept))


def described(request: SweepRequest, swept: dict[str, list[Any]]) -> dict[str, Any]:
    """What sweep.json records of the command."""
    return {
        "command": ["dlrun", *sys.argv[1:]],
        "overrides": request.overrides,
        "config_dirs": [str(d.resolve()) for d in request.config_dirs],
        "swept": swept,
    }


def launcher_of(plans: list[Plan]) -> Launcher:
    """The launcher of the jobs. Raises :class:`InvalidConfig` if they name several, or it can't work here."""
    problems: list[str] = []
    if len({plan.choices["launcher"] for plan in plans}) > 1:
        raise InvalidConfig(["launcher: several values; allowed: one, as it is not part of a run"])
    with reported(problems, "launcher", fatal=True):
        return plans[0].choices["launcher"]()
    raise AssertionError


def main_metric(folder: Folder, groups: Sequence[Group]) -> tuple[str, str]:
    """Metric and mode that the sweep's jobs are compared by; from their records where no job is left to train."""
    if groups:
        return groups[0].setups[0].metric, groups[0].setups[0].mode
    for entry in folder.entries.values():
        summary = atomic.read_json(folder.directory / entry.directory / rundir.SUMMARY) or {}
        if isinstance(summary.get("metric"), str):
            return summary["metric"], str(summary.get("mode", "max"))
    return "val/loss", "min"


def seconds(folder: Folder, number: int) -> float | None:
    """How long a job trained, in seconds; of a job in a stack, its share of the stack's time. None if unknown."""
    return (atomic.read_json(folder.path(number) / rundir.SUMMARY) or {}).get("seconds")


@contextlib.contextmanager
def small_footprint(launcher: Launcher) -> Iterator[None]:
    """Keeps this process from reserving a GPU's memory where other processes train."""
    variable = "XLA_PYTHON_CLIENT_PREALLOCATE"
    before = os.environ.get(variable)
    if not launcher.inside:
        import jax

        os.environ[variable] = "false"
        jax.devices()  # JAX reads the variable now, and not again
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
    yield
