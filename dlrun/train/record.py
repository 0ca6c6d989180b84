"""Writes the records of a run: run.json when it starts, goes on and ends; data.json; summary.json; the pictures."""

import contextlib
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dlrun.check.charts import learning_rates
from dlrun.data.fingerprint import changed_since
from dlrun.display.units import counted
from dlrun.program.setup import Setup
from dlrun.runs import atomic, files, rundir, times
from dlrun.system import environment
from dlrun.train.pace import Pace
from dlrun.train.position import Position
from dlrun.train.resumption import Resumption
from dlrun.train.sinks import named


class Record:
    """Writes run.json, data.json, summary.json and the pictures of a run.

    Args:
      command: the command that makes the run; None for this process's command.
      facts: what :func:`dlrun.system.environment.facts` returned, if it was called before.
      pictures: whether to draw what ``log.plot`` asks for.
    """

    def __init__(
        self, setup: Setup, directory: Path, command: list[str] | None, facts: dict[str, Any] | None, pictures: bool
    ):
        self.setup, self.directory = setup, directory
        self.command, self.facts = command, facts
        self.pictures = pictures and setup.plan.settings.log.plot
        self.began = time.time()
        self.learning_rates: Any = None
        self.drawing = threading.Thread(target=self._prepare_pictures, daemon=True)
        if self.pictures:  # needed at the end, and slow to get, so it is done beside the training
            self.drawing.start()

    def _prepare_pictures(self) -> None:
        importlib.import_module("dlrun.display.figures")
        with contextlib.suppress(Exception):  # a user's schedule may fail in any way; then the rows have to do
            self.learning_rates = learning_rates(self.setup.plan, self.setup.total_steps)

    def open(self, pace: Pace, eval_size: int, again: dict[str, Any] | None) -> None:
        """Writes run.json when a run starts or goes on.

        Args:
          eval_size: how many examples are evaluated at a time.
          again: for a run that goes on, what to add to ``resumed`` in run.json; None for a run that starts.
        """
        rundir.remove_parts(self.directory)
        setup, before = self.setup, atomic.read_json(self.directory / rundir.RUN) or {}
        now = times.now()
        fields = {
            "status": "running",
            "error": None,
            "end": None,
            "seed": setup.plan.settings.seed,
            "config": setup.plan.values,
            "parameters": setup.parameter_count,
            "matmul_precision": setup.matmul_precision,
            "eval_batch_size": eval_size,
            **(pace.facts if again is None else {"stack": pace.stack}),
            "data": setup.data.digest,
            "rows": {split: len(getattr(setup.data, split)) for split in ("train", "val", "test")},
            "classes": list(setup.data.classes),
            **({} if setup.teacher is None else {"teacher": setup.teacher}),
        }
        if again is None:
            made: dict[str, Any] = {"command": self.command or ["dlrun", *sys.argv[1:]], "start": now}
        else:
            lost = self.command and "command" not in before
            made = {"command": self.command, "start": now} if lost else {}
            earlier = before.get("resumed")
            made["resumed"] = [*(earlier if isinstance(earlier, list) else []), {"time": now, **again}]
        rundir.update_run(self.directory, **made, **fields, **(self.facts or environment.facts()))

    def keep_history(self, start: Resumption, warn: Callable[[str], None]) -> dict[str, Any]:
        """If the data changed, copies earlier results to a folder of their own; gives what to add to ``resumed``."""
        if not start.changed:
            return {}
        kept = rundir.keep_history(self.directory)
        files.remove(self.directory / rundir.SUMMARY)
        told = "the best value and the patience start again, and rows that were trained on may be in other splits now"
        warn(f"{changed_since(start.changed)}; {told}; what was measured before is in {kept}")
        before = str(kept.relative_to(self.directory))
        return {"data": {"step": start.step, "changed": start.changed, "before": before}}

    def write_data(self) -> None:
        """Writes data.json: how a raw example becomes an input, and the fingerprint of the data."""
        atomic.write_json(self.directory / rundir.DATA, self.setup.data.preprocessing())

    def close(self, status: str, error: str | None, at: Position, pace: Pace, details: dict[str, Any] | None) -> bool:
        """Draws the pictures, writes summary.json and the end of run.json; gives whether all is written.

        On a full disk what does not fit is left out.

        Args:
          details: results for each class, of a run that is complete.
        """
        with contextlib.suppress(OSError):  # a full disk was reported before
            if self.pictures:
                self.drawing.join()
            if self.pictures and (rows := rundir.read_metrics(self.directory)):
                from dlrun.display.figures import draw

                draw(rows, self.directory / rundir.CURVES, self.learning_rates)
            rundir.update_run(
                self.directory,
                status=status,
                error=error,
                end=times.now(),
                seconds=round(time.time() - self.began, 3),
                **(pace.facts if pace.steps else {}),  # a run that took no step keeps its earlier pace
                peak_memory=environment.peak_memory(),
            )
            if details is None:
                return True
            summary = {"status": status, **summary_of(self.setup, at, rundir.rows(self.directory)), **details}
            atomic.write_json(self.directory / rundir.SUMMARY, summary)
            if self.pictures and "confusion" in details:
                from dlrun.display.figures import draw_confusion

                draw_confusion(details["confusion"], self.setup.data.classes, self.directory / rundir.CONFUSION)
            files.sync(self.directory)  # what replaced a file above outlasts a power cut from here on
            return True
        return False


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
        f"model {names['model']}: {setup.parameter_count:,} parameters, {settings.precision} on {many}{kind}; "
        f"{counted(setup.total_steps, 'step')} of {counted(settings.batch_size, 'row')}",
    ]


def summary_of(setup: Setup, at: Position, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What summary.json holds: final, best and test metrics as flat keys such as ``best/val/accuracy``."""
    flat = {"step": at.step, "epoch": round(at.step / setup.steps_per_epoch, 4), "seconds": round(at.seconds, 3)}
    flat |= {"metric": setup.metric, "mode": setup.mode, "best/step": at.best_step}
    last: dict[str, dict[str, Any]] = {}
    best: dict[str, float] = {}
    for row in rows:  # one by one: there may be more than memory holds
        last[row["split"]] = row
        if row["split"] == "val" and row["step"] == at.best_step:
            best = named(row)
    for row in last.values():
        flat |= named(row)
    # The row may be lost. What was best is known from the state, too.
    known = {setup.metric: at.best} if at.best is not None else {}
    return flat | {f"best/{k}": v for k, v in (best or known).items()}
