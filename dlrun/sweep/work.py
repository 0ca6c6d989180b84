"""Trains a unit: some jobs of one group, each in its directory. Run as a program, it takes a unit's file.

A unit can be started again at any time: jobs that are done are left, others go on from their checkpoints.
"""

import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from dlrun import checkpoint, devices, environment, plan, rundir
from dlrun.alone import Alone
from dlrun.data.fingerprint import changed_since, changes
from dlrun.engine import Engine
from dlrun.progress import Progress
from dlrun.run import run
from dlrun.schema import InvalidConfig
from dlrun.setup import Setup, alike, prepare
from dlrun.signals import Stop
from dlrun.stack import Stack, together
from dlrun.sweep.folder import OVER, begun, status
from dlrun.sweep.groups import known
from dlrun.sweep.launchers.process import leash
from dlrun.sweep.pruning import from_state
from dlrun.train import Pruner

log = logging.getLogger("dlrun.sweep.work")  # also where it is run as a program
MOST = {True: 128, False: 64}
"""Jobs that are stacked at most, all at once and one by one: beyond that there is nothing left to gain."""
OF_MEMORY = 0.25  # of the memory that is free, the share that stacked states and their copies may take


@dataclass(frozen=True)
class Member:
    """A job as it is trained.

    Args:
      number: of the job.
      command: what makes this run alone.
      directory: of its run, which exists.
      resume: whether to go on with what is there.
    """

    number: int
    command: list[str]
    setup: Setup
    directory: Path
    resume: bool


Codes = dict[int, int]
"""Exit codes by number of the job; a job that a signal kept from starting has none."""


def train(
    engine: Engine,
    members: Sequence[Member],
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

    def started(member: Member, of: Any) -> Generator[Any, None, int]:
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


def at_once(engine: Engine, vmap: bool | None) -> bool:
    """Whether stacked jobs are computed all at once: on an accelerator, unless the user says so or otherwise."""
    return _platform(engine) != "cpu" if vmap is None else vmap


def stacks(engine: Engine, jobs: int, *, vmap: bool | None, chunk: int | None) -> list[int]:
    """How many jobs are trained together, of so many that stand at the same step; 1 is by itself."""
    setup = engine.setup
    # A loop on the device makes XLA's convolutions slow on CPU; rows that are read while training are each run's own.
    alone = vmap is False or engine.streams or setup.plan.settings.distributed.processes > 1
    alone |= not setup.program.loop and not vmap
    if alone or jobs == 1:
        return [1] * jobs
    most = min(chunk or MOST[at_once(engine, vmap)], room(engine))
    parts = -(-jobs // most)
    size = -(-jobs // parts)  # of about the same size, so that a second one needs no other program
    return [min(size, jobs - i) for i in range(0, jobs, size)]


def chunks(
    engine: Engine, members: Sequence[Member], *, vmap: bool | None, chunk: int | None
) -> Iterator[list[Member]]:
    """The jobs that are trained together: those that stand at the same step, as many as fit; else one by one."""
    at: dict[int, list[Member]] = {}
    for member in members:
        at.setdefault(_step(member), []).append(member)
    for some in at.values():
        for size in stacks(engine, len(some), vmap=vmap, chunk=chunk):
            yield some[:size]
            some = some[size:]


def room(engine: Engine) -> int:
    """How many stacked jobs fit into memory."""
    import jax

    shapes, device = engine.setup.shapes, engine.setup.mesh.devices.flat[0]
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(checkpoint.flat, shapes)))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * OF_MEMORY
    if device.platform != "cpu":
        limit = (device.memory_stats() or {}).get("bytes_limit")
        used = (device.memory_stats() or {}).get("bytes_in_use", 0)
        if limit:
            each = 3 * state + max(activations(engine), engine.eval_bytes(engine.eval_size(MOST[True])))
            free = min(free * each / state, 0.9 * (limit - used))
            return max(1, int(free / each))
    return max(1, int(free / (3 * state)))


def activations(engine: Engine) -> int:
    """Bytes that a training step of one run takes beside its state and batch, as XLA plans it."""
    import jax
    import numpy as np

    setup, size = engine.setup, engine.setup.plan.settings.batch_size
    rows = {"x": setup.examples(size), "y": setup.targets(size)}
    order = jax.ShapeDtypeStruct((1, size), np.int32)
    one = jax.ShapeDtypeStruct((), np.int32)
    compiled = engine.train_steps.lower(setup.shapes, engine.zeros(), {**rows, **engine.constants}, order, one, one)
    found = compiled.compile().memory_analysis()
    return int(getattr(found, "temp_size_in_bytes", 0))


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


def _step(member: Member) -> int:
    """The step that a job will go on from."""
    if not member.resume:
        return 0
    folder = member.directory / rundir.CHECKPOINTS
    return next((s for s in reversed(checkpoint.steps(folder)) if checkpoint.verify(folder / str(s))), 0)


def _platform(engine: Engine) -> str:
    return engine.setup.mesh.devices.flat[0].platform


def main(file: str) -> int:
    """Trains the unit of a file; gives the exit code: 0 done, 1 a job failed, 128 + a signal's number."""
    unit = json.loads(Path(file).read_text(encoding="utf-8"))
    if unit["trust"]:
        plan.importable([Path(d) for d in unit["config_dirs"]], tuple(unit["trust"]))
    root, how = Path(unit["sweep"]), unit["launcher"]
    members: list[Member] = []
    for job in unit["jobs"]:
        checked = plan.plan(job["values"], tuple(unit["trust"]))
        if not members:
            devices.initialize(checked.settings)
        setup = alike(members[0].setup, checked) if members else prepare(checked)
        directory = root / job["directory"]
        members.append(Member(job["number"], ["dlrun", *job["overrides"]], setup, directory, begun(directory)))
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
