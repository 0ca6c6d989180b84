"""Names the directories of jobs, as ``hydra.sweep.subdir`` says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.config import directories
from dlrun.config.hydra_adapter import refer_to
from dlrun.config.overrides import error_line
from dlrun.errors import InvalidConfig
from dlrun.sweep.folder import Entry, is_name
from dlrun.sweep.jobs.job import Job, hydra_text


def names(cfg: Any, jobs: Sequence[Job], there: dict[int, Entry]) -> dict[int, str]:
    """The names of new jobs' directories, by number.

    Args:
      there: the jobs that have a directory already.

    Raises:
      InvalidConfig: where two jobs would share a directory, or one would lie in another's.
    """
    chosen = {job.number: subdirectory(cfg, job) for job in jobs if job.number not in there}
    paths = [*map(Path, chosen.values()), *(Path(e.directory) for e in there.values())]
    bad = next((name for name in chosen.values() if not is_name(name)), None)
    problem = None if bad is None else f"{bad!r} does not give each run a folder of its own"
    if len(set(paths)) < len(paths):
        problem = "the same for several runs"
    elif {parent for path in paths for parent in path.parents}.intersection(paths):
        problem = "one run would be inside another"
    if problem:
        shown = directories.as_written(cfg, "hydra.sweep.subdir")
        raise InvalidConfig([f"hydra.sweep.subdir={shown}: {problem}; allowed: ${{hydra.job.num}}"])
    return chosen


def subdirectory(cfg: Any, job: Job) -> str:
    """The name of a job's directory, relative to the sweep's."""
    name = directories.as_written(cfg, "hydra.sweep.subdir")
    if name == "${hydra.job.num}":
        return str(job.number)
    whole = OmegaConf.create({**job.written, **yaml.safe_load(hydra_text(job, Path()))})
    refer_to(whole)
    try:
        return str(whole.hydra.sweep.subdir)
    except OmegaConfBaseException as error:
        raise InvalidConfig([f"hydra.sweep.subdir={name}: {error_line(error)}"]) from None
