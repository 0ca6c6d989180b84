"""A run from its directory's first file to its last: status, training, curves, summary."""

import contextlib
import importlib
import logging
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dlrun.data.fingerprint import changed_since
from dlrun.display.progress import Progress
from dlrun.display.units import counted
from dlrun.program.compiled import Engine
from dlrun.program.nonfinite import NonFinite
from dlrun.program.setup import Setup
from dlrun.runs import atomic, rundir
from dlrun.runs.checkpoint import CheckpointError
from dlrun.runs.lock import locked
from dlrun.system import environment
from dlrun.train.ends import Pruned, Stopped
from dlrun.train.loop import Result, train
from dlrun.train.position import Position
from dlrun.train.resumption import Resumption, resumption
from dlrun.train.signals import Stop
from dlrun.train.single import Alone, Member
from dlrun.train.sinks import named

log = logging.getLogger(__name__)


class Notes(Protocol):
    """Shows lines to a person."""

    def note(self, text: str) -> None: ...


def alone(setup: Setup, directory: Path, **how: Any) -> int:
    """Trains a run by itself; ``how`` goes on to :func:`run`, which tells the exit code."""
    with Progress(setup.metric) as progress, Stop(partial(notice, progress)) as stop:
        steps = run(setup, directory, Alone(setup, Engine(setup), progress, stop), progress, stop, **how)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return done.value


def run(
    setup: Setup,
    directory: Path,
    member: Member,
    progress: Progress,
    stop: Stop,
    *,
    command: list[str] | None = None,
    facts: dict[str, Any] | None = None,
    resumed: list[str] | None = None,
    accept_data: bool = False,
    accept: Callable[[], None] = lambda: None,
    pictures: bool = True,
    worth: Any = None,
) -> Generator[tuple[Position, int], None, int]:
    """Trains in a directory that exists; gives the exit code: 0 done, 1 failed, 128 + the signal's number stopped.

    A generator, that yields where the run waits for others of its stack; see :class:`~dlrun.train.single.Member`.

    Args:
      command: what makes the run; None is this process's command.
      facts: of :func:`dlrun.system.environment.facts`, where they were asked for before.
      resumed: overrides of a resumed run; None for a new one.
      accept_data: whether a resumed run goes on with data that changed.
      accept: called once the directory is this process's alone, and it is known that the run can go on.
      pictures: whether to draw what ``log.plot`` asks for.
      worth: of :func:`~dlrun.train.loop.train`.

    Raises:
      rundir.InUse: when another process works in the directory.
      InvalidConfig: of :func:`~dlrun.train.resumption.resumption`; the directory stays as it was.
    """
    first = setup.first
    pictures &= setup.plan.settings.log.plot
    logging.raiseExceptions = False  # a full disk is told once, not by every log line that it swallows
    with locked(directory) if first else contextlib.nullcontext():
        start = None
        if resumed is not None:
            start = resumption(setup, directory, member.engine.fit, accept_data=accept_data)
            if start is None:
                progress.note(f"nothing to do: {directory} is complete; more steps: epochs=... or steps=...")
                return 0
        if first:
            accept()
        progress.stack = member.pace.stack
        if resumed is not None:
            progress.tell(" ".join(["resumed", *(["with", *resumed] if resumed else [])]))
        for text in introduction(setup) if first else ():
            progress.tell(text)
        for text in [*setup.warnings, *(start.notes if start else ())]:
            progress.warn(text)
        began = time.time()
        _ = member.eval_size  # which several processes agree on
        if first:
            again = None if start is None or resumed is None else went_on(directory, start, resumed, progress)
            fields = opening(setup, directory, command, again, member)
            rundir.update_run(directory, **fields, **(facts or environment.facts()))
        if pictures:  # needed at the end; its import takes a while, beside the training
            threading.Thread(target=importlib.import_module, args=("dlrun.display.figures",), daemon=True).start()
        result, status, error, code = None, "failed", None, 1
        try:
            if first:
                atomic.write_json(directory / rundir.DATA, setup.data.preprocessing())
            result = yield from train(setup, directory, member, progress=progress, stop=stop, start=start, worth=worth)
            status, error, code = "completed", None, 0
        except Stopped as stopped:
            status, error, code = "stopped", str(stopped), 128 + stopped.signum
        except Pruned as pruned:
            status, error, code = "pruned", str(pruned), 0
        except NonFinite as bad:
            status, error = "diverged", str(bad)
        except CheckpointError as failed:
            error = str(failed)
        except OSError as failed:
            error = f"{failed.strerror or failed}" + (f": {failed.filename}" if failed.filename else "")
        except Exception as failed:
            log.error("%s", traceback.format_exc())
            error = f"{type(failed).__name__}: {failed}".splitlines()[0]
            raise
        finally:
            if first:
                with contextlib.suppress(OSError):  # a full disk was reported before
                    close(setup, directory, status, error, result, began, member, pictures)
        if error:
            progress.note(
                f"{status}: {error}"
                + (f"; go on with: dlrun resume {shlex.quote(str(directory))}" if code > 128 else "")
            )
        return code


