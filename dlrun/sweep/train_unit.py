"""Trains a unit: some jobs of one group, each in its directory. Run as a program, it takes a unit's file.

A unit can be started again at any time: jobs that are done are left, others go on from their checkpoints.
"""

import contextlib
import json
import logging
import resource
import sys
from collections.abc import Callable, Generator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from dlrun.config import components, plan
from dlrun.data.fingerprint import changed_since, changes
from dlrun.display.progress import Progress
from dlrun.errors import InvalidConfig
from dlrun.program import devices
from dlrun.program.compiled import Engine
from dlrun.program.setup import alike, prepare
from dlrun.runs import rundir
from dlrun.sweep.capacity import at_once, chunks
from dlrun.sweep.folder import OVER, begun, status
from dlrun.sweep.jobs.groups import known
from dlrun.sweep.launchers.process import leash
from dlrun.sweep.search.pruning import from_state
from dlrun.sweep.unit_job import UnitJob
from dlrun.system import environment
from dlrun.train.ends import Pruner
from dlrun.train.run import run
from dlrun.train.signals import Stop
from dlrun.train.single import Alone
from dlrun.train.sinks import missing
from dlrun.train.stacked import Stack, together

log = logging.getLogger("dlrun.sweep.train_unit")  # also where it is run as a program


Codes = dict[int, int]
"""Exit codes by number of the job; a job that a signal kept from starting has none."""


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
    """Trains jobs of one group.

    Args:
      engine: of the group.
      vmap, chunk: of the launcher.
      progress: the display of a job.
      stop: asked for signals.
      pruner: of a search.
      done: told of a job's end and exit code; True where no other should be started.
    """
    codes: Codes = {}
    progress = cache(progress)  # one display a job, which counts its steps

    def started(member: UnitJob, of: Any) -> Generator[Any, None, int]:
        shown = progress(member.number)
        how: dict[str, Any] = {
            "command": member.command,
            "facts": facts,
            "resumed": [] if member.resume else None,
            "pictures": False,
        }
        if pruner is not None:
            how["worth"] = partial(_worth, pruner, member.number)
        return ended(
            member.number, logged(member.directory, run(member.setup, member.directory, of, shown, stop, **how))
        )

    def ended(number: int, steps: Generator[Any, None, int]) -> Generator[Any, None, int]:
        try:
            code = yield from steps
        except InvalidConfig as error:  # its directory is another process's
            code = 2
            progress(number).note(str(error))
        except Exception as error:
            log.exception("job %d", number)
            code = 1
            progress(number).note(f"failed: {type(error).__name__}: {error}".splitlines()[0])
        codes[number] = code
        nonlocal enough
        enough = done(number, code) or enough
        return code

    enough, facts = False, environment.facts()  # asking git takes as long as a short run
    many_files()
    for some in chunks(engine, members, vmap=vmap, chunk=chunk):
        if stop.signum or enough:
            break
        shown = [progress(member.number) for member in some]
        if len(some) == 1:
            for _ in started(some[0], Alone(some[0].setup, engine, shown[0], stop)):
                pass
        else:
            stack = Stack(engine, [m.setup for m in some], shown, stop, at_once=at_once(engine, vmap))
            together(stack, [started(m, slot) for m, slot in zip(some, stack.slots.values(), strict=True)])
    return codes


def quiet() -> None:
    """Log lines go to the log.txt of the job that has its turn alone, and libraries' details nowhere."""
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


def logged(directory: Path, steps: Generator[Any, None, int]) -> Generator[Any, None, int]:
    """Writes what is logged while this run has its turn to its own log.txt."""
    handler = logging.FileHandler(directory / rundir.LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, error = logging.getLogger(), None
    try:
        while True:
            root.addHandler(handler)
            try:
                request = next(steps) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                root.removeHandler(handler)
            error = None
            try:
                yield request
            except Exception as thrown:
                error = thrown
    finally:
        handler.close()


def _worth(pruner: Pruner, job: int, step: int, value: float) -> Callable[[], bool]:
    pruner.report(job, step, value)
    return lambda: not pruner.prune(job, step)


def main(file: str) -> int:
    """Trains the unit of a file; gives the exit code: 0 done, 1 a job failed, 128 + a signal's number."""
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
        setup = alike(members[0].setup, checked, lacking) if members else prepare(checked, found=lacking)
        directory = root / job["directory"]
        members.append(UnitJob(job["number"], ["dlrun", *job["overrides"]], setup, directory, begun(directory)))
    if members and (changed := changes(unit["data"], known(members[0].setup.data))):
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
    """What a job has to say, a line each, for the unit's log."""

    def __init__(self, number: int, metric: str):
        super().__init__(metric)
        self.number = number

    def start(self, step: int, total: int) -> None:
        self.begin(step, total)
        self.note(f"step {step} of {total}")

    def tell(self, text: str, shown: str | None = None) -> None:
        log.info("%s", text)

    def show(self, text: str) -> None:
        print(f"job {self.number}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    leash()
    try:
        sys.exit(main(sys.argv[1]))
    except InvalidConfig as wrong:
        print("\n".join(f"error: {problem}" for problem in wrong.problems), file=sys.stderr)
        sys.exit(2)
