"""From plain values to checked components: names become objects, values are held against their signatures."""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from dlrun import catalogue
from dlrun.nn.parts import Choice
from dlrun.schema import InvalidConfig, filled, keys, nearest, problems, show
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
    "loss": "dlrun.losses",
    "launcher": "dlrun.sweep.launchers",
}
PACKAGES = ("model", "data", "launcher")
OFF_AT_ZERO = ("dropout", "ema", "model.drop_path")

# What the runner gives to a component of a group, by position.
GIVEN: dict[str, tuple[str, ...]] = {
    "model": ("inputs", "outputs", "parts", "rngs"),
    "act": ("x",),
    "norm": ("features", "rngs"),
    "init": ("activation",),
    "optim": ("decay",),
    "schedule": ("step", "total", "peak"),
    "data": (),
    "augment": ("key", "batch"),
    "loss": ("outputs", "targets", "smoothing"),
    "launcher": (),
}
# Likewise, where the component is a class, since it has parameters.
LEARNS: dict[str, tuple[str, ...]] = {"act": ("features", "rngs")}


@dataclass(frozen=True)
class Plan:
    """A checked configuration.

    Args:
      settings: the fixed part.
      choices: the component of each group with the values that are compiled in.
      numbers: the values that live in the training state, by path.
      values: everything about the run as plain values, defaults included.
      trust: packages that may be imported from.
    """

    settings: Settings
    choices: dict[str, Choice]
    numbers: dict[str, float]
    values: dict[str, Any]
    trust: tuple[str, ...] = ()


def plan(values: dict[str, Any], trust: tuple[str, ...] = (), found: list[str] | None = None) -> Plan:
    """Checks plain values; raises :class:`InvalidConfig` with all that is wrong with them.

    Args:
      values: a configuration, as :func:`dlrun.config.plain` gives it. Keys that are left out have their defaults.
      trust: packages that the user allowed on this command to be imported from.
      found: problems found before, to be reported with the others.
    """
    found, components, given = list(found or []), {}, {}
    for group in HOMES:
        try:
            usual = {"name": catalogue.NOT_OF_A_RUN[group]} if group in catalogue.NOT_OF_A_RUN else None
            name, given[group] = _choice(group, values.get(group, usual))
            components[group] = resolve(group, name, trust)
        except InvalidConfig as error:
            found += error.problems
            continue
        found += problems(components[group], given[group], group)

    fixed = {k: v for k, v in values.items() if k not in HOMES}
    known = keys(Settings)
    found += [_unknown(k, [*known, *HOMES]) for k in fixed if k not in known]
    fixed = filled(Settings, {k: v for k, v in fixed.items() if k in known})
    found += problems(Settings, fixed, "") or _conflicts(Settings.of(fixed))
    if found:
        raise InvalidConfig(dict.fromkeys(found))

    numbers, choices, complete = _traced(Settings, fixed, ""), {}, dict(fixed)
    for group, component in components.items():
        options = filled(component, given[group])
        traced = _traced(component, options, f"{group}.")
        numbers |= traced
        static = {k: _hashable(v) for k, v in options.items() if f"{group}.{k}" not in traced}
        choices[group] = Choice(component, tuple(sorted(static.items())))
        if group not in catalogue.NOT_OF_A_RUN:
            complete[group] = {"name": values[group]["name"], **options}
    del numbers["seed"]  # not a float32
    for name in OFF_AT_ZERO:
        if numbers.get(name) == 0:
            del numbers[name]  # drawing masks that drop nothing would cost most of a small model's step
    return Plan(Settings.of(fixed), choices, {k: float(v) for k, v in numbers.items()}, complete, trust)


def resolve(group: str, name: str, trust: tuple[str, ...]) -> Callable[..., Any]:
    """The component that a name stands for: one of ours, or ``package.module:attribute`` of a trusted package."""
    return _foreign(group, name, trust) if ":" in name else _own(group, name)


@functools.cache  # a sweep asks for every run
def _own(group: str, name: str) -> Callable[..., Any]:
    known = catalogue.options(group, [catalogue.conf()])
    if name in known:  # an alias is a file that names another
        name = catalogue.component(known[name]) or name
    else:
        raise InvalidConfig(
            [
                f"{group}.name={show(name)}: unknown name{nearest(name, known)}; known: {', '.join(known)}; "
                "your own: module:name with --trust module"
            ]
        )
    home = HOMES[group]
    module = importlib.import_module(f"{home}.{name}" if group in PACKAGES else home)
    plainly = name.replace("_", "")
    return next(
        v
        for k, v in vars(module).items()
        if k.replace("_", "").lower() == plainly and getattr(v, "__module__", None) == module.__name__
    )


def given(group: str, component: Callable[..., Any]) -> tuple[str, ...]:
    """What the runner gives to a component, by position."""
    return LEARNS.get(group, GIVEN[group]) if inspect.isclass(component) else GIVEN[group]


def trusted(flags: list[str]) -> tuple[str, ...]:
    """The packages trusted on this command: by ``--trust`` and by the environment variable ``DLRUN_TRUST``."""
    return tuple(t for t in [*flags, *os.environ.get("DLRUN_TRUST", "").replace(",", " ").split()] if t)


