"""The directories that ``hydra.run.dir`` and ``hydra.sweep.dir`` name: each is made for one run or sweep alone."""

import concurrent.futures
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dlrun.config import catalogue
from dlrun.config.hydra_adapter import Config, Hydra
from dlrun.config.overrides import error_line
from dlrun.errors import InvalidConfig, show
from dlrun.runs import rundir

RESOLVER = "run_dir"


def register() -> None:
    """Has ``${run_dir:outputs}`` in a configuration stand for a name below ``outputs`` that nobody has yet."""
    OmegaConf.register_new_resolver(RESOLVER, _fresh_name, use_cache=True, replace=True)


def _fresh_name(root: str) -> str:
    return os.path.join(root, time.strftime("%Y-%m-%d"), f"{time.strftime('%H-%M-%S')}-{secrets.token_hex(3)}")


def run(hydra: Hydra, cfg: Config, task: Callable[[Path], Any]) -> Any:
    """Makes the run's directory, has Hydra write ``.hydra/`` and set up log.txt there, and calls ``task`` with it."""
    directory = create(cfg, "hydra.run.dir")
    with open_dict(cfg):
        for group in catalogue.NOT_OF_A_RUN:
            cfg.pop(group, None)
    done = concurrent.futures.Future()  # rather than Hydra's JobReturn, which prints tracebacks of its own

    def job(_: Config) -> None:
        try:
            done.set_result(task(directory))
        except BaseException as error:
            done.set_exception(error)

    hydra.run(cfg, job)
    return done.result()


def create(cfg: Config, key: str) -> Path:
    """Makes the directory that ``key`` names.

    Raises:
      InvalidConfig: where somebody has it already, or it can't be made.
    """
    while True:
        name = _name(cfg, key)
        if not name or not isinstance(name, str):
            raise InvalidConfig([f"{key}={show(name)}: not allowed; allowed: a folder's name"])
        try:
            if rundir.create(Path(name)):
                return Path(name)
        except (OSError, ValueError) as error:
            raise InvalidConfig([f"{key}={show(name)}: can't be made: {getattr(error, 'strerror', error)}"]) from None
        if RESOLVER not in as_written(cfg, key):
            raise InvalidConfig([f"{key}={show(name)}: already in use; to go on with a run: dlrun resume DIR"])
        OmegaConf.clear_cache(cfg)  # somebody drew the same name in the same second: draw again


def named(cfg: Config, key: str) -> Path | None:
    """The directory that ``key`` names, where the user chose the name; None where it is a fresh one."""
    name = _name(cfg, key)
    return Path(name) if isinstance(name, str) and name and RESOLVER not in as_written(cfg, key) else None


def as_written(cfg: Config, key: str) -> str:
    """The value of a key ``hydra.…`` with the references in it, as the configuration has it."""
    node: Any = OmegaConf.to_container(cfg.hydra, resolve=False)
    for part in key.split(".")[1:]:
        node = node[part]
    return str(node)


def _name(cfg: Config, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException as error:
        raise InvalidConfig([f"{key}={show(as_written(cfg, key))}: {error_line(error)}"]) from None
