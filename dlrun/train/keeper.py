"""Keeps the last states of a run on disk, and the best one: in memory first, and on disk with the next save."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from dlrun.runs import checkpoint, manifest, rundir
from dlrun.train.position import Position

SAVE_SECONDS = 2.0  # at least, between two saves after evaluations
Arrays = dict[str, np.ndarray]


class Keeper:
    """Saves and reads the states of a run, and holds the best one in memory until the next save.

    Args:
      folder: ``checkpoints/`` of the run.
      keep: how many of the last states stay on disk, in addition to the best; ``none`` keeps one until the run is
        completed.

    Attributes:
      saved: the steps whose states this process has saved, or resumed from.
    """

    def __init__(self, folder: Path, keep: int | Literal["none"]):
        self.folder, self.keeps_none = folder, keep == "none"
        settle = partial(rundir.settle, folder.parent)
        self.checkpoints = checkpoint.Checkpoints(folder, keep=1 if keep == "none" else keep, before=settle)
        self.saved: set[int] = set()
        self.saved_at = time.monotonic()
        self.best: tuple[Position, Arrays] | None = None

    def set_aside(self, above: int) -> None:
        """Moves the states of steps after ``above`` out of the way: they no longer count."""
        checkpoint.set_aside(self.folder, above)

    def is_overdue(self, beside: int) -> bool:
        """Whether the last save is long ago; ``beside`` is how many runs share the process and its time for saving."""
        return time.monotonic() - self.saved_at > SAVE_SECONDS * beside

    def hold(self, at: Position, arrays: Arrays) -> None:
        """Holds a state in memory as the best so far."""
        self.best = at, arrays

    def save(self, at: Position, arrays: Arrays | None) -> None:
        """Saves a state, and before it the best if that is only in memory. Without arrays another process saves."""
        self.saved_at = time.monotonic()
        if self.best and self.best[0].step != at.best_step:
            self.best = None
        if arrays is not None:
            if self.best and (best := self.best[0]).step not in (at.step, *self.saved):
                self.checkpoints.save(best.step, self.best[1], asdict(best), best.step)
                self.saved.add(best.step)
            self.checkpoints.save(at.step, arrays, asdict(at), at.best_step)
        self.saved.add(at.step)

    def held(self, step: int) -> Arrays | None:
        """The best state, if it is in memory and of this step."""
        return self.best[1] if self.best and self.best[0].step == step else None

    def complete(self) -> None:
        """The run is completed and recorded as such: deletes its states, if none is to be kept."""
        if self.keeps_none:
            checkpoint.delete(self.folder)

    def is_sound(self, step: int) -> bool:
        """Whether the state of a step can be read from the disk."""
        self.checkpoints.wait()
        return manifest.verify(self.folder / str(step))

    def read(self, step: int) -> Arrays:
        """The state of a step from the disk. Raises :class:`~dlrun.runs.checkpoint.CheckpointError`."""
        return checkpoint.read(self.folder, step)[0]
