"""Writes the best trials of a search as experiment files: ``dlrun --config-dir SWEEP experiment=best`` trains one."""

import contextlib
import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from dlrun.config import catalogue, hydra_adapter
from dlrun.config.overrides import one_duration
from dlrun.runs import atomic, files
from dlrun.sweep.search.domain import SearchSpace
from dlrun.sweep.search.study import Trial

OURS = re.compile(r"best(-\d+)?\.yaml")
"""Names of the files that a search writes; others beside them are the user's."""


def write(
    directory: Path, space: SearchSpace, best: list[Trial], groups: Collection[str] = catalogue.GROUPS
) -> list[Path]:
    """Writes best.yaml, or best-0.yaml, best-1.yaml, ... for several, unless they are so already; gives the files.

    They lie in the folder ``experiment`` of the sweep's directory, which can thereby serve as a ``--config-dir``.

    Args:
      groups: keys that choose an option of a group, such as ``act``.
    """
    folder = directory / catalogue.EXPERIMENT
    names = ["best.yaml"] if len(best) == 1 else [f"best-{i}.yaml" for i in range(len(best))]
    for name, trial in zip(names, best, strict=True):
        content = text(directory, Path(name).stem, space, trial, groups)
        with contextlib.suppress(OSError, ValueError):
            if files.read(folder / name, below=directory).decode() == content:
                continue
        atomic.write(folder / name, content, below=directory)
    for old in {*folder.glob("best*.yaml")} - {folder / name for name in names}:
        if OURS.fullmatch(old.name):
            files.remove(old)
    return [folder / name for name in names]


def text(directory: Path, name: str, space: SearchSpace, trial: Trial, groups: Collection[str]) -> str:
    """An experiment file of a trial: the options that it chooses, and the values of the other keys."""
    chosen, values, left = [], OmegaConf.create(), []
    for word in one_duration(space.overrides(trial.values)):
        override = hydra_adapter.read(word)
        key, value = override.key, override.value
        if override.deletes or override.package or key.startswith("hydra"):
            left.append(word)
        elif key == catalogue.EXPERIMENT:
            chosen = [*(value if isinstance(value, list) else [value]), *chosen]
        elif key in groups:
            chosen.append({f"override /{key}": value})
        else:
            OmegaConf.update(values, key, value, force_add=True)
    command = shlex.join(["dlrun", "--config-dir", str(directory), f"experiment={name}", *left])
    results = ", ".join(f"{metric} {value:.6g}" for metric, value in trial.results.items())
    written: dict[str, Any] = {"defaults": chosen} if chosen else {}
    content = OmegaConf.to_container(values)
    assert isinstance(content, dict)
    body = yaml.safe_dump({**written, **content}, sort_keys=False, allow_unicode=True)
    return f"# @package _global_\n# Trial {trial.number}: {results}. Command: {command}\n{body}"


def table(best: list[Trial]) -> list[str]:
    """A line for each trial, with its results and values."""
    rows = [[f"trial {t.number}", *(f"{m} {v:.6g}" for m, v in t.results.items()), *_shown(t)] for t in best]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shown(trial: Trial) -> list[str]:
    values = trial.values.items()
    return [f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}" for key, value in values]
