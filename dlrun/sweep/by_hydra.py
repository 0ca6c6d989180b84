"""Sweeps through other sweepers or launchers of Hydra's, which know nothing of groups: every run by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.types import HydraContext

from dlrun.config import composition
from dlrun.config.overrides import one_duration
from dlrun.errors import InvalidConfig
from dlrun.runs import atomic, loading, rundir
from dlrun.sweep.jobs.space import Space
from dlrun.sweep.names import names


def searches(cfg: composition.Config) -> bool:
    """Whether the sweep is a search, of ``hydra/sweeper=optuna``."""
    return "_target_" not in cfg.hydra.sweeper


def foreign(cfg: composition.Config) -> bool:
    """Whether the user chose another sweeper or launcher of Hydra's.

    Raises:
      InvalidConfig: when such a launcher is to serve a search.
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
    cfg: composition.Config,
    overrides: list[str],
    found: list[str],
    trust: tuple[str, ...],
    train: Callable[[composition.Config, Path], Any],
) -> int:
    """Checks the configurations of a grid's runs, and trains them through Hydra; 1 when one did not complete.

    Args:
      train: takes a run's configuration and directory, and does not raise: Hydra would print a traceback. May be called
        in other processes.
    """
    if _is_grid(cfg):
        names(cfg, Space(hydra, cfg, overrides).grid(trust, found), {})
    elif found:
        raise InvalidConfig(found)
    elif "job." not in (subdir := composition.raw(cfg, "hydra.sweep.subdir")):  # what its runs are is not known yet
        raise InvalidConfig([f"hydra.sweep.subdir={subdir}: the same for all runs; allowed: ${{hydra.job.num}}"])
    directory = composition.create(cfg, "hydra.sweep.dir")
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())

    def task(cfg: composition.Config) -> None:
        train(cfg, Path(HydraConfig.get().runtime.output_dir))

    sweeper = Plugins.instance().instantiate_sweeper(config=cfg, hydra_context=context, task_function=task)
    sweeper.sweep(arguments=one_duration(list(cfg.hydra.overrides.task)))
    print(directory, flush=True)
    runs = [atomic.read_json(Path(run, rundir.RUN)) or {} for run in loading.find([str(directory)], {})]
    return int(not runs or any(run.get("status") != "completed" for run in runs))


def _is_grid(cfg: composition.Config) -> bool:
    return str(cfg.hydra.sweeper.get("_target_")).rpartition(".")[2] == "BasicSweeper"
