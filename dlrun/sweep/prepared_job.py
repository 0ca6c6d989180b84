"""A job with all that is needed to train it."""

from dataclasses import dataclass
from pathlib import Path

from dlrun.program.setup import Setup


@dataclass(frozen=True)
class PreparedJob:
    """A job with all that is needed to train it, in the sweep's process or in that of its unit.

    Args:
      number: of the job.
      command: the command that makes the same run outside of the sweep.
      setup: data and program; the jobs of a group share all of it but the plan.
      directory: of its run, which exists.
      resume: whether to go on from what the directory holds.
    """

    number: int
    command: list[str]
    setup: Setup
    directory: Path
    resume: bool
