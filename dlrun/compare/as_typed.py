"""Keys, values and names of groups, as they are typed on a command line."""

import json
from collections.abc import Container, Hashable
from itertools import count
from typing import Any

from dlrun.errors import printable, show
from dlrun.runs.run import Run


def short(key: str) -> str:
    """A key as it is typed: ``act`` for ``act.name``."""
    return key.removesuffix(".name")


def as_typed(value: Any) -> str:
    """A value as it is typed, on one line; a number of many digits, as a search draws them, is cut to five."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed, value))}]"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{value:.5g}" if isinstance(value, float) and len(text) > 9 else printable(text)


def as_json(run: Run, key: str, absent: Any = None) -> str:
    """A run's value of a key as JSON, ``absent`` if it has none; 1 and 1.0 give the same text."""
    value = run.config.get(key, absent if (fact := run.value(key)) is None else fact)
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def group_name(values: dict[str, Hashable], run: Run) -> str:
    """The name of a group by its values, of which ``run`` is a member: see :class:`~dlrun.compare.groups.Group`."""
    if len(values) == 1 and isinstance(value := next(iter(values.values())), str):
        return printable(value)
    return in_words(values, run) or "all"


def in_words(values: dict[str, Hashable], run: Run) -> str:
    """Values of ``run`` with their keys: ``act=relu optim.lr=0.01``; keys that it does not have are left out."""
    return " ".join(f"{short(k)}={show(as_typed(v))}" for k, v in values.items() if v is not None or k in run.config)


def unused(name: str, taken: Container[str]) -> str:
    """A name that is not taken: shortened names of groups may be equal."""
    return next(n for i in count(1) if (n := name if i == 1 else f"{name} ({i})") not in taken)
