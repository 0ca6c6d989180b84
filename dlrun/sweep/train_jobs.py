"""Trains jobs of one group, each in its directory."""

import contextlib
import logging
import resource
from collections.abc import Callable, Sequence

from dlrun.display.progress import Progress
from dlrun.errors import InvalidConfig
from dlrun.program.compiled import CompiledProgram
from dlrun.sweep.capacity import at_once, chunks
from dlrun.sweep.prepared_job import PreparedJob
from dlrun.system import environment
from dlrun.train.ends import Pruner
from dlrun.train.loop import train as train_runs
from dlrun.train.signals import Stop
from dlrun.train.single import SingleState
from dlrun.train.stacked import StackedState
from dlrun.train.states import States
from dlrun.train.training_run import TrainingRun

log = logging.getLogger(__name__)


Codes = dict[int, int]
"""Exit codes by the numbers of jobs; jobs that were never started have none."""


def train(
    compiled: CompiledProgram,
    jobs: Sequence[PreparedJob],
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
      compiled: the group's program, compiled.
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

    for some in chunks(compiled, jobs, vmap=vmap, chunk=chunk):
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
            states: States = SingleState(some[0].setup, compiled)
        else:
            states = StackedState(compiled, [job.setup for job in some], at_once=at_once(compiled, vmap))
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
