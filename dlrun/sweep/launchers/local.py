"""Trains units in this process, or in worker processes on this machine."""

import contextlib
import math
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.sweep.launchers import process
from dlrun.sweep.launchers.base import Launcher, Start, Task

MEMORY = 0.75  # the share of a GPU's memory that XLA reserves for a process, unless the variable FRACTION is set
FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"


@dataclass(frozen=True, kw_only=True)
class Local(Launcher):
    """Trains units in this process, or in ``workers`` worker processes.

    GPUs are given to workers in turn, and workers that share one divide its memory. Each worker gets its part of
    the CPU's cores by the variable NPROC, which XLA reads. The last bits of results depend on their number.
    """

    @property
    def inside(self) -> bool:
        return self.workers is None

    def _places(self, units: int) -> int:
        return min(self.workers or 1, units)

    @contextlib.contextmanager
    def _opened(self, units: Sequence[Path], command: Sequence[str]) -> Iterator[Start]:
        free = shares(self._places(len(units)))

        def start(units: list[Path]) -> list[Task]:
            return [Worker(command, unit, free) for unit in units]

        yield start


class Worker(Task):
    """A worker process. It takes one of the free shares of the machine, and gives it back at its end."""

    def __init__(self, command: Sequence[str], unit: Path, free: list[dict[str, str]]):
        self.free, self.shares = free, [free.pop(0)]
        self.process = process.start(command, unit, self.shares[0])

    def code(self) -> int | None:
        code = process.ended(self.process)
        if code is not None and self.shares:
            self.free.append(self.shares.pop())
        return code

    def stop(self) -> None:
        self.process.terminate()


def shares(workers: int) -> list[dict[str, str]]:
    """Environment variables that divide this machine among workers."""
    from dlrun.system.environment import threads  # here, as it imports JAX

    divided = [{"NPROC": str(max(1, threads() // workers))} for _ in range(workers)]
    if devices := gpus():
        together = math.ceil(workers / len(devices))
        for number, share in enumerate(divided):
            share["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
            if together > 1 and FRACTION not in os.environ:
                share[FRACTION] = f"{MEMORY / together:.3f}"
    return divided


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Asks the driver, without starting JAX."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return names[: names.index("-1")] if "-1" in names else [n for n in names if n]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]
