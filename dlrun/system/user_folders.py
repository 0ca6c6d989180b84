"""The user's own folders. There may be none: a process may have no HOME, and its user no entry in the system's list."""

import os
from pathlib import Path


def home() -> Path | None:
    """The home folder; None where the system knows of none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def cache() -> Path | None:
    """Where what can be made anew is kept between runs; None where there is no such folder."""
    return _named("XDG_CACHE_HOME", ".cache")


def data() -> Path | None:
    """Where what was fetched is kept; None where there is no such folder."""
    return _named("XDG_DATA_HOME", ".local/share")


def expanded(path: str) -> Path | None:
    """A path with ``~`` and ``~user`` filled in; None where there is no such home folder."""
    found = os.path.expanduser(path)
    return None if found.startswith("~") else Path(found)


def _named(variable: str, below: str) -> Path | None:
    if given := os.environ.get(variable):
        return Path(given)
    return None if (folder := home()) is None else folder / below
