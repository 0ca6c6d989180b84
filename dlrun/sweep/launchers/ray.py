"""Trains units on a Ray cluster, or with a Ray that is started on this machine."""

import contextlib
import importlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dlrun.config.settings import Text
from dlrun.errors import InvalidConfig, Unfit, show
from dlrun.sweep.launchers import process
from dlrun.sweep.launchers.base import Launcher, Start, Task
from dlrun.train.signals import SIGNALS

KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class Ray(Launcher):
    """Hands each unit to Ray as a task, which waits for its resources. Keys are named as in Ray.

    The folder of the sweep and this installation must be on all machines under the same paths. If a task's machine is
    lost, the launcher starts the task again, up to ``retries`` times; Ray itself does not.
    """

    address: Text | None = None
    num_cpus: Annotated[float, Field(ge=0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0)] | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise Unfit("name", "ray", "be local, as the package ray is not installed: pip install 'dlrun[ray]'")
        if self.address is not None and not answers(self.address):
            raise Unfit("address", self.address, "be the address of a running Ray cluster: nothing answers there")

    @contextlib.contextmanager
    def _opened(self, units: Sequence[Path], command: Sequence[str]) -> Iterator[Start]:
        with connected(self.address, units[0].absolute().parent) as ray:
            gpus = self.num_gpus if self.num_gpus is not None else min(1, ray.cluster_resources().get("GPU", 0))
            errand = ray.remote(process.Errand.__call__)
            run = errand.options(num_cpus=self.num_cpus, num_gpus=gpus, max_retries=0)
            env = {"NPROC": str(max(1, int(self.num_cpus)))}

            def start(units: list[Path]) -> list[Task]:
                errands = [process.Errand(command, unit, env) for unit in units]
                return [Job(errand, ray, run.remote(errand)) for errand in errands]

            yield start


class Job(Task):
    """A unit that Ray runs as a task."""

    def __init__(self, errand: process.Errand, ray: Any, result: Any):
        self.errand, self.ray, self.result = errand, ray, result

    def code(self) -> int | None:
        if not self.ray.wait([self.result], timeout=0)[0]:
            return None
        try:
            return self.ray.get(self.result)
        except self.ray.exceptions.RayTaskError as error:  # the command did not fail: it could not be started
            problem, code = error, 1
        except self.ray.exceptions.RayError as error:  # its machine is gone, or Ray's process there
            problem, code = error, KILLED
        process.tell(self.errand.unit, problem)
        return code

    def stop(self) -> None:
        self.errand.stop()

    def withdraw(self) -> bool:
        if self.errand.started():
            return False
        self.ray.cancel(self.result)
        return True


@contextlib.contextmanager
def connected(address: str | None, folder: Path) -> Iterator[Any]:
    """Connects to Ray at an address, or starts it on this machine. Restores the signal handlers that Ray replaces.

    Ray's processes import from the folder that Ray is started in, so it is started in ``folder``, not in the user's.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no statistics of use, unless the user wants it to
    ray: Any = importlib.import_module("ray")  # to a type checker, `import ray` is this file where Ray is missing
    handlers = {s: signal.getsignal(s) for s in SIGNALS}
    try:
        with contextlib.chdir(folder):
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        problem = f"launcher.address={show(address)}: {str(error).splitlines()[0]}"
        raise InvalidConfig([problem]) from None
    finally:
        for s, handler in handlers.items():
            signal.signal(s, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def answers(address: str) -> bool:
    """Whether something listens at ``host:port``; True for other forms of address. Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError):
        return False
    return True
