"""The base class of launchers: the keys that all have, and the loop that starts units and waits for them."""

import contextlib
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from dlrun.config.schema import Count
from dlrun.sweep.launchers.process import LOOK

TRAINS = "dlrun.sweep.worker"
"""The module that trains a unit: named rather than imported, since it imports this folder itself."""
TRAIN = (sys.executable, "-P", "-m", TRAINS)  # -P: nothing is imported from the working folder
FINAL = (0, 1, 2, 129, 130, 143)  # done, failed, wrong input, stopped: how a unit's command ends unless it was killed


class Task(ABC):
    """A unit that was handed over for training: it runs, or waits for a machine."""

    @abstractmethod
    def code(self) -> int | None:
        """The exit code of the unit's command, 128 + n where signal n killed it; None while it runs or waits."""

    @abstractmethod
    def stop(self) -> None:
        """Asks it to save its jobs and end."""

    def withdraw(self) -> bool:
        """Takes it back if it still waits for a machine; gives whether it was taken back."""
        return False


Start: TypeAlias = Callable[[list[Path]], list[Task]]
"""A function that hands over units, given by their files."""


@dataclass(frozen=True, kw_only=True)
class Launcher(ABC):
    """Has units trained; its fields are the keys that all launchers have.

    Args:
      workers: how many units are trained at the same time.
      vmap: whether the jobs of a group are stacked; None decides by device.
      chunk: the largest number of jobs in a stack; None for as many as fit into memory.
      max_jobs: more jobs than this are an error.
      fail_fast: whether nothing more is started once a job failed.
      retries: how often a unit whose process was killed is started again.

    Raises:
      Unfit: where it can't work here.
    """

    workers: Count | None = None
    vmap: bool | None = None
    chunk: Count | None = None
    max_jobs: Count = 10_000
    fail_fast: bool = False
    retries: Annotated[int, Field(ge=0)] = 2

    @property
    def inside(self) -> bool:
        """Whether this process trains the jobs itself, without :meth:`launch`."""
        return False

    def launch(
        self,
        units: Sequence[Path],
        *,
        stop: Callable[[], int | None],
        done: Callable[[Path, int], bool],
        poll: Callable[[], None],
        command: Sequence[str] = TRAIN,
    ) -> None:
        """Has all units trained, and returns when none runs any more.

        The output of a unit goes to the file of the same name that ends in ``.log``.

        Args:
          units: their files, in one folder, which all machines see under this path.
          stop: gives the number of the signal that this process got, if any. Then units that run are asked to save and
            end, and waiting ones are not started. At a second signal the caller ends this process, and local workers
            end with it.
          done: called with each unit that ended and is not started again, and its exit code; True has nothing more
            started.
          poll: called several times a second.
          command: what trains a unit, which is its last argument.
        """
        waiting, running, killed = deque(units), dict[Path, Task](), Counter[Path]()
        places, stopping, enough = self._places(len(units)), False, False
        with self._opened(units, command) as start:
            try:
                while waiting or running:
                    if stop() is not None and not stopping:
                        stopping, running = True, _left(waiting, running)
                        for task in running.values():
                            task.stop()
                    if waiting and (room := places - len(running)) > 0:
                        batch = [waiting.popleft() for _ in range(min(room, len(waiting)))]
                        running.update(zip(batch, start(batch), strict=True))
                    ended = {unit: code for unit, task in running.items() if (code := task.code()) is not None}
                    for unit, code in ended.items():
                        running.pop(unit, None)
                        if code not in FINAL and killed[unit] < self.retries and not enough and not stopping:
                            killed[unit] += 1
                            waiting.appendleft(unit)  # it goes on from its checkpoints
                        elif done(unit, code) and not enough:
                            enough, running = True, _left(waiting, running)
                    poll()
                    if running:
                        time.sleep(LOOK)
            finally:
                left = _left(waiting, running).values()  # none, unless the loop above raised
                for task in left:
                    task.stop()
                while any(task.code() is None for task in left):
                    time.sleep(LOOK)

    def _places(self, units: int) -> int:
        """How many of ``units`` units are handed over at the same time."""
        return self.workers or units

    @abstractmethod
    def _opened(self, units: Sequence[Path], command: Sequence[str]) -> contextlib.AbstractContextManager[Start]:
        """A context within which units can be started, by the function that it gives."""


def _left(waiting: deque[Path], running: dict[Path, Task]) -> dict[Path, Task]:
    """Drops the units that wait, and takes back those that wait for a machine; gives the ones that still run."""
    waiting.clear()
    return {unit: task for unit, task in running.items() if not task.withdraw()}
