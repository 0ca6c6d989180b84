"""Sweeps by one of Hydra's own sweepers or launchers, which know nothing of groups: each run is compiled by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlrun.config import directories
from dlrun.config.hydra_adapter import Config, Hydra
from dlrun.config.overrides import one_duration
from dlrun.errors import InvalidConfig
from dlrun.runs import atomic, loading, rundir
from dlrun.sweep.jobs.space import Space
from dlrun.sweep.names import names


def searches(cfg: Config) -> bool:
    """Whether the sweep is a search: ``hydra/sweeper=optuna`` is dlrun's own, and the only one without a target."""
    return "_target_" not in cfg.hydra.sweeper


def chosen(cfg: Config) -> bool:
    """Whether the user chose another sweeper or launcher of Hydra's.

    Raises:
      InvalidConfig: where the sweep is a search and the launcher is one of Hydra's, which can't serve it.
    """
    launcher = str(cfg.hydra.launcher.get("_target_")).rpartition(".")[2]
    if searches(cfg):
        if launcher != "BasicLauncher":
            name = f"hydra/launcher={cfg.hydra.runtime.choices['hydra/launcher']}"
            raise InvalidConfig([f"{name}: not allowed in a search; allowed: launcher=local, submitit, ray"])
        return False
    return launcher != "BasicLauncher" or not _is_grid(cfg)


def sweep(
    hydra: Hydra,
    cfg: Config,
    overrides: list[str],
    problems: list[str],
    trust: tuple[str, ...],
    train: Callable[[Config, Path], Any],
) -> int:
    """Checks a grid's configurations and has Hydra train its runs; gives the exit code: 1 if a run did not complete.

    Args:
      problems: problems found before.
      train: takes a run's configuration and directory. It must not raise, as Hydra would print a traceback, and may be
        called in other processes.

    Raises:
      InvalidConfig: with all that is wrong, before anything is made.
    """
    if _is_grid(cfg):
        names(cfg, Space(hydra, cfg, overrides).grid(trust, problems), {})
    elif problems:
        raise InvalidConfig(problems)
    elif "job." not in (
        subdir := directories.as_written(cfg, "hydra.sweep.subdir")
    ):  # the sweeper chooses its runs as it goes
        raise InvalidConfig([f"hydra.sweep.subdir={subdir}: the same for all runs; allowed: ${{hydra.job.num}}"])
    directory = directories.create(cfg, "hydra.sweep.dir")
    hydra.sweep(cfg, one_duration(list(cfg.hydra.overrides.task)), train)
    print(directory, flush=True)
    runs = [atomic.read_json(Path(run, rundir.RUN)) or {} for run in loading.find([str(directory)], {})]
    return int(not runs or any(run.get("status") != "completed" for run in runs))


def _is_grid(cfg: Config) -> bool:
    return str(cfg.hydra.sweeper.get("_target_")).rpartition(".")[2] == "BasicSweeper"
