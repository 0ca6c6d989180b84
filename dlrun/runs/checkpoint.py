"""Training states on disk: ``checkpoints/<step>/`` with the arrays as safetensors, and a manifest of SHA-256 sums.

A step counts only if it has a manifest that matches its files byte for byte. Steps that are no longer needed are
deleted only after the next step's manifest is on disk.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dlrun.runs import atomic, files
from dlrun.runs.manifest import (
    LOOP,
    MANIFEST,
    PART,
    STATE,
    discard,
    last_sound,
    manifest,
    others,
    retire,
    steps,
    verify,
)  # fmt: skip

OVERHEAD = 2**18  # bytes that a step takes beside its arrays: metadata, the manifest, metric rows until the next one


class CheckpointError(Exception):
    """A state could not be written or read; the message says what is still there."""


class Checkpoints:
    """Saves the states of a run. A thread writes them while training goes on.

    Args:
      directory: where the steps lie; made by the first save.
      keep: how many of the latest steps are kept, in addition to the best one.
      before: called by the thread before a state counts: what must never be missing beside it is on disk then.
    """

    def __init__(self, directory: Path, *, keep: int = 1, before: Callable[[], None] = lambda: None):
        self.directory, self.keep, self.before = directory, keep, before
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.pending: Future | None = None

    def save(self, step: int, arrays: dict[str, np.ndarray], loop: dict[str, Any], best: int | None) -> None:
        """Starts to write a state once the save before has ended; raises :class:`CheckpointError` if that one failed.

        Args:
          step: number of the step, one that was not saved before.
          arrays: by path, as :func:`dlrun.program.pytree.copied` returns them.
          loop: plain values to save with them.
          best: the step that is kept however old it is; may be ``step`` itself.
        """
        self.wait()
        try:
            if files.kind(self.directory) == "link":
                raise files.Refused(self.directory, files.LINK)
            self.directory.mkdir(exist_ok=True)
        except OSError as error:
            raise self._failure(step, error) from None
        # Better to ask now than to find out from a half-written file; if the disk fills up meanwhile, _write fails.
        if shutil.disk_usage(self.directory).free < 1.1 * sum(a.nbytes for a in arrays.values()) + OVERHEAD:
            raise self._failure(step, OSError(errno.ENOSPC, ""))
        self.pending = self.worker.submit(self._write, step, arrays, loop, best)

    def wait(self) -> None:
        """Waits until everything that was saved is on disk, manifest included."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.result()

    def close(self) -> None:
        """Waits for the last save and ends the thread; raises :class:`CheckpointError` if that save failed."""
        try:
            self.wait()
        finally:
            self.worker.shutdown()

    def _write(self, step: int, arrays: dict[str, np.ndarray], loop: dict[str, Any], best: int | None) -> None:
        part = self.directory / f"{PART}{step}"
        try:
            for name in others(self.directory):
                if name.startswith(PART):  # left by a process that was killed
                    discard(self.directory / name)
            part.mkdir()
            save_file({k: np.asarray(a) for k, a in arrays.items()}, part / STATE, {LOOP: json.dumps(loop)})
            files.replace(part / MANIFEST, [manifest(part).encode()])
            mode = (part / MANIFEST).stat().st_mode  # whoever may read the run's other files may read the state
            (part / STATE).chmod(mode & 0o777)
            files.sync(part / STATE)
            files.sync(part)
            self.before()
            os.replace(part, self.directory / str(step))
            files.sync(self.directory)
        except Exception as error:  # the storage may raise anything
            with contextlib.suppress(OSError):
                discard(part)
            raise self._failure(step, error) from error
        rest = sorted(s for s in steps(self.directory) if s != best)
        for old in rest[: -self.keep]:
            with contextlib.suppress(OSError):  # renamed first: a step that is half deleted does not exist
                discard(retire(self.directory, str(old)))

    def _failure(self, step: int, error: Exception) -> CheckpointError:
        text = error.strerror or str(error) if isinstance(error, files.Refused) else str(error)
        full = "no space left" in text.lower() or getattr(error, "errno", None) == errno.ENOSPC
        reason = "no space left on the disk" if full else next(iter(text.splitlines()), type(error).__name__)
        last = last_sound(self.directory)
        kept = "no earlier state was saved" if last is None else f"the last good one, of step {last}, is kept"
        return CheckpointError(f"the state of step {step} could not be saved: {reason}; {kept}")


def set_aside(directory: Path, above: int) -> list[int]:
    """Renames the steps above ``above`` to ``.unsound-<step>``, so that they no longer count; returns their numbers."""
    moved = [s for s in steps(directory) if s > above]
    for step in moved:
        retire(directory, str(step))
    return moved


def delete(directory: Path) -> None:
    """Deletes all states that have a manifest, and their folder if nothing else is in it; never what a link leads to.

    A half deleted state does not count.
    """
    if directory.is_symlink():
        return
    for step in [s for s in steps(directory) if (directory / str(s) / MANIFEST).is_file()]:
        (directory / str(step) / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(directory / str(step), ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty, or not there
        directory.rmdir()


def read(directory: Path, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays by path and the plain values that were saved at a step.

    Raises:
      CheckpointError: if the files do not match the manifest.
    """
    folder = directory / str(step)
    if not verify(folder):
        raise CheckpointError(f"{folder}: incomplete or damaged; its files do not match {MANIFEST}")
    try:
        with safe_open(folder / STATE, framework="np") as file:
            loop = atomic.parsed(file.metadata()[LOOP].encode())
            return {path: file.get_tensor(path) for path in file.keys()}, loop  # noqa: SIM118
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__} {error}" if isinstance(error, LookupError | TypeError) else error
        raise CheckpointError(f"{folder / STATE}: holds no state: {what}") from None
