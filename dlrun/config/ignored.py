"""Finds what Hydra composes without complaint although no run would use it, and words each as an error with a remedy.

These are experiments' files whose keys land in a section that nothing reads, or are replaced by those of the user's own
config.yaml; and overrides that mean something only to a sweep, or only to a single run.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf, open_dict

from dlrun.config import catalogue
from dlrun.config.catalogue import EXPERIMENT
from dlrun.config.hydra_adapter import Config, Hydra, HydraError
from dlrun.config.schema import keys as keys_of
from dlrun.config.settings import Settings
from dlrun.errors import show

HEADER = "# @package _global_"
OF_A_SWEEP = re.compile(r"(launcher|hydra\.launcher|hydra/launcher|hydra\.sweeper|hydra/sweeper|hydra\.sweep)(\.|@|$)")
OF_A_RUN = re.compile(r"hydra\.run(\.|$)")
SECTIONS = {"", "_global_", "hydra", *keys_of(Settings), *catalogue.GROUPS} - {EXPERIMENT}
"""The sections that are read: where the keys of a file may land."""
BOM = b"\xef\xbb\xbf"


def of_mode(overrides: list[str], *, multirun: bool) -> list[str]:
    """Problems with overrides that mean nothing to a single run, or, with ``multirun``, nothing to a sweep."""
    problems = []
    for text in overrides:
        key = _key(text)
        if key == "hydra.mode":
            problems.append(f"{text}: not allowed; allowed: dlrun -m ... for a sweep, without -m for one run")
        elif not multirun and OF_A_SWEEP.match(key):
            problems.append(f"{text}: not allowed for one run; allowed: in a sweep, dlrun -m ...")
        elif multirun and OF_A_RUN.match(key):
            problems.append(f"{text}: not allowed in a sweep; allowed: hydra.sweep.dir=DIR")
    return problems


def of_experiment_keys(overrides: list[str]) -> list[str]:
    """Problems with overrides such as ``experiment.x=1``: an experiment is a choice that has no keys of its own."""
    keys = {text: _key(text) for text in overrides}
    below = {text: key.removeprefix(f"{EXPERIMENT}.") for text, key in keys.items() if key.startswith(f"{EXPERIMENT}.")}
    return [
        f"{show(text)}: unknown key, as an experiment has none of its own; allowed: {show(key)}=..."
        for text, key in below.items()
    ]


def taken(cfg: Config) -> list[str]:
    """Takes the section ``experiment`` out of a configuration, as no run reads it; returns the keys that it had."""
    if EXPERIMENT not in cfg:
        return []
    with open_dict(cfg):
        left: Any = cfg.pop(EXPERIMENT)
    plain = OmegaConf.to_container(left, resolve=False) if OmegaConf.is_config(left) else left
    return list(_leaves(plain))


def of_experiments(hydra: Hydra, cfg: Config, overrides: list[str], *, multirun: bool) -> list[str]:
    """Problems with the experiments that a composed configuration was made of.

    Sections that an experiment made and nothing reads are taken out of ``cfg``, so that they are reported only once.
    """
    problems, left = of_experiment_keys(overrides), taken(cfg)
    keys = [text for text in left if not any(_key(o) == f"{EXPERIMENT}.{text}" for o in overrides)]
    own, strange = _file(hydra, "config"), [key for key in cfg if key not in SECTIONS]
    if not keys and not strange and own.parent == catalogue.conf():
        return problems
    try:
        parts = hydra.parts(overrides, multirun=multirun)
    except HydraError:  # it refuses some of the overrides; the user is told of those elsewhere
        parts = []
    files = {p.path: p for p in parts if p.path.startswith(f"{EXPERIMENT}/")}
    sections = {path: p.section.split(".")[0] for path, p in files.items()}
    headless = [path for path, section in sections.items() if section not in SECTIONS]
    wordy = [path for path in files if strange and path not in headless and _keyless(_file(hydra, path))]
    headless += wordy
    for key in strange:  # the file that made them is told of, so they need no line of their own
        if key in sections.values() or (wordy and cfg[key] is None):
            with open_dict(cfg):
                cfg.pop(key)
    if keys or headless:
        stray = f"{EXPERIMENT}: a section that nothing reads ({_shown(keys)}); allowed: its keys at the top level"
        problems += [_headless(_file(hydra, path)) for path in headless] or [stray]
    order = [p.path for p in parts if p.path in files or p.primary]
    if files and order[-1:] == ["config"]:
        problems.append(
            f"{own}: its own keys come after those of experiments, which they replace; "
            f"allowed: _self_ before {EXPERIMENT} in its defaults list"
        )
    return problems


def of_a_record(cfg: Config, file: Path) -> list[str]:
    """Problems with the section ``experiment`` in the configuration of an earlier run, which did not use it."""
    if not (keys := taken(cfg)):
        return []
    why = f"{EXPERIMENT}: a section that nothing reads ({_shown(keys)})"
    return [f"{file}: {why}: the run was made without it; allowed: without that section, to go on as before"]


def refused(hydra: Hydra, chosen: Any, why: str) -> str | None:
    """What to say of experiments that Hydra can't compose because of their files' first line, or of what they hold.

    Args:
      chosen: the option, or the list of them.
      why: what Hydra says.
    """
    named = re.findall(rf"In '({EXPERIMENT}/[^']+)'", why)
    names = named or [f"{EXPERIMENT}/{name}" for name in (chosen if isinstance(chosen, list) else [chosen])]
    lost = (found := re.search(r"Could not override '[^'@]*@(\w+)\.", why)) and found[1] not in SECTIONS
    files = [file for name in names if (file := _file(hydra, name)).is_file()]
    return next((_headless(file) for file in files if lost or _keyless(file)), None)


def _keyless(file: Path) -> bool:
    """Whether a file holds something, but no keys, such as text."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return content is not None and not isinstance(content, dict)


def _headless(file: Path) -> str:
    """Says what must change in an experiment's file for its keys to be read."""
    try:
        text = file.read_bytes()
    except OSError:
        text = b""
    if _keyless(file):
        return f"{file}: it holds no keys; allowed: key: value, a line each, below the first line, {HEADER}"
    if text.startswith(BOM):
        return (
            f"{file}: its keys would be ignored, as a byte order mark hides its first line; allowed: UTF-8 without it"
        )
    first = "its first line" if HEADER.encode() not in text else "its first line, above all others,"
    return f"{file}: its keys would be ignored; {first} must be: {HEADER}"


def _file(hydra: Hydra, path: str) -> Path:
    """The file that Hydra composes for a path such as ``experiment/mine``."""
    return next((file for folder in hydra.folders if (file := folder / f"{path}.yaml").is_file()), Path(f"{path}.yaml"))


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def _shown(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")


def _leaves(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif path or node is not None:
        yield path or show(node)
