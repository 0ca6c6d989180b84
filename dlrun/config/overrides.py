"""Reads and quotes overrides such as ``optim.lr=0.1``, in Hydra's grammar, and finds what is wrong with them."""

import re
from typing import Any

from yaml import YAMLError

from dlrun.config import catalogue, hydra_adapter, ignored
from dlrun.config.hydra_adapter import Hydra, HydraError, Override
from dlrun.errors import show

SPECIAL = re.compile(r"token|mismatched input '=' expecting <EOF>")  # in Hydra's errors about special characters


def parse(text: str, hydra: Hydra | None = None) -> tuple[Override | None, str]:
    """An override as Hydra reads it, or why it can't be read.

    Args:
      hydra: knows the options that ``glob(*)`` stands for.
    """
    try:
        return (hydra_adapter.read if hydra is None else hydra.read)(text), ""
    except HydraError as error:
        quote = "; put text with special characters in quotes: 'key=\"...\"'" if SPECIAL.search(str(error)) else ""
        why = error_line(error).partition(" expecting {")[0].replace("mismatched input '<EOF>'", "it ends too early")
        return None, f"{show(text)}: can't be read as key=value: {why}{quote}"


def quoted(text: str) -> str:
    """Text as the value of an override that stands for itself, whatever it holds."""
    return hydra_adapter.as_typed(hydra_adapter.in_quotes(text.replace("${", "\\${")))


def typed(element: Any) -> str:
    """A value as it is typed in an override: text in quotes where it would be read as something else."""
    return hydra_adapter.as_typed(_quoted_where_needed(element))


def _quoted_where_needed(value: Any) -> Any:
    if isinstance(value, list):
        return [_quoted_where_needed(v) for v in value]
    if isinstance(value, dict):
        return {k: _quoted_where_needed(v) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    read = parse(f"x={hydra_adapter.as_typed(value)}")[0]
    same = bool(value) and read is not None and not read.sweeps and read.element == value
    return value if same else hydra_adapter.in_quotes(value)


def one_duration(overrides: list[str]) -> list[str]:
    """The overrides, and ``epochs=null`` where they give ``steps`` alone, or the other way round.

    ``steps=500`` alone takes the place of the default number of epochs.
    """
    given = {key: value for key, _, value in (text.partition("=") for text in overrides)}
    for key, other in (("steps", "epochs"), ("epochs", "steps")):
        if given.get(key, "null") != "null" and other not in given:
            return [*overrides, f"{other}=null"]
    return overrides


def twice(overrides: list[str]) -> list[str]:
    """Problems with groups that are chosen from more than once.

    A key may be given again: its last value counts, so that what a script sets can be changed after it.
    """
    names = [text.lstrip("+").split("=")[0] for text in overrides]
    return [
        f"{group}: chosen {names.count(group)} times; allowed: once, or a sweep: dlrun -m {group}=a,b"
        for group in catalogue.GROUPS
        if names.count(group) > 1
    ]


def error_line(error: BaseException) -> str:
    """What an exception says, on one line."""
    error = hydra_adapter.cause(error)
    if isinstance(error, YAMLError):
        return " ".join(str(error).split())
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if f"@{catalogue.EXPERIMENT}." in lines[0] if lines else False:
        return f"{lines[0]} The first line of an experiment's file must be: {ignored.HEADER}"
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
