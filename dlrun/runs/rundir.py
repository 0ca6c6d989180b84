"""The files of a run directory: their names, and how they are written and read. Needs neither JAX nor Hydra."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from dlrun.errors import InvalidConfig
from dlrun.runs import files
from dlrun.runs.atomic import jsonable, read_json, write_json
from dlrun.runs.metric_names import SPLITS

FORMAT = 1  # version of run.json and sweep.json
OUTPUTS = "outputs"  # where runs are made and looked for by default

CONFIG = ".hydra/config.yaml"
HYDRA = ".hydra/hydra.yaml"
OVERRIDES = ".hydra/overrides.yaml"
RUN = "run.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
CURVES = "curves.png"
CONFUSION = "confusion.png"
DATA = "data.json"
LOG = "log.txt"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
HISTORY = "history"
CSV = "metrics.csv"
TENSORBOARD, WANDB = "tensorboard", "wandb"
SWEEP = "sweep.json"  # this and the next are in a sweep's directory
STUDY = "study.db"

FILES = (RUN, METRICS, SUMMARY, CURVES, CONFUSION, DATA, LOG, LOCK, CSV, CONFIG, HYDRA, OVERRIDES)
FOLDERS = (".hydra", CHECKPOINTS, HISTORY, TENSORBOARD, WANDB)
MOST_ROWS = 2**29
"""Bytes of a metrics.jsonl whose rows are taken into memory, 512 MiB: about three million rows."""
NO_ROWS = f"no {METRICS}"
LONGEST_ROW = 2**20  # bytes
MOST_STEPS = 2**53  # larger whole numbers are not exact as floats


def create(directory: Path) -> bool:
    """Makes a run directory for this process alone; False if it exists and is not empty."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        return False
    try:  # if several processes see it empty, only one of them can make this file
        os.close(files.descriptor(directory / LOCK, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def check(directory: Path, names: tuple[str, ...] = FILES, folders: tuple[str, ...] = FOLDERS) -> None:
    """Raises :class:`InvalidConfig` where a name of ours is not what it should be: a link, a pipe, a folder for a file.

    So it does where a later dlrun wrote the directory. Whoever is about to write in one that may be anybody's calls
    this first.

    Args:
      names, folders: what must be regular files, and folders, if it is there.
    """
    problems = []
    for name, wanted in [*((name, "folder") for name in folders), *((name, "file") for name in names)]:
        there = files.kind(directory / name)
        if there not in (None, wanted) and files.kind((directory / name).parent) != "link":
            is_now = files.LINK if there == "link" else f"is not a {'regular file' if wanted == 'file' else wanted}"
            problems.append(f"{directory / name}: {is_now}; nothing was changed")
    for name in [name for name in (RUN, SWEEP) if name in names and not problems]:
        unknown = unknown_format(read_json(directory / name) or {})
        problems += [] if unknown is None else [f"{directory}: {unknown}"]
    if problems:
        raise InvalidConfig(problems)


def unknown_format(record: dict[str, Any]) -> str | None:
    """Says that a later dlrun wrote a run.json or sweep.json, which this one can't read; None if it can."""
    version = record.get("format", 1)
    known = isinstance(version, int) and version <= FORMAT
    return None if known else f"format {version} is not known to this dlrun, which reads up to {FORMAT}"


def remove_parts(directory: Path) -> None:
    """Removes what killed processes left of files that they were replacing; only whoever holds the lock may do so."""
    with os.scandir(directory) as entries:
        parts = [entry for entry in entries if entry.name.startswith(".") and entry.is_file(follow_symlinks=False)]
    for part in parts:
        name, _, process = part.name[1:].rpartition(".")
        if name in (*FILES, SWEEP) and (process.isdecimal() or process == "part"):
            os.unlink(part.path)


def update_run(directory: Path, **changes: Any) -> None:
    """Changes fields of run.json, keeping the others."""
    write_json(directory / RUN, {"format": FORMAT, **(read_json(directory / RUN) or {}), **changes})


def read_data(directory: Path) -> dict[str, Any]:
    """What data.json says; nothing where it is damaged.

    Runs from before there were fingerprints of data get the row counts of run.json instead.
    """
    data = read_json(directory / DATA) or {}
    if not is_record_of_data(data):
        data = {}
    if "fingerprint" not in data:
        rows = (read_json(directory / RUN) or {}).get("rows")
        data["fingerprint"] = {split: {"rows": n} for split, n in rows.items()} if isinstance(rows, dict) else {}
    return data


def is_record_of_data(data: dict[str, Any]) -> bool:
    """Whether a data.json holds what is compared with other data in the form in which it is written."""
    prints, classes, encoder = data.get("fingerprint", {}), data.get("classes"), data.get("encoder")
    columns = encoder.get("columns") if isinstance(encoder, dict) else None
    sound = isinstance(prints, dict) and all(
        isinstance(of, dict) and is_number(of.get("rows")) for of in prints.values()
    )
    sound &= classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))
    sound &= columns is None or (isinstance(columns, list) and all(isinstance(column, dict) for column in columns))
    numbers = [data[key] for key in ("input_mean", "input_std", "target_mean", "target_std") if key in data]
    return sound and all(map(_are_numbers, numbers))


