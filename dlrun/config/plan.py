"""Turns plain values into a checked plan: names become components, and values are checked against their signatures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlrun.config import catalogue
from dlrun.config.choice import Choice
from dlrun.config.components import HOMES, resolve
from dlrun.config.schema import filled, find_problems, keys, paths
from dlrun.config.settings import Settings
from dlrun.errors import InvalidConfig, nearest, show

RATE = "optim.lr"
OFF_AT_ZERO = ("dropout", "ema", "model.drop_path")
"""Numbers that are taken out of the state where they are 0, since what they are for is then switched off."""


@dataclass(frozen=True)
class Plan:
    """A checked configuration: all that is needed to prepare a run.

    Args:
      settings: the fixed part.
      choices: the component of each group with the values that are compiled into the program.
      numbers: the values that live in the training state, by key such as ``optim.lr``.
      values: everything about the run as plain values, defaults included.
      trust: packages that may be imported from.
    """

    settings: Settings
    choices: dict[str, Choice]
    numbers: dict[str, float]
    values: dict[str, Any]
    trust: tuple[str, ...] = ()


def plan(values: dict[str, Any], trust: tuple[str, ...] = (), problems: list[str] | None = None) -> Plan:
    """Checks plain values and finds the components that they name.

    Args:
      values: a configuration, as :func:`~dlrun.config.composition.plain` gives it. Keys that are left out have their
        defaults.
      trust: packages that the user allowed on this command to be imported from.
      problems: problems found before, to be reported with the others.

    Raises:
      InvalidConfig: with all that is wrong with the values.
    """
    problems, components, given = list(problems or []), {}, {}
    for group in HOMES:
        try:
            usual = {"name": catalogue.NOT_OF_A_RUN[group]} if group in catalogue.NOT_OF_A_RUN else None
            name, given[group] = _choice(group, values.get(group, usual))
            components[group] = resolve(group, name, trust)
        except InvalidConfig as error:
            problems += error.problems
    everywhere = [
        *HOMES,
        *paths(Settings),
        *(path for group, part in components.items() for path in paths(part, group)),
    ]
    for group, component in components.items():
        problems += find_problems(component, given[group], group, everywhere)
        if group == "optim":
            problems += _without_rate(values[group]["name"], component, filled(component, given[group]))

    fixed = {k: v for k, v in values.items() if k not in HOMES}
    known = keys(Settings)
    problems += [_unknown(k, [*known, *everywhere]) for k in fixed if k not in known]
    fixed = filled(Settings, {k: v for k, v in fixed.items() if k in known})
    problems += find_problems(Settings, fixed, "") or _conflicts(Settings.of(fixed))
    if problems:
        raise InvalidConfig(dict.fromkeys(problems))

    numbers, choices, complete = _traced(Settings, fixed, ""), {}, dict(fixed)
    for group, component in components.items():
        options = filled(component, given[group])
        traced = _traced(component, options, f"{group}.")
        if group == "optim":
            traced[RATE] = options["lr"]  # the step passes the scheduled one, whatever type the signature has
        numbers |= traced
        static = {k: _hashable(v) for k, v in options.items() if f"{group}.{k}" not in traced}
        choices[group] = Choice(component, tuple(sorted(static.items())))
        if group not in catalogue.NOT_OF_A_RUN:
            complete[group] = {"name": values[group]["name"], **options}
    del numbers["seed"]  # the state has it as an integer
    for name in OFF_AT_ZERO:
        if numbers.get(name) == 0:
            del numbers[name]  # in a small model, drawing masks that drop nothing would take most of a step
    return Plan(Settings.of(fixed), choices, {k: float(v) for k, v in numbers.items()}, complete, trust)


def _without_rate(name: str, optimizer: Callable[..., Any], values: dict[str, Any]) -> list[str]:
    """What is wrong with an optimizer of the user's own that has no learning rate, or none that is a number."""
    if "lr" not in keys(optimizer):
        return [
            f"optim.name={name}: must have a key lr, such as *, lr: Positive = 1e-3: dlrun gives it the scheduled rate"
        ]
    if values.get("lr", 1) is None:
        return [f"{RATE}=null: not allowed; allowed: a number"]
    return []


def _choice(group: str, options: Any) -> tuple[str, dict[str, Any]]:
    """The name of the component that is chosen in a group, and the values for it."""
    if isinstance(options, dict) and isinstance(options.get("name"), str):
        return options["name"], {k: v for k, v in options.items() if k != "name"}
    packaged = catalogue.options(group, [catalogue.conf()])
    known = ", ".join(packaged)
    if isinstance(options, str) and options in packaged:  # in a file; on the command line it is a choice
        how = f"- override /{group}: {options}"
        raise InvalidConfig([f"{group}={options}: text instead of a choice; allowed in a file: {how} in its defaults"])
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
    problems = []
    if (settings.epochs is None) == (settings.steps is None):
        given = f"epochs={show(settings.epochs)}, steps={show(settings.steps)}"
        problems.append(f"{given}: exactly one must be given and the other be null, such as epochs=null steps=1000")
    machines = settings.distributed
    if machines.process >= machines.processes:
        allowed = f"a number below distributed.processes={machines.processes}"
        problems.append(f"distributed.process={machines.process}: not allowed; allowed: {allowed}")
    if machines.processes > 1 and machines.coordinator is None:
        problems.append("distributed.coordinator=null: not allowed with several processes; allowed: host:port")
    return problems


def _traced(component: Callable[..., Any], values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The values that live in the training state, by key. One that is null is compiled in, as what it is for is off."""
    return {prefix + k: values[k] for k, key in keys(component).items() if key.traced and values.get(k) is not None}


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value
