"""A job that is ready to be trained."""

from dataclasses import dataclass
from pathlib import Path

from dlrun.program.setup import Setup


@dataclass(frozen=True)
class UnitJob:
    """A job that is ready to be trained, in this process or in that of its unit.

    Args:
      number: of the job.
      command: what makes the same run by itself.
      setup: data and program; the jobs of a group share all of it but the plan.
      directory: of its run, which exists.
      resume: whether to go on from what the directory holds.
    """

    number: int
    command: list[str]
    setup: Setup
    directory: Path
    resume: bool
