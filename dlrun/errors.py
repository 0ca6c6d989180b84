"""Errors about what the user asked for, and helpers that word them for people. Imports nothing of dlrun."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class InvalidConfig(Exception):
    """Raised when what the user asked for is wrong. It carries every problem that was found, one line each."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Unfit(ValueError):
    """Raised by a component whose values do not fit the data or each other.

    Args:
      key: the offending key, relative to the component (``heads``), or absolute with a leading dot (``.norm``).
      value: its value.
      allowed: what the value must do, worded to follow "must": "divide the width 64".
    """

    def __init__(self, key: str, value: Any, allowed: str):
        self.key, self.value, self.allowed = key, value, allowed
        super().__init__(f"{key}={show(value)} must {allowed}")

    def at(self, group: str) -> str:
        """The problem as one line, with the key's full path."""
        path = self.key[1:] if self.key.startswith(".") else f"{group}.{self.key}"
        return f"{path}={show(self.value)}: must {self.allowed}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint `` (did you mean 'x'?)`` with the closest known name; empty if none is close."""
    match = get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f" (did you mean '{match[0]}'?)" if match else ""


def printable(text: str) -> str:
    """Text on one line, with escape codes for characters that would move the cursor or change colours."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def show(value: Any, most: int | None = 60) -> str:
    """A value as the user would type it, shortened to ``most`` characters."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{k}: {show(v, most)}" for k, v in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(v, most) for v in value) + "]"
    else:
        text = {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)
    text = printable(text)
    return text if most is None or len(text) <= most else text[: most - 3] + "..."
