"""The files of a run directory: their names, and how they are written and read. Needs neither JAX nor Hydra."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dlrun.runs.atomic import jsonable, read_json, write, write_json

FORMAT = 1  # version of run.json
OUTPUTS = "outputs"  # where runs are made and looked for by default

CONFIG = ".hydra/config.yaml"
HYDRA = ".hydra/hydra.yaml"
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
SWEEP = "sweep.json"  # this and the next are in a sweep's directory
STUDY = "study.db"


def create(directory: Path) -> bool:
    """Makes a run directory for this process alone; False if it exists and is not empty."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        return False
    try:  # if several processes see it empty, only one of them can make this file
        os.close(os.open(directory / LOCK, os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def update_run(directory: Path, **changes: Any) -> None:
    """Changes fields of run.json, keeping the others."""
    write_json(directory / RUN, {"format": FORMAT, **(read_json(directory / RUN) or {}), **changes})


def read_data(directory: Path) -> dict[str, Any]:
    """What data.json says. Runs from before there were fingerprints of data get the row counts of run.json instead."""
    data = read_json(directory / DATA) or {}
    if not isinstance(data.get("fingerprint"), dict):
        rows = (read_json(directory / RUN) or {}).get("rows") or {}
        data["fingerprint"] = {split: {"rows": n} for split, n in rows.items()}
    return data


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without a last line that is incomplete."""
    return list(_rows(directory / METRICS))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    yield from parsed(text)


def parsed(text: str) -> Iterator[dict[str, Any]]:
    """The rows in a piece of metrics.jsonl; what follows the last newline is incomplete, and left out."""
    for line in text.split("\n")[:-1]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def keep_history(directory: Path) -> Path:
    """Copies the records of a run whose data changed to a new folder below ``history``; returns that folder."""
    folder = directory / HISTORY
    folder.mkdir(exist_ok=True)
    number = 1 + max((int(p.name) for p in folder.iterdir() if p.name.isdecimal()), default=0)
    part = folder / f".{number}.{os.getpid()}"
    part.mkdir()
    for name in (RUN, DATA, METRICS, SUMMARY, CURVES, CONFUSION):
        if (directory / name).exists():
            shutil.copy2(directory / name, part / name)
    os.replace(part, folder / str(number))
    return folder / str(number)


def keep_rows(directory: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keeps the rows of metrics.jsonl for which ``keep`` is true, and drops the others and an incomplete last line."""
    file = directory / METRICS
    if file.exists():
        write(file, "".join(json.dumps(row) + "\n" for row in _rows(file) if keep(row)))


class Metrics:
    """Appends rows to metrics.jsonl. Each is written by one call of the system, so a killed process loses none."""

    def __init__(self, directory: Path):
        self.file = (directory / METRICS).open("ab", buffering=0)

    def write(self, row: dict[str, Any]) -> None:
        self.file.write((json.dumps(jsonable(row)) + "\n").encode())

    def close(self) -> None:
        self.file.close()


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
