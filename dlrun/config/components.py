"""Which class or function a name in a configuration stands for: one of ours, or of a module that the user trusts."""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from dlrun.config import catalogue
from dlrun.config.schema import keys
from dlrun.errors import InvalidConfig, nearest, show

HOMES = {
    "model": "dlrun.models",
    "act": "dlrun.nn.activations",
    "norm": "dlrun.nn.norms",
    "init": "dlrun.nn.inits",
    "optim": "dlrun.optim.optimizers",
    "schedule": "dlrun.optim.schedules",
    "data": "dlrun.data.sources",
    "augment": "dlrun.data.augment",
    "loss": "dlrun.objective.losses",
    "launcher": "dlrun.sweep.launchers",
}
"""The module that has a group's components, or the package that has a module for each.

These are names, since all of them depend on this folder, and importing them would take seconds: only what a
configuration chooses is imported. ``tests/test_imports.py`` checks that each of them exists.
"""
PACKAGES = ("model", "data", "launcher")
"""The groups whose home is a package that has a module for each component."""

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
"""What the runner gives to a component of a group, by position."""
LEARNS: dict[str, tuple[str, ...]] = {"act": ("features", "rngs")}
"""What it gives instead, where the component is a class, since it has parameters to learn."""


def resolve(group: str, name: str, trust: tuple[str, ...]) -> Callable[..., Any]:
    """The component that a name stands for: one of ours, or ``package.module:attribute`` of a trusted package.

    Raises:
      InvalidConfig: where there is none, or it can't be imported, or does not take what the runner gives to it.
    """
    return _of_the_user(group, name, trust) if ":" in name else _packaged(group, name)


@functools.cache  # a sweep asks for every run
def _packaged(group: str, name: str) -> Callable[..., Any]:
    known = catalogue.options(group, [catalogue.conf()])
    if name in known:  # an alias is a file that names another option's component
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
    plainly = name.replace("_", "")  # the module random_erasing may hold the class RandomErasing
    return next(
        v
        for k, v in vars(module).items()
        if k.replace("_", "").lower() == plainly and getattr(v, "__module__", None) == module.__name__
    )


def given(group: str, component: Callable[..., Any]) -> tuple[str, ...]:
    """What the runner gives to a component, by position."""
    return LEARNS.get(group, GIVEN[group]) if inspect.isclass(component) else GIVEN[group]


def trusted(flags: list[str]) -> tuple[str, ...]:
    """The packages that the user allows this command to import from.

    Args:
      flags: those that ``--trust`` names; the environment variable ``DLRUN_TRUST`` may name more. Several are
        separated by spaces or commas.
    """
    return tuple(" ".join([*flags, os.environ.get("DLRUN_TRUST", "")]).replace(",", " ").split())


class TrustedFinder(MetaPathFinder):
    """Has Python's import find the trusted modules, and no others, in the user's folders."""

    def __init__(self, folders: list[Path], trust: tuple[str, ...]):
        self.folders, self.names = [*map(str, folders)], {name.split(".")[0] for name in trust}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        return self.spec(fullname) if path is None and fullname in self.names else None

    def spec(self, name: str) -> Any:
        """The import machinery's description of a module in these folders; None where they have none of this name."""
        return PathFinder.find_spec(name, self.folders)


def importable(config_dirs: list[Path], trust: tuple[str, ...]) -> None:
    """Lets trusted modules be found in the working folder, and beside the user's configs and their YAML files.

    These folders come after everything installed, so that a file there never takes the place of a module that we
    import. Only trusted modules are found there, since libraries try to import many that are not installed.
    """
    if not trust:
        return
    above = [p for d in config_dirs for p in (d.resolve().parent, d.resolve())]
    beside = [d.resolve() / group for d in config_dirs for group in HOMES if (d / group).is_dir()]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, TrustedFinder)]
    # Users' modules may import dlrun.parts by its name in earlier versions.
    sys.modules.setdefault("dlrun.schema", importlib.import_module("dlrun.parts"))
    sys.meta_path.append(TrustedFinder([Path.cwd(), *above, *beside], trust))


def _of_the_user(group: str, name: str, trust: tuple[str, ...]) -> Callable[..., Any]:
    """A component of the user's own, which must take what the runner gives to those of its group."""
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
        reason = " ".join(str(error).split()) + _trust_hint(error)
        raise InvalidConfig([f"{path}: importing {module_name} failed: {type(error).__name__}: {reason}"]) from error
    component = getattr(module, attribute, None)
    if not callable(component):
        there = [k for k, v in vars(module).items() if callable(v)]
        raise InvalidConfig([f"{path}: {module_name} has no {attribute}{nearest(attribute, there)}"])
    wanted = f"{', '.join(given(group, component)) or 'nothing'} by position, and its keys, with types, after a *"
    try:
        taken = positional(component)
    except Exception as error:  # no signature, or a type that is not defined
        raise InvalidConfig([f"{path}: must take {wanted}; {error}"]) from error
    if len(taken) != len(given(group, component)):
        raise InvalidConfig([f"{path}: must take {wanted}; it takes {', '.join(taken) or 'nothing'} by position"])
    return component


def _trust_hint(error: Exception) -> str:
    """The remedy, in words, if an import failed for a module that the user has, but does not trust; else empty."""
    missing = str(error.name).split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    theirs = missing and any(isinstance(finder, TrustedFinder) and finder.spec(missing) for finder in sys.meta_path)
    return f"; if it is yours too, allow importing it: --trust {missing}" if theirs else ""


def positional(component: Callable[..., Any]) -> list[str]:
    """The names of a component's positional parameters. Raises where its signature or a type in it can't be read."""
    keys(component)
    function = component.__init__ if inspect.isclass(component) else component
    names = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return names[1:] if inspect.isclass(component) else names
