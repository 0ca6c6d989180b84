"""A job as a unit trains it."""

from dataclasses import dataclass
from pathlib import Path

from dlrun.program.setup import Setup


@dataclass(frozen=True)
class UnitJob:
    """A job as it is trained.

    Args:
      number: of the job.
      command: what makes this run alone.
      directory: of its run, which exists.
      resume: whether to go on with what is there.
    """

    number: int
    command: list[str]
    setup: Setup
    directory: Path
    resume: bool
