"""Trains jobs of one group, each in its directory. Run as a program, trains those of a unit, given its file.

The program can be started again at any time: it skips jobs that are done, and resumes others from their checkpoints.
"""

import contextlib
import json
import logging
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dlrun.config import components, plan
from dlrun.data.fingerprint import changed_since, changes
from dlrun.display.progress import Progress
from dlrun.errors import InvalidConfig
from dlrun.program import devices
from dlrun.program.compiled import Engine
from dlrun.program.setup import prepare, with_plan
from dlrun.runs.status import OVER
from dlrun.sweep.capacity import at_once, chunks
from dlrun.sweep.folder import begun, status
from dlrun.sweep.jobs.groups import identity_of
from dlrun.sweep.launchers.process import leash
from dlrun.sweep.search.pruning import from_state
from dlrun.sweep.unit_job import UnitJob
from dlrun.system import environment
from dlrun.train.ends import Pruner
from dlrun.train.loop import train as train_runs
from dlrun.train.signals import Stop
from dlrun.train.single import SingleState
from dlrun.train.sinks import missing
from dlrun.train.stacked import StackedState
from dlrun.train.states import States
from dlrun.train.training_run import TrainingRun

log = logging.getLogger(__spec__.name)  # __name__ would be __main__ where this is run as a program


Codes = dict[int, int]
"""Exit codes by the numbers of jobs; jobs that were never started have none."""


def train(
    engine: Engine,
    members: Sequence[UnitJob],
    *,
    vmap: bool | None,
    chunk: int | None,
    progress: Callable[[int], Progress],
    stop: Stop,
    pruner: Pruner | None = None,
    done: Callable[[int, int], bool] = lambda number, code: False,
) -> Codes:
    """Trains jobs of one group, in stacks where that is possible.

    Args:
      engine: compiles the group's program.
      vmap, chunk: keys of the launcher (:class:`~dlrun.sweep.launchers.base.Launcher`).
      progress: gives the display of a job.
      stop: notes signals; after one, nothing more is started.
      pruner: decides which jobs of a search to give up.
      done: called with the number and exit code of each job that ended; True has nothing more started.
    """
    codes: Codes = {}
    enough, facts = False, environment.facts()  # once for all: git takes as long as a short run
    many_files()

    def ended(run: TrainingRun) -> None:
        if isinstance(run.raised, InvalidConfig):  # its directory is another process's
            run.progress.note(str(run.raised))
        elif run.raised is not None:
            log.error("job %d", run.number, exc_info=run.raised)
            run.progress.note(f"failed: {type(run.raised).__name__}: {run.raised}".splitlines()[0])
        codes[run.number] = run.code
        nonlocal enough
        enough = done(run.number, run.code) or enough

    for some in chunks(engine, members, vmap=vmap, chunk=chunk):
        if stop.signum or enough:
            break
        runs = [
            TrainingRun(
                job.setup,
                job.directory,
                progress(job.number),
                place=place,
                beside=len(some),
                number=job.number,
                command=job.command,
                facts=facts,
                resumed=[] if job.resume else None,
                pictures=False,
                own_log=True,
            )
            for place, job in enumerate(some)
        ]
        if len(some) == 1:
            states: States = SingleState(some[0].setup, engine)
        else:
            states = StackedState(engine, [job.setup for job in some], at_once=at_once(engine, vmap))
        train_runs(runs, states, stop, pruner=pruner, ended=ended)
    return codes


def quiet() -> None:
    """Sends log lines only to the log.txt of the job that has its turn, and drops details of libraries."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.addHandler(logging.NullHandler())
    root.setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.WARNING)


def many_files() -> None:
    """Lets the process open as many files as it may: each run of a stack has several."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(file: str) -> int:
    """Trains the unit that a file describes; gives the exit code: 0 done, 1 a job failed, 128 + a signal's number."""
    unit = json.loads(Path(file).read_text(encoding="utf-8"))
    if unit["trust"]:
        components.importable([Path(d) for d in unit["config_dirs"]], tuple(unit["trust"]))
    root, how = Path(unit["sweep"]), unit["launcher"]
    members: list[UnitJob] = []
    for job in unit["jobs"]:
        checked = plan.plan(job["values"], tuple(unit["trust"]))
        if not members:
            devices.initialize(checked.settings)
        lacking = missing(checked.settings.log.sinks)
        setup = with_plan(members[0].setup, checked, lacking) if members else prepare(checked, problems=lacking)
        directory = root / job["directory"]
        members.append(UnitJob(job["number"], ["dlrun", *job["overrides"]], setup, directory, begun(directory)))
    if members and (changed := changes(unit["data"], identity_of(members[0].setup.data))):
        raise InvalidConfig([f"{root}: {changed_since(changed)}; allowed: the data of then, or a new sweep"])
    left = [m for m in members if status(m.directory) not in OVER]
    pruner = None if unit["pruner"] is None else from_state(unit["pruner"])
    failed = False
    quiet()

    def done(number: int, code: int) -> bool:
        nonlocal failed
        failed |= code in (1, 2)
        return failed and how["fail_fast"]

    with Stop() as stop:
        if left:
            train(
                Engine(left[0].setup),
                left,
                vmap=how["vmap"],
                chunk=how["chunk"],
                progress=lambda number: Lines(number, left[0].setup.metric),
                stop=stop,
                pruner=pruner,
                done=done,
            )
    return 128 + stop.signum if stop.signum else int(failed)


class Lines(Progress):
    """Prints what happens to a job, for the unit's log."""

    def __init__(self, number: int, metric: str):
        super().__init__(metric)
        self.number = number

    def start(self, step: int, total: int) -> None:
        super().start(step, total)
        self.note(f"step {step} of {total}")

    def tell(self, text: str, shown: str | None = None) -> None:
        log.info("%s", text)

    def show(self, text: str) -> None:
        print(f"job {self.number}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    leash()
    logging.raiseExceptions = False  # a full disk is reported once, not for each lost log line
    try:
        sys.exit(main(sys.argv[1]))
    except InvalidConfig as wrong:
        print("\n".join(f"error: {problem}" for problem in wrong.problems), file=sys.stderr)
        sys.exit(2)
