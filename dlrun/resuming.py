"""What changes when a run goes on: its configuration, within limits, and its log."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun import catalogue, config, rundir
from dlrun.schema import InvalidConfig, show

# What may change without making the saved state, or the order of batches, another run's. Numbers of the state may too.
MAY_CHANGE = (
    "epochs", "steps", "dropout", "label_smoothing", "clip_norm", "ema", "on_nonfinite", "max_skipped", "devices",
    "compile_cache", "eval.", "checkpoint.every", "checkpoint.keep", "early_stop.", "log.", "distributed.", "optim.",
    "schedule.", "augment.", "stream.when", "stream.memory", "stream.workers", "stream.prefetch",
)  # fmt: skip
SWITCHES = ("dropout", "ema")  # a state has arrays for them when they are on


@dataclass(frozen=True)
class Again:
    """The command of a sweep that is to go on."""

    overrides: list[str]
    config_dirs: list[Path]


def sweep(directory: Path, overrides: list[str]) -> Again | None:
    """The command of a directory's sweep, ``overrides`` in place of its own for the same keys; None without one."""
    from dlrun.sweep import folder

    record = folder.read(directory)
    if record is None:
        return None
    new = {_name(text) for text in overrides}
    kept = [text for text in record["overrides"] if _name(text) not in new | {"hydra.sweep.dir"}]
    quoted = str(directory).replace("\\", "\\\\").replace("'", "\\'")
    return Again([*kept, *overrides, f"hydra.sweep.dir='{quoted}'"], [Path(d) for d in record.get("config_dirs", [])])


def _name(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def configuration(directory: Path, overrides: list[str]) -> tuple[config.Config, list[str]]:
    """The configuration that a run directory was made with, with ``overrides``, and what is wrong with them.

    Groups that the run's version did not know have the options of today's defaults.
    """
    file = directory / rundir.CONFIG
    if not file.is_file():
        raise InvalidConfig([f"{directory}: no run directory: it has no {rundir.CONFIG}"])
    cfg = config.load(file)
    for group, option in catalogue.defaults(catalogue.conf() / "config.yaml").items():
        if group not in catalogue.NOT_OF_A_RUN:
            cfg.setdefault(group, {"name": option})
    before, _ = config.plain(cfg)
    # An option that is typed again is no change.
    changes = [text for text in overrides if "=" not in text or not _chosen(before, *text.split("=", 1))]
    cfg, found = config.override(cfg, changes)
    after, _ = config.plain(cfg)
    return cfg, found + _forbidden(rundir.flat(before), rundir.flat(after))


def accept(directory: Path, cfg: config.Config) -> None:
    """From now on the directory's configuration is ``cfg``, and log.txt goes on."""
    handler = logging.FileHandler(directory / rundir.LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    config.save(cfg, directory / rundir.CONFIG)


def _forbidden(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found = []
    for key in [k for k in after if before.get(k) != after[k]]:
        new = f"{key}={show(after[key])}"
        if key in SWITCHES and (before.get(key) in (None, 0)) != (after[key] in (None, 0)):
            found.append(f"{new}: can't be switched on or off in a resumed run, start a new one")
        elif not key.startswith(MAY_CHANGE) or key.endswith(".name"):
            allowed = ", ".join(m + "*" if m.endswith(".") else m for m in MAY_CHANGE)
            found.append(f"{new}: can't change in a resumed run, start a new one; allowed: {allowed}")
    return found


def _chosen(values: dict[str, Any], key: str, option: str) -> bool:
    choice = values.get(key)
    return isinstance(choice, dict) and choice.get("name") == option
