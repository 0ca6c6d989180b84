"""Keeps what was read from run directories in the user's cache folder, so that a second look reads only what changed.

The cache is a SQLite file with one row per run. With 10,000 runs of 3 kB each it is read as quickly as one JSON file of
all runs would be; but a look at 20 runs reads only 20, and two processes may write at once. No answer can be wrong
because of the file: a row is used only if its checksum matches and the files of its run still have the same sizes and
times. A broken file is removed; one that can't be opened or written is left alone.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dlrun.system import user_folders

T = TypeVar("T")
VERSION = 1  # of the format; each version has its own file, so two versions of dlrun can be used in turn
WAIT = 1.0  # seconds for another process that writes
COLUMNS = "path BLOB PRIMARY KEY, stamp TEXT, record TEXT, rows_stamp TEXT, answers TEXT"


class Kept(NamedTuple):
    """What the cache holds of a run.

    Args:
      stamp, rows_stamp: sizes and times of the files that ``record`` and ``answers`` were read from.
      record: JSON of what run.json and summary.json say.
      answers: JSON of what was computed from metrics.jsonl.
    """

    stamp: str
    record: str
    rows_stamp: str = ""
    answers: str = "{}"


def file() -> Path | None:
    """The database; None where the user has no folder for it."""
    return None if (folder := user_folders.cache()) is None else folder / "dlrun" / f"compare-{VERSION}.sqlite"


def read(folders: Iterable[str]) -> dict[str, Kept]:
    """What is cached of the runs at or below some folders (absolute paths), by path."""

    def rows(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
        fetched = []
        for folder in folders:
            lower = os.fsencode(folder.rstrip("/"))  # what begins with lower + "/" comes before lower + "0"
            query = "SELECT * FROM runs WHERE path = ? OR (path > ? AND path < ?)"
            fetched += database.execute(query, (lower, lower + b"/", lower + b"0"))
        return fetched

    found: dict[str, Kept] = {}
    for path, stamp, record, rows_stamp, answers in _with(rows) or []:
        if (known := _unsealed(path, stamp, record)) is not None:
            more = _unsealed(path, rows_stamp, answers)
            found[os.fsdecode(path)] = Kept(stamp, known, *(() if more is None else (rows_stamp, more)))
    return found


def write(new: dict[str, Kept], gone: Iterable[str] = ()) -> None:
    """Adds or replaces runs by path, and forgets those that are ``gone``."""
    rows = []
    for name, kept in new.items():
        path = os.fsencode(name)
        record = _sealed(path, kept.stamp, kept.record)
        rows.append((path, kept.stamp, record, kept.rows_stamp, _sealed(path, kept.rows_stamp, kept.answers)))
    lost = [(os.fsencode(name),) for name in gone]

    def change(database: sqlite3.Connection) -> None:
        database.executemany("DELETE FROM runs WHERE path = ?", lost)
        database.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)", rows)
        database.commit()

    if rows or lost:
        _with(change)


def _with(work: Callable[[sqlite3.Connection], T]) -> T | None:
    """Calls ``work`` with the open database and returns its result; None if the database can't be used."""
    if (path := file()) is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT)) as database:
            database.execute("PRAGMA synchronous = OFF")  # a power cut may lose rows: those runs are read again
            database.execute(f"CREATE TABLE IF NOT EXISTS runs ({COLUMNS})")
            return work(database)
    except OSError:
        return None
    except (sqlite3.Error, ValueError) as error:  # ValueError: a damaged schema may hold names that are no text
        # Locked, read-only, a full disk: left alone. Not a database, damaged, of another shape: made anew next time.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if not isinstance(error, sqlite3.OperationalError) or code == sqlite3.SQLITE_ERROR:
            with suppress(OSError):
                path.unlink()
        return None


def _sealed(path: bytes, stamp: str, text: str) -> str:
    """The text behind its checksum."""
    return f"{_checksum(path, stamp, text):08x}{text}"


def _unsealed(path: Any, stamp: Any, sealed: Any) -> str | None:
    """The text without its checksum; None if the checksum does not match."""
    try:
        return text if int(sealed[:8], 16) == _checksum(path, stamp, text := sealed[8:]) else None
    except (TypeError, ValueError, AttributeError):
        return None


def _checksum(path: bytes, stamp: str, text: str) -> int:
    return zlib.crc32(text.encode(), zlib.crc32(stamp.encode(), zlib.crc32(path)))
