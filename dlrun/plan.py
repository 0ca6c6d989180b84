"""From plain values to checked components: names become objects, values are held against their signatures."""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun import catalogue
from dlrun.nn.parts import Choice
from dlrun.schema import InvalidConfig, keys, nearest, problems
from dlrun.settings import Settings

# Where the names of a group are defined: a module of many, or a package with a module each.
HOMES = {
    "model": "dlrun.models",
    "act": "dlrun.nn.activations",
    "norm": "dlrun.nn.norms",
    "init": "dlrun.nn.inits",
    "optim": "dlrun.optim",
    "schedule": "dlrun.schedules",
    "data": "dlrun.data",
    "augment": "dlrun.data.augment",
}
PACKAGES = ("model", "data")


@dataclass(frozen=True)
class Plan:
    """A checked configuration.

    Args:
      settings: the fixed part.
      choices: the component of each group with the values that are compiled in.
      numbers: the values that live in the training state, by path.
      values: everything as plain values.
    """

    settings: Settings
    choices: dict[str, Choice]
    numbers: dict[str, float]
    values: dict[str, Any]


def plan(values: dict[str, Any], trust: tuple[str, ...] = ()) -> Plan:
    """Checks plain values; raises :class:`InvalidConfig` with all that is wrong with them.

    Args:
      values: a configuration, as :func:`dlrun.config.plain` gives it.
      trust: packages that the user allowed on this command to be imported from.
    """
    found, components = [], {}
    for group in HOMES:
        options = values.get(group)
        if not isinstance(options, dict) or not isinstance(options.get("name"), str):
            found.append(f"{group}={options}: not a choice; allowed: {', '.join(catalogue.options(group, [catalogue.conf()]))}")
            continue
        try:
            components[group] = resolve(group, options["name"], trust)
        except InvalidConfig as error:
            found += error.problems
            continue
        found += problems(components[group], {k: v for k, v in options.items() if k != "name"}, group)

    fixed = {k: v for k, v in values.items() if k not in HOMES and k != "experiment"}
    known = keys(Settings)
    for name in [k for k in fixed if k not in known]:
        found.append(f"{name}: unknown key{nearest(name, [*known, *HOMES])}")
        del fixed[name]
    found += problems(Settings, fixed, "")
    if not found and (fixed.get("epochs") is None) == (fixed.get("steps") is None):
        found.append(f"epochs={fixed.get('epochs')}, steps={fixed.get('steps')}: exactly one of the two must be given, the other null")
    if found:
        raise InvalidConfig(found)

    numbers = {k: float(v) for k, v in _traced(Settings, fixed, "").items() if k != "seed"}
    choices = {}
    for group, component in components.items():
        given = {k: v for k, v in values[group].items() if k != "name"}
        traced = _traced(component, given, group)
        numbers |= {k: float(v) for k, v in traced.items()}
        static = {k: _hashable(v) for k, v in given.items() if f"{group}.{k}" not in traced}
        choices[group] = Choice(component, tuple(sorted(static.items())))
    if numbers["dropout"] == 0:
        del numbers["dropout"]  # off: drawing masks that drop nothing would cost most of a small model's step
    return Plan(Settings.of(fixed), choices, numbers, values)


def resolve(group: str, name: str, trust: tuple[str, ...]) -> Callable[..., Any]:
    """The component that a name stands for: one of ours, or ``package.module:attribute`` of a trusted package."""
    if ":" in name:
        return _foreign(group, name, trust)
    known = catalogue.options(group, [catalogue.conf()])
    if name not in known:
        raise InvalidConfig([
            f"{group}.name={name}: unknown name{nearest(name, known)}; known: {', '.join(known)}; "
            "your own: module:name with --trust module"
        ])
    home = HOMES[group]
    module = importlib.import_module(f"{home}.{name}" if group in PACKAGES else home)
    plainly = name.replace("_", "")
    return next(
        v
        for k, v in vars(module).items()
        if k.replace("_", "").lower() == plainly and getattr(v, "__module__", None) == module.__name__
    )


def trusted(flags: list[str]) -> tuple[str, ...]:
    """The packages trusted on this command: by ``--trust`` and by the environment variable ``DLRUN_TRUST``."""
    return tuple(t for t in [*flags, *os.environ.get("DLRUN_TRUST", "").replace(",", " ").split()] if t)


def importable(config_dirs: list[Path]) -> None:
    """Lets trusted modules be found in the working folder and beside the user's configs; installed ones come first."""
    for folder in [Path.cwd(), *(p for d in config_dirs for p in (d.resolve().parent, d.resolve()))]:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _foreign(group: str, name: str, trust: tuple[str, ...]) -> Callable[..., Any]:
    path = f"{group}.name={name}"
    module_name, _, attribute = name.partition(":")
    package = module_name.split(".")[0]
    if not any(module_name == t or module_name.startswith(t + ".") for t in trust):
        raise InvalidConfig([f"{path}: not trusted; if the code is yours, allow importing it: --trust {package}"])
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module may fail in any way while it is imported
        raise InvalidConfig([f"{path}: importing {module_name} failed: {type(error).__name__}: {error}"]) from error
    component = getattr(module, attribute, None)
    if not callable(component):
        there = [k for k, v in vars(module).items() if callable(v)]
        raise InvalidConfig([f"{path}: {module_name} has no {attribute}{nearest(attribute, there)}"])
    return component


def _traced(component: Callable[..., Any], values: dict[str, Any], path: str) -> dict[str, Any]:
    """The values that live in the training state; a number that is null is a choice, not a number."""
    return {
        f"{path}.{k}" if path else k: values[k]
        for k, key in keys(component).items()
        if key.traced and values.get(k) is not None
    }


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