class Own(MetaPathFinder):
    """Finds the trusted modules, and no others, in the user's folders."""

    def __init__(self, folders: list[Path], trust: tuple[str, ...]):
        self.folders, self.names = [*map(str, folders)], {name.split(".")[0] for name in trust}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        return self.spec(fullname) if path is None and fullname in self.names else None

    def spec(self, name: str) -> Any:
        """What the folders have under a name."""
        return PathFinder.find_spec(name, self.folders)


def importable(config_dirs: list[Path], trust: tuple[str, ...]) -> None:
    """Lets trusted modules be found in the working folder, and beside the user's configs and their YAML files.

    After everything installed, so that a file there never takes the place of a module that we import; and those alone,
    since libraries try many a module that is not installed.
    """
    above = [p for d in config_dirs for p in (d.resolve().parent, d.resolve())]
    beside = [d.resolve() / group for d in config_dirs for group in HOMES if (d / group).is_dir()]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Own)]
    sys.meta_path.append(Own([Path.cwd(), *above, *beside], trust))


def _choice(group: str, options: Any) -> tuple[str, dict[str, Any]]:
    """The name of the component that is chosen in a group, and the values for it."""
    if isinstance(options, dict) and isinstance(options.get("name"), str):
        return options["name"], {k: v for k, v in options.items() if k != "name"}
    packaged = catalogue.options(group, [catalogue.conf()])
    known = ", ".join(packaged)
    if isinstance(options, str) and options in packaged:  # in a file; on the command line it is a choice
        how = f"- override /{group}: {options}"
        raise InvalidConfig([f"{group}={options}: text where a choice is; allowed in a file: {how} in its defaults"])
    if options is None:
        raise InvalidConfig([f"{group}: missing; allowed: {known}"])
    if not isinstance(options, dict):
        raise InvalidConfig([f"{group}={show(options)}: not a choice; allowed: {known}"])
    name = f"={show(options['name'])}: not allowed" if "name" in options else ": missing"
    raise InvalidConfig([f"{group}.name{name}; allowed: {known}, or module:name for your own"])


def _unknown(key: str, known: list[str]) -> str:
    section, _, below = str(key).partition(".")
    if section in known and below:
        return f"{key}: unknown key with a dot in its name; allowed in a file: {section}: {{{below}: ...}}"
    return f"{key}: unknown key{nearest(key, known)}; dlrun --help lists all"


def _conflicts(settings: Settings) -> list[str]:
    """Values that exclude each other, whatever the data and the model are."""
    found = []
    if (settings.epochs is None) == (settings.steps is None):
        given = f"epochs={show(settings.epochs)}, steps={show(settings.steps)}"
        found.append(f"{given}: exactly one must be given and the other be null, such as epochs=null steps=1000")
    machines = settings.distributed
    if machines.process >= machines.processes:
        allowed = f"a number below distributed.processes={machines.processes}"
        found.append(f"distributed.process={machines.process}: not allowed; allowed: {allowed}")
    if machines.processes > 1 and machines.coordinator is None:
        found.append("distributed.coordinator=null: not allowed with several processes; allowed: host:port")
    return found


def _foreign(group: str, name: str, trust: tuple[str, ...]) -> Callable[..., Any]:
    path = f"{group}.name={show(name)}"
    module_name, _, attribute = name.partition(":")
    package = module_name.split(".")[0]
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise InvalidConfig([f"{path}: not allowed; allowed: module:name, such as mynet:MyNet"])
    if not any(module_name == t or module_name.startswith(t + ".") for t in trust):
        raise InvalidConfig([f"{path}: not trusted; if the code is yours, allow importing it: --trust {package}"])
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module may fail in any way while it is imported
        reason = " ".join(str(error).split()) + _helper(error)
        raise InvalidConfig([f"{path}: importing {module_name} failed: {type(error).__name__}: {reason}"]) from error
    component = getattr(module, attribute, None)
    if not callable(component):
        there = [k for k, v in vars(module).items() if callable(v)]
        raise InvalidConfig([f"{path}: {module_name} has no {attribute}{nearest(attribute, there)}"])
    wanted = f"{', '.join(given(group, component)) or 'nothing'} by position, and its keys, with types, after a *"
    try:
        positional = _positional(component)
    except Exception as error:  # no signature, or a type that is not defined
        raise InvalidConfig([f"{path}: must take {wanted}; {error}"]) from error
    if len(positional) != len(given(group, component)):
        raise InvalidConfig([f"{path}: must take {wanted}; it takes {', '.join(positional) or 'nothing'} by position"])
    return component


def _helper(error: Exception) -> str:
    """What helps where a module is missing that the user has, but does not trust."""
    missing = str(error.name).split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    theirs = missing and any(isinstance(finder, Own) and finder.spec(missing) for finder in sys.meta_path)
    return f"; if it is yours too, allow importing it: --trust {missing}" if theirs else ""


def _positional(component: Callable[..., Any]) -> list[str]:
    """The names of the positional parameters."""
    keys(component)
    function = component.__init__ if inspect.isclass(component) else component
    names = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return names[1:] if inspect.isclass(component) else names


def _traced(component: Callable[..., Any], values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The values that live in the training state; a number that is null is a choice, not a number."""
    return {prefix + k: values[k] for k, key in keys(component).items() if key.traced and values.get(k) is not None}


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value
