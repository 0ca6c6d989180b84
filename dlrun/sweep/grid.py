"""``dlrun -m``: trains a grid, from the command to the trained runs."""

from typing import Any

from dlrun.config import composition
from dlrun.errors import InvalidConfig, tell
from dlrun.runs import rundir
from dlrun.runs.status import OVER
from dlrun.sweep.folder import Folder, digest
from dlrun.sweep.jobs.groups import grouped, same_data
from dlrun.sweep.jobs.job import Job, taken_from
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.names import names
from dlrun.sweep.request import SweepRequest
from dlrun.sweep.run_sweep import created, existing, main_metric, opened, run_sweep, small_footprint
from dlrun.sweep.trainer import Trainer


def sweep(request: SweepRequest, hydra: Any, problems: list[str], *, dry_run: bool) -> int:
    """Runs the sweep of a command; gives the exit code. The last line on stdout is the sweep's directory.

    Args:
      hydra: over the configs.
      problems: problems found before.
      dry_run: whether to print an estimate only, and make nothing.

    Raises:
      InvalidConfig: with all that is wrong with any job, before anything is made.
    """
    from dlrun.sweep.jobs.space import Space

    space = Space(hydra, request.cfg, request.overrides)
    most = composition.plain(request.cfg)[0].get("launcher", {}).get("max_jobs", Launcher.max_jobs)
    jobs = space.grid(request.trust, problems, most if isinstance(most, int) else Launcher.max_jobs)
    launcher = opened(jobs)
    folder = existing(request, space.swept)
    if folder is not None:
        jobs = belonging(folder, jobs)
    for axis in space.axes.values():
        for value in axis.twice:
            tell(f"notice: {axis.text}: {value} appears more than once, and is trained once")
    with small_footprint(launcher):
        over = {job.number for job in jobs if folder and job.number in folder.entries}
        over = {n for n in over if folder and folder.status(n) in OVER}
        groups = grouped([job for job in jobs if job.number not in over])
        if dry_run:
            from dlrun.sweep.estimate import report

            print(report(jobs, groups, launcher, len(over)))
            return 0
        if folder is not None:
            # Changed data is refused even where nothing is left to train.
            kinds = {taken_from(job.plan.values): job for job in jobs}
            same_data(groups or grouped([*kinds.values()]), folder.data(), folder.directory)
        names(request.cfg, jobs, folder.entries if folder else {})
        if folder is None:
            folder = created(request, space.swept)
        metric, mode = main_metric(folder, groups)

        def train(running: Trainer) -> None:
            running.add(jobs)
            running.train(groups)

        return run_sweep(request, folder, launcher, metric, mode, train)


def belonging(folder: Folder, jobs: list[Job]) -> list[Job]:
    """The jobs, with the numbers that they have in a sweep whose directory exists already.

    Raises:
      InvalidConfig: where that is a search, or another sweep: none of its jobs is among these.
    """
    if (folder.directory / rundir.STUDY).exists():
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
