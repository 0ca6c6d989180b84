"""Errors about what the user asked for, and helpers that word them for people. Imports nothing of dlrun."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

MOST_NEAR = 3  # names in a hint


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
    """The hint `` (did you mean 'x'?)`` with the known name, or the few, that ``name`` may stand for; else empty.

    It may be in capitals, the last part of a key (``lr`` of ``optim.lr``), misspelt, longer or shorter (``activation``
    for ``act``), or have the initials (``learning_rate`` for ``lr``).
    """
    asked, names = _plain(name), {k: _plain(k) for k in map(str, known)}
    last = {k: plain.rpartition(".")[2] for k, plain in names.items()}

    def misspelt(words: dict[str, str]) -> list[str]:
        close = get_close_matches(asked, [*words.values()], n=1, cutoff=0.6)
        return [k for k, word in words.items() if close == [word]][:1]

    ways = (
        [k for k, plain in names.items() if plain == asked],
        [k for k, word in last.items() if word == asked],
        misspelt(names),
        misspelt(last),
        [k for k, word in last.items() if min(len(word), len(asked)) > 2 and _begins(word, asked)],
        [k for k, word in last.items() if asked == _initials(word) or word == _initials(asked)],
    )
    found = [repr(k) for k in next(filter(None, ways), [])[:MOST_NEAR]]
    return f" (did you mean {' or '.join(filter(None, (', '.join(found[:-1]), found[-1])))}?)" if found else ""


def _plain(name: str) -> str:
    return str(name).lower().replace("-", "_")


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _initials(word: str) -> str:
    return "".join(part[:1] for part in word.split("_")) if "_" in word else "none, as it is one word"


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


def safe(text: str) -> str:
    """Lines of text with escape codes for characters that would act on a terminal: see :func:`printable`."""
    return "\n".join(map(printable, text.split("\n")))


def tell(text: str) -> None:
    """Tells a person something on stderr, whoever wrote it: a directory, a server, an error."""
    print(safe(text), file=sys.stderr, flush=True)