def introduction(setup: Setup) -> list[str]:
    """Lines on what is about to be trained: data, model, device."""
    data, settings = setup.data, setup.plan.settings
    names = {group: setup.plan.values[group]["name"] for group in ("data", "model")}
    rows = ", ".join(f"{len(getattr(data, split)):,} {split}" for split in ("train", "val", "test"))
    outputs = {"classification": "class", "multilabel": "label", "regression": "number", "language_modelling": "token"}
    device = setup.mesh.devices.flat[0]
    kind = device.platform if device.device_kind == device.platform else f"{device.platform} ({device.device_kind})"
    many = f"{setup.mesh.size} devices: " if setup.mesh.size > 1 else ""
    return [
        f"data {names['data']}: {rows} rows; {counted(data.outputs, outputs[data.task])}",
        f"model {names['model']}: {setup.parameters:,} parameters, {settings.precision} on {many}{kind}; "
        f"{counted(setup.total_steps, 'step')} of {counted(settings.batch_size, 'row')}",
    ]


def notice(progress: Notes, signal_name: str) -> None:
    """Tells that a signal was heard: saving may take a moment."""
    progress.note(f"{signal_name}: saving the state and stopping; once more to stop at once")


def went_on(directory: Path, start: Resumption, resumed: list[str], notes: Progress) -> dict[str, Any]:
    """How a run goes on, for run.json. Where its data changed, what was measured before goes to a folder of its own."""
    if not start.changed:
        return {"overrides": resumed}
    kept = rundir.keep_history(directory)
    (directory / rundir.SUMMARY).unlink(missing_ok=True)
    told = "the best value and the patience begin anew, and rows that were trained on may be in other splits now"
    notes.warn(f"{changed_since(start.changed)}; {told}; what was measured before is in {kept}")
    before = str(kept.relative_to(directory))
    return {"overrides": resumed, "data": {"step": start.step, "changed": start.changed, "before": before}}


def opening(
    setup: Setup, directory: Path, command: list[str] | None, resumed: dict[str, Any] | None, member: Member
) -> dict[str, Any]:
    """Fields of run.json when a run starts or goes on."""
    before = atomic.read_json(directory / rundir.RUN) or {}
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    fields = {
        "status": "running",
        "error": None,
        "end": None,
        "seed": setup.plan.settings.seed,
        "config": setup.plan.values,
        "parameters": setup.parameters,
        "matmul_precision": setup.matmul_precision,
        "eval_batch_size": member.eval_size,
        **({"stack": member.pace.stack} if resumed is not None else member.pace.facts),
        "data": setup.data.digest,
        "rows": {split: len(getattr(setup.data, split)) for split in ("train", "val", "test")},
        "classes": list(setup.data.classes),
        **({} if setup.teacher is None else {"teacher": setup.teacher}),
    }
    if resumed is None:
        return {"command": command or ["dlrun", *sys.argv[1:]], "start": now, **fields}
    made = {"command": command, "start": now} if command and "command" not in before else {}  # run.json was lost
    return {**made, "resumed": [*before.get("resumed", []), {"time": now, **resumed}], **fields}


def close(
    setup: Setup,
    directory: Path,
    status: str,
    error: str | None,
    result: Result | None,
    began: float,
    member: Member,
    pictures: bool,
) -> None:
    """Writes pictures, summary and the end of run.json."""
    rows = rundir.read_metrics(directory)
    if pictures and rows:
        from dlrun.display.figures import draw

        draw(rows, directory / rundir.CURVES)
    rundir.update_run(
        directory,
        status=status,
        error=error,
        end=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=round(time.time() - began, 3),
        **(member.pace.facts if member.pace.steps else {}),  # of one that took no step, what was known before
        peak_memory=environment.peak_memory(),
    )
    if result is not None:
        at, details = result
        atomic.write_json(directory / rundir.SUMMARY, {"status": status, **summary(setup, at, rows), **details})
        if pictures and "confusion" in details:
            from dlrun.display.figures import draw_confusion

            draw_confusion(details["confusion"], setup.data.classes, directory / rundir.CONFUSION)


def summary(setup: Setup, at: Position, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What summary.json holds: final, best and test metrics as flat keys such as ``best/val/accuracy``."""
    flat = {"step": at.step, "epoch": round(at.step / setup.steps_per_epoch, 4), "seconds": round(at.seconds, 3)}
    flat |= {"metric": setup.metric, "mode": setup.mode, "best/step": at.best_step}
    last = {row["split"]: row for row in rows}
    for row in last.values():
        flat |= named(row)
    best = [named(row) for row in rows if row["split"] == "val" and row["step"] == at.best_step]
    return flat | {f"best/{k}": v for k, v in (best[-1] if best else {}).items()}
