"""Composes the configurations of many jobs, but calls Hydra only once for jobs that differ in plain values.

Hydra takes 0.1 s to compose. Jobs that choose the same options and set the same keys share one composition, the *base*.
Then the values of each job are set: in a copy of the base as plain values, or, if the base holds references between
keys, in OmegaConf's tree. Whatever is less simple than ``key=value`` is part of the base.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

from dlrun.config import composition
from dlrun.config.hydra_adapter import Hydra
from dlrun.errors import InvalidConfig
from dlrun.sweep.jobs.job import HydraPart

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")
_ABSENT = object()


@dataclass(frozen=True, eq=False)
class Setting:
    """An override with one value.

    Args:
      text: the override as it is typed.
      key: its key; empty where it chooses an option of a group, which Hydra does before it sets any key.
      value: as a plain value.
      fixed: whether it is part of the base: it chooses an option, or is the same for all jobs.
      adds: whether the key must be new: ``+key=value``.
    """

    text: str
    key: str
    value: Any = None
    fixed: bool = True
    adds: bool = False


@dataclass(frozen=True, eq=False)
class Composed:
    """The configuration of one job.

    Args:
      values: the configuration of the run, as plain values.
      written: the same, with references between keys as they are written in the files.
      hydra: Hydra's part.
      problems: what is wrong with it.
    """

    values: dict[str, Any]
    written: dict[str, Any]
    hydra: HydraPart
    problems: list[str]


def is_plain(key: str, value: Any) -> bool:
    """Whether an override gives a simple value to a simple key: no reference, no section, no index into a list."""
    parts = key.split(".")
    return bool(_PLAIN_KEY.fullmatch(key)) and parts[0] != "hydra" and parts[-1] != "_target_" and _literal(value)


@dataclass
class Composer:
    """Composes jobs, and keeps each base for the jobs that share it.

    Args:
      hydra: loads the configs.
      overrides: of Hydra's own part, the same for all jobs.
    """

    hydra: Hydra
    overrides: list[str]
    _bases: dict[tuple, "_Base | InvalidConfig"] = field(default_factory=dict)

    def compose(self, settings: list[Setting]) -> Composed:
        """Composes a job. Gives, and raises, what :func:`~dlrun.config.composition.compose` and ``plain`` would."""
        late = _late(settings)
        while True:
            texts = tuple(s.text for s in settings if s not in late)
            signature = texts, tuple(s.key for s in late)
            if signature not in self._bases:
                self._bases[signature] = self._base([*self.overrides, *texts], late)
            base = self._bases[signature]
            if isinstance(base, InvalidConfig):
                raise base
            if not base.refused:
                return base.with_values(late)
            late = [s for s in late if s.key not in base.refused]

    def _base(self, overrides: list[str], late: list[Setting]) -> "_Base | InvalidConfig":
        try:
            return _Base(self.hydra, overrides, late)
        except InvalidConfig as error:  # the user's configs can't be read: all jobs of this base have this error
            return error


class _Base:
    """The composition for some overrides. The keys of the ``late`` settings get their values afterwards.

    Attributes:
      refused: the ``late`` keys that can't be set afterwards, only by Hydra.
      literal: whether no value refers to another key, apart from values that are replaced.
    """

    def __init__(self, hydra: Hydra, overrides: list[str], late: list[Setting]):
        self.cfg, self.problems = composition.compose(hydra, overrides)
        raw: Any = OmegaConf.to_container(self.cfg, resolve=False, enum_to_str=True)
        self.hydra = HydraPart(_of_a_sweep(raw.pop("hydra")))
        self.raw: dict[str, Any] = raw
        self.refused = {s.key for s in late if not _settable(raw, s)}
        given = [s.key for s in late]
        unresolved = [path for path, value in _leaves(raw) if not _literal(value)]
        self.literal = all(any(_below(path, key) for key in given) for path in unresolved)

    def with_values(self, late: list[Setting]) -> Composed:
        if self.literal:
            values = _copy(self.raw)
            for setting in late:
                _set(values, setting)
            return Composed(values, values, self.hydra, self.problems)
        for setting in late:  # every job sets all of these keys, so nothing of the job before it remains
            OmegaConf.update(self.cfg, setting.key, setting.value, force_add=True)
        values, unresolved = composition.plain(self.cfg)
        written: Any = OmegaConf.to_container(self.cfg, resolve=False, enum_to_str=True)
        del written["hydra"]
        return Composed(values, written, self.hydra, [*self.problems, *unresolved])


def _late(settings: list[Setting]) -> list[Setting]:
    """The settings that can be made after all others: not fixed, and without a later one of the same key or section."""
    return [
        s
        for i, s in enumerate(settings)
        if not s.fixed and not any(t.key and (_below(s.key, t.key) or _below(t.key, s.key)) for t in settings[i + 1 :])
    ]


def _below(path: str, key: str) -> bool:
    return path == key or path.startswith((key + ".", key + "["))


def _settable(values: dict[str, Any], setting: Setting) -> bool:
    """Whether the key's value is no section, or its section has no such key yet. Else only Hydra can set it."""
    node: Any = values
    for part in setting.key.split("."):
        if not isinstance(node, dict):
            return False
        node = node.get(part, _ABSENT)
        if node is _ABSENT:
            return True
    return node is None if setting.adds else not isinstance(node, dict)


def _set(values: dict[str, Any], setting: Setting) -> None:
    *sections, name = setting.key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = _copy(setting.value)


def _literal(value: Any) -> bool:
    """Whether a value is final: no reference, no ``???`` (a value that is still to be given), no section."""
    if isinstance(value, list):
        return all(map(_literal, value))
    return not isinstance(value, dict) and not (isinstance(value, str) and ("${" in value or value == "???"))


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values that are no sections, with their keys as dotted paths."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, [] if node == {} else node


def _copy(value: Any) -> Any:
    """A copy of plain values, ten times as fast as ``copy.deepcopy``."""
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _of_a_sweep(node: dict[str, Any]) -> dict[str, Any]:
    """Hydra's part of a single run's configuration, changed to what a job of a sweep has."""
    overrides = [text.replace("hydra.mode=RUN", "hydra.mode=MULTIRUN") for text in node["overrides"]["hydra"]]
    return {**node, "mode": "MULTIRUN", "overrides": {**node["overrides"], "hydra": overrides}}