def _are_numbers(value: Any) -> bool:
    """Whether a value is a number, or an array of numbers as nested lists."""
    if not isinstance(value, list):
        return is_number(value)
    lengths = {len(inner) if isinstance(inner, list) else None for inner in value}
    return len(lengths) <= 1 and all(map(_are_numbers, value))


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; see :func:`read_rows`."""
    return read_rows(directory)[0]


def read_rows(directory: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of metrics.jsonl, and why there may be fewer than were written; None if all can be read."""
    file, damaged = directory / METRICS, 0
    found: list[dict[str, Any]] = []
    try:
        for _, row in lines(file, MOST_ROWS):
            damaged += row is None
            if row is not None:
                found.append(row)
    except FileNotFoundError:
        return [], NO_ROWS
    except OSError as error:
        return [], f"{METRICS} {error.strerror or error}: its rows are not read"
    return found, f"{damaged} of {damaged + len(found)} rows of {METRICS} are damaged" if damaged else None


def rows(directory: Path) -> Iterator[dict[str, Any]]:
    """The rows of metrics.jsonl one by one, however many there are; raises OSError if it can't be read."""
    return (row for _, row in lines(directory / METRICS) if row is not None)


def lines(file: Path, most: int | None = None) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """The whole lines of a metrics.jsonl with their rows: None for a damaged one. An incomplete last line is left out.

    Args:
      most: bytes; a larger file raises :class:`~dlrun.runs.files.Refused`.
    """
    with files.reader(file) as f:
        if most is not None and os.fstat(f.fileno()).st_size > most:
            raise files.too_large(file, most)
        too_long = False
        while line := f.readline(LONGEST_ROW):
            if not line.endswith(b"\n"):  # the last one, or a piece of a line that is too long
                too_long = True
            else:
                yield line, None if too_long else parsed(line)
                too_long = False


def parsed(line: bytes) -> dict[str, Any] | None:
    """The row in a line of metrics.jsonl; None if that is damaged: a row has a split, and a step as a whole number."""
    try:
        row = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or row.get("split") not in SPLITS:
        return None
    step, odd = row.get("step"), [key for key in ("epoch", "time") if not is_number(row.get(key, 0))]
    return None if odd or not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < MOST_STEPS else row


def keep_history(directory: Path) -> Path:
    """Copies the records of a run whose data changed to a new folder below ``history``; returns that folder."""
    folder = directory / HISTORY
    folder.mkdir(exist_ok=True)
    number = 1 + max((int(p.name) for p in folder.iterdir() if p.name.isdecimal()), default=0)
    part = folder / f".{number}.{os.getpid()}"
    part.mkdir()
    for name in (RUN, DATA, METRICS, SUMMARY, CURVES, CONFUSION):
        with contextlib.suppress(FileNotFoundError), files.reader(directory / name) as source:
            files.replace(part / name, source)
    os.replace(part, folder / str(number))
    return folder / str(number)


def damaged_rows(directory: Path) -> int:
    """How many whole lines of metrics.jsonl are no rows."""
    try:
        return sum(row is None for _, row in lines(directory / METRICS))
    except OSError:
        return 0


def keep_rows(directory: Path, keep: Callable[[dict[str, Any]], bool]) -> int:
    """Keeps the rows of metrics.jsonl for which ``keep`` is true; gives how many these are.

    The others and an incomplete last line are dropped.
    """
    file, count = directory / METRICS, 0

    def kept() -> Iterator[bytes]:
        nonlocal count
        for line, row in lines(file):
            if row is not None and keep(row):
                count += 1
                yield line

    if files.kind(file) is not None:
        files.replace(file, kept())
    return count


def settle(directory: Path) -> None:
    """Waits until the rows of metrics.jsonl are on the disk, and the names of the run's files and of its directory."""
    with contextlib.suppress(FileNotFoundError):
        files.sync(directory / METRICS)
    files.sync(directory)
    for folder in directory.absolute().parents:
        with contextlib.suppress(OSError):  # a folder that may be passed through, but not read, is not the run's
            files.sync(folder)


class Metrics:
    """Appends rows to metrics.jsonl. Each is written by one call of the system, so a killed process loses none."""

    def __init__(self, directory: Path):
        self.file = files.appender(directory / METRICS)

    def write(self, row: dict[str, Any]) -> None:
        self.file.write((json.dumps(jsonable(row)) + "\n").encode())

    def close(self) -> None:
        """Waits until all rows are on the disk."""
        os.fsync(self.file.fileno())
        self.file.close()


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value can be calculated with: finite, and so far from the largest float that sums are finite too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def finite(value: Any) -> float | None:
    """A value as a float; None where it is no number, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def flat(values: Any, path: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, by dotted path; empty ones are left out."""
    if not isinstance(values, dict):
        return {path: values}
    flattened: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            flattened |= flat(value, name)
        else:
            flattened[sys.intern(name)] = value  # thousands of runs have the same keys
    return flattened


def size(path: str | os.PathLike[str]) -> int:
    """Bytes of a file, or of all files in a folder, less those that vanish meanwhile. Links are not followed."""
    if os.path.islink(path) or not os.path.isdir(path):
        files = [os.fspath(path)]
    else:
        files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += os.lstat(file).st_size
    return total
