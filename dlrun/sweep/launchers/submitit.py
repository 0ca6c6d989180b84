"""Trains units on a SLURM cluster, through submitit."""

import contextlib
import importlib.util
import logging
import math
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dlrun.config.schema import Count
from dlrun.config.settings import Text
from dlrun.errors import Unfit
from dlrun.sweep.launchers import process
from dlrun.sweep.launchers.base import Launcher, Start, Task
from dlrun.system import isolation

KILLED, STOPPED = 128 + signal.SIGKILL, 128 + signal.SIGTERM
LAG = 10  # seconds until a shared folder shows the file that another machine wrote, at most


@dataclass(frozen=True, kw_only=True)
class Submitit(Launcher):
    """Hands all units to SLURM, as one job array with a job on one machine for each. Keys are named as in submitit.

    All machines must share the sweep's folder. A unit that runs out of time, or is preempted, saves; SLURM queues it
    again, and it goes on. Units that were handed over go on even if the sweep's own process is killed. Without SLURM,
    submitit's local executor does the same with processes of this machine.
    """

    cluster: Literal["auto", "slurm", "local"] = "auto"
    timeout_min: Count = 60
    max_num_timeout: Annotated[int, Field(ge=0)] = 10
    cpus_per_task: Count | None = None
    gpus_per_node: Annotated[int, Field(ge=0)] | None = None
    mem_gb: Annotated[float, Field(gt=0)] | None = None
    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    exclude: Text | None = None
    setup: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise Unfit(
                "name", "submitit", "be local, as the package submitit is not installed: pip install 'dlrun[submitit]'"
            )
        if self.cluster == "slurm" and not shutil.which("srun"):
            raise Unfit("cluster", "slurm", "be auto or local where there is no SLURM: srun is not found")

    @property
    def slurm(self) -> bool:
        return self.cluster != "local" and shutil.which("srun") is not None

    def _places(self, units: int) -> int:
        return units if self.slurm else self.workers or 1  # SLURM limits how many jobs of an array run at the same time

    @contextlib.contextmanager
    def _opened(self, units: Sequence[Path], command: Sequence[str]) -> Iterator[Start]:
        executor = self._executor(units[0].absolute().parent / "submitit")
        env = {"NPROC": str(self.cpus_per_task)} if self.cpus_per_task else {}

        def start(units: list[Path]) -> list[Task]:
            errands = [Requeued(command, unit, env) for unit in units]
            # Where submitit starts processes on this machine, Ctrl-C at the terminal must not reach them.
            with process.deaf(signal.SIGINT), executor.batch():
                jobs = [executor.submit(errand) for errand in errands]
            return [Job(errand, job) for errand, job in zip(errands, jobs, strict=True)]

        yield start

    def _executor(self, folder: Path) -> Any:
        import submitit

        logging.getLogger("submitit").setLevel(logging.ERROR)  # the display is the sweep's
        cluster = "slurm" if self.slurm else "local"
        executor = submitit.AutoExecutor(folder, cluster, **{f"{cluster}_max_num_timeout": self.max_num_timeout})
        # SLURM may not pass the environment on, and submitit's process must not import from the working folder either.
        setup = [*([f"export {isolation.SAFE}=1"] if self.slurm else []), *self.setup]
        slurm = ("partition", "account", "qos", "constraint", "exclude")
        executor.update_parameters(
            name="dlrun",
            timeout_min=self.timeout_min,
            cpus_per_task=self.cpus_per_task,
            gpus_per_node=self.gpus_per_node,
            mem_gb=self.mem_gb,
            slurm_array_parallelism=self.workers,
            **{f"slurm_{key}": getattr(self, key) for key in slurm},
            **({f"{cluster}_setup": setup} if setup else {}),
        )
        return executor


class Requeued(process.Errand):
    """An errand that saves and is queued again when SLURM ends its job: then submitit calls :meth:`checkpoint`."""

    def __call__(self) -> int:
        from submitit.core.job_environment import JobEnvironment

        # SLURM signals all processes of a job when its time is nearly over: submitit acts on that, not the command.
        with process.deaf(JobEnvironment._usr_sig()):
            self.process = self.start()
        return self.attend(self.process)

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        self.process.terminate()
        self.process.wait()
        del self.process  # can't be pickled
        return DelayedSubmission(self)


class Job(Task):
    """A unit that submitit runs as a job."""

    def __init__(self, errand: Requeued, job: Any):
        self.errand, self.job, self.over = errand, job, math.inf

    def code(self) -> int | None:
        if not self.job.done():  # asks SLURM seldom, and looks for the result's file
            return None
        if self.job.paths.result_pickle.exists():
            error = self.job.exception()
            if error is None:
                return self.job.result()
            process.tell(self.errand.unit, error)  # the command did not fail: it could not be started
            return 1
        self.over = min(self.over, time.monotonic())
        if time.monotonic() - self.over < LAG:
            return None
        return STOPPED if "CANCELLED" in self.job.state else KILLED

    def stop(self) -> None:
        self.errand.stop()

    def withdraw(self) -> bool:
        if self.errand.started():
            return False
        self.job.cancel(check=False)
        return True
