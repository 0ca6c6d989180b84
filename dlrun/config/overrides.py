"""Overrides such as ``optim.lr=0.1``, in Hydra's grammar: read, quoted, and what is wrong with them."""

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException
from yaml import YAMLError

from dlrun.config import catalogue, ignored
from dlrun.errors import show

SPECIAL = re.compile(r"token|mismatched input '=' expecting <EOF>")


def parse(text: str) -> tuple[Override | None, str]:
    """An override as Hydra reads it, or why it can't be read."""
    try:
        return OverridesParser.create().parse_override(text), ""
    except HydraException as error:
        quote = "; put text with special characters in quotes: 'key=\"...\"'" if SPECIAL.search(str(error)) else ""
        why = said(error).partition(" expecting {")[0].replace("mismatched input '<EOF>'", "it ends too early")
        return None, f"{show(text)}: can't be read as key=value: {why}{quote}"


def quoted(text: str) -> str:
    """Text as the value of an override that stands for itself, whatever it holds."""
    return QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes()


def one_duration(overrides: list[str]) -> list[str]:
    """``steps=500`` alone takes the place of the default ``epochs``, and the other way round."""
    given = {key: value for key, _, value in (text.partition("=") for text in overrides)}
    for key, other in (("steps", "epochs"), ("epochs", "steps")):
        if given.get(key, "null") != "null" and other not in given:
            return [*overrides, f"{other}=null"]
    return overrides


def _twice(overrides: list[str]) -> list[str]:
    """Choices that are made more than once. Of a key's values the last counts, so that a script's can be changed."""
    names = [text.lstrip("+").split("=")[0] for text in overrides]
    return [
        f"{group}: chosen {names.count(group)} times; allowed: once, or a sweep: dlrun -m {group}=a,b"
        for group in catalogue.GROUPS
        if names.count(group) > 1
    ]


def said(error: BaseException) -> str:
    """What an exception says, on one line."""
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, YAMLError):
        return " ".join(str(error).split())
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if f"@{catalogue.EXPERIMENT}." in lines[0] if lines else False:
        return f"{lines[0]} The first line of an experiment's file must be: {ignored.HEADER}"
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
