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
    """The folder for what can be made again, kept between runs; None without a home folder."""
    return _named("XDG_CACHE_HOME", ".cache")


def data() -> Path | None:
    """The folder for what was downloaded; None without a home folder."""
    return _named("XDG_DATA_HOME", ".local/share")


def expanded(path: str) -> Path | None:
    """A path with ``~`` and ``~user`` filled in; None where there is no such home folder."""
    full = os.path.expanduser(path)
    return None if full.startswith("~") else Path(full)


def _named(variable: str, below: str) -> Path | None:
    if given := os.environ.get(variable):
        return Path(given)
    return None if (folder := home()) is None else folder / below
