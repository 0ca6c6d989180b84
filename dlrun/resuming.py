"""What changes when a run goes on: its configuration, within limits, and its log."""

import logging
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from dlrun import config, rundir
from dlrun.schema import InvalidConfig

# What may change without making the saved state, or the order of batches, another run's. Numbers of the state may too.
MAY_CHANGE = (
    "epochs", "steps", "dropout", "label_smoothing", "clip_norm", "ema", "on_nonfinite", "max_skipped", "devices",
    "compile_cache", "eval.", "checkpoint.", "early_stop.", "log.", "distributed.", "optim.", "schedule.", "augment.",
)  # fmt: skip


def configuration(directory: Path, overrides: list[str]) -> DictConfig:
    """The configuration that a run directory was made with, with ``overrides``."""
    file = directory / rundir.CONFIG
    if not file.is_file():
        raise InvalidConfig([f"{directory}: no run directory: it has no {rundir.CONFIG}"])
    found = []
    for text in overrides:
        key = text.split("=")[0]
        if "=" in text and not any(key == may or (may.endswith(".") and key.startswith(may)) for may in MAY_CHANGE):
            allowed = ", ".join(m + "*" if m.endswith(".") else m for m in MAY_CHANGE)
            found.append(f"{key}: can't change in a resumed run, start a new one; allowed: {allowed}")
    try:
        cfg = config.load(file)
    except Exception as error:  # a YAML file may be damaged in any way
        first = str(error).splitlines()[0]
        raise InvalidConfig([f"{file}: can't be read: {first}"]) from None
    if found:
        raise InvalidConfig(found)
    cfg = config.override(cfg, overrides)
    if found := config.check_targets(cfg):
        raise InvalidConfig(found)
    return cfg


def resumed(directory: Path, cfg: DictConfig, run: Callable[[], int]) -> int:
    """Calls ``run`` with its log going on in log.txt; from then on the directory's configuration is ``cfg``."""
    handler = logging.FileHandler(directory / rundir.LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    config.save(cfg, directory / rundir.CONFIG)
    return run()
