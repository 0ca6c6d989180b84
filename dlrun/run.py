"""A run from its directory's first file to its last: status, training, curves, summary."""

import contextlib
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import jax

from dlrun import environment, rundir
from dlrun.checkpoint import CheckpointError
from dlrun.diagnose import NonFinite
from dlrun.progress import Progress
from dlrun.setup import Setup
from dlrun.signals import Stop
from dlrun.train import Stopped, train

log = logging.getLogger(__name__)


def run(setup: Setup, directory: Path, *, resumed: list[str] | None = None) -> int:
    """Trains in a directory that exists; gives the exit code: 0 done, 1 failed, 128 + the signal's number stopped.

    Args:
      resumed: overrides of a resumed run; None for a new one.
    """
    first = jax.process_index() == 0
    lock = rundir.locked(directory) if first else contextlib.nullcontext()
    with lock, Stop() as stop, Progress(setup.metric) as progress:
        for text in setup.warnings:
            progress.warn(text)
        began = time.time()
        if first:
            rundir.update_run(directory, **opening(setup, directory, resumed))
        summary, status, error, code = None, "failed", None, 1
        try:
            summary = train(setup, directory, progress=progress, stop=stop, resume=resumed is not None)
            status, error, code = "completed", None, 0
        except Stopped as stopped:
            status, error, code = "stopped", str(stopped), 128 + stopped.signum
        except NonFinite as bad:
            status, error = "diverged", str(bad)
        except (CheckpointError, OSError) as failed:
            error = str(failed)
        except Exception as failed:
            log.error("%s", traceback.format_exc())
            error = f"{type(failed).__name__}: {failed}".splitlines()[0]
            raise
        finally:
            if first:
                with contextlib.suppress(OSError):  # a full disk was reported before
                    close(setup, directory, status, error, summary, began)
        if error:
            progress.note(f"{status}: {error}" + (f"; go on with: dlrun resume {directory}" if code > 128 else ""))
        return code


def opening(setup: Setup, directory: Path, resumed: list[str] | None) -> dict[str, Any]:
    """Fields of run.json when a run starts or goes on."""
    before = rundir.read_json(directory / rundir.RUN) or {}
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    fields = {
        "status": "running",
        "error": None,
        "end": None,
        "seed": setup.plan.settings.seed,
        "config": setup.plan.values,
        "parameters": setup.parameters,
        "rows": {split: len(getattr(setup.data, split)) for split in ("train", "val", "test")},
        "classes": list(setup.data.classes),
        **environment.facts(),
    }
    if resumed is None:
        return {"command": ["dlrun", *sys.argv[1:]], "start": now, **fields}
    return {"resumed": [*before.get("resumed", []), {"time": now, "overrides": resumed}], **fields}


def close(
    setup: Setup, directory: Path, status: str, error: str | None, summary: dict[str, Any] | None, began: float
) -> None:
    """Writes curves, summary and the end of run.json."""
    rows = rundir.read_metrics(directory)
    if setup.plan.settings.log.plot and rows:
        from dlrun.curves import draw

        draw(rows, directory / rundir.CURVES)
    trained = [r for r in rows if r["split"] == "train"]
    seconds = trained[-1]["time"] if trained else 0
    rundir.update_run(
        directory,
        status=status,
        error=error,
        end=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=round(time.time() - began, 3),
        steps_per_second=round(trained[-1]["step"] / seconds, 3) if seconds else None,
        peak_memory=environment.peak_memory(),
    )
    if summary is not None:
        rundir.write_json(directory / rundir.SUMMARY, {"status": status, **summary})

