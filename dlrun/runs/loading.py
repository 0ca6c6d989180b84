"""Finds run directories at any depth and reads them, whatever state they are in: ``load(["outputs"])``.

Whatever lies in a folder, the other folders are still read. A damaged run is left out with a reason; a folder that has
no run.json is only searched for runs below it.
"""

import gc
import json
import math
import os
import shlex
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlrun.errors import InvalidConfig, nearest
from dlrun.runs import atomic, cache, files, rundir
from dlrun.runs.run import Run, stamp
from dlrun.runs.runs import Runs

DATA = "data.digest"  # the fact that holds what run.json calls ``data``
NOT_FACTS = ("format", "config", "classes", "command", "resumed")  # fields of run.json
RECENT = 1_000_000_000  # ns: a file younger than that may still change without its size or time changing


def load(paths: Iterable[str | os.PathLike[str]] = (rundir.OUTPUTS,)) -> Runs:
    """The runs at and below some folders.

    Args:
      paths: run directories, sweeps, or folders of them. Links are followed; a run that is found twice counts once, and
        folders whose names begin with a dot are not searched.

    Raises:
      InvalidConfig: if a path is not a folder.
    """
    roots = [os.fspath(path) for path in paths]
    wrong = [f"{r}: {'not a folder' if os.path.exists(r) else 'no such folder'}" for r in roots if not os.path.isdir(r)]
    if wrong:
        raise InvalidConfig(wrong)
    with garbage_collector_off():
        return _load(roots)


def _load(roots: list[str]) -> Runs:
    skipped: dict[str, str] = {}
    stamps = {path: _stamp(path) for path in find(roots, skipped)}
    absolute = {path: os.path.abspath(path) for path in stamps}
    kept = cache.read(os.path.abspath(root) for root in roots)
    known = {path: k for path in stamps if (k := kept.get(absolute[path])) and k.stamp == stamps[path]}
    # Parsed as one text, so that Python makes each key once for all runs.
    records = dict(zip(known, json.loads(f"[{','.join(k.record for k in known.values())}]"), strict=True))
    old = time.time_ns() - RECENT
    for path in [path for path in stamps if path not in records]:
        record = read(path)
        if isinstance(record, str):
            skipped[path] = record
        else:
            records[path] = record
    # Those whose files are old enough for their stamps to show any later change.
    lasting = {path for path in records if path in known or _changed(stamps[path]) < old}
    new = {absolute[p]: cache.Kept(stamps[p], json.dumps(records[p])) for p in lasting - known.keys()}
    cache.write(new, gone=kept.keys() - set(absolute.values()))

    def keep(run: Run) -> cache.Kept | None:
        path = run.path
        return cache.Kept(stamps[path], json.dumps(records[path]), *run.kept) if path in lasting else None

    loaded = [Run(p, records[p], known[p][2:] if p in known else ("", "{}")) for p in stamps if p in records]
    return Runs(loaded, skipped, keep)


def load_one(path: str, *, damaged: bool = False) -> Run:
    """The run in a directory that a command names.

    Args:
      damaged: whether to accept a directory whose run.json can't be read. Its run has the status ``damaged``, the
        configuration as Hydra wrote it, and its rows.

    Raises:
      InvalidConfig: if there is no run; the message says what is there instead.
    """
    if not os.path.isdir(path):
        raise InvalidConfig([f"{path}: {_missing(path)}"])
    record = read(path)
    if isinstance(record, dict):
        return Run(path, record)
    if not os.path.lexists(os.path.join(path, rundir.RUN)) and not os.path.lexists(os.path.join(path, rundir.METRICS)):
        raise InvalidConfig([f"{path}: {_runs_inside(path)}"])
    file = os.path.join(path, rundir.RUN)
    # Sound JSON, but of something else, or of a newer dlrun.
    foreign = stamp(file) != "-" and atomic.read_json(Path(file)) is not None
    readable = any(stamp(os.path.join(path, name)) != "-" for name in (rundir.METRICS, rundir.CONFIG))
    if not damaged or foreign or not readable:
        raise InvalidConfig([f"{path}: {record}"])
    facts = {"status": "damaged", "command": ""}
    return Run(path, {"run": facts, "config": configuration(path, {}), "summary": {}, "damage": record})


def find(roots: Iterable[str], skipped: dict[str, str]) -> Iterator[str]:
    """Yields the folders with a run.json at and below ``roots``; puts into ``skipped`` why others can't be read."""
    seen: set[tuple[int, int]] = set()
    waiting = [root if root == "/" else root.rstrip("/") for root in reversed(list(roots))]
    links: list[str] = []  # looked into last, so that a run below a root is named by its own path
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        try:
            itself = os.stat(folder)
            if (itself.st_dev, itself.st_ino) in seen:
                continue
            seen.add((itself.st_dev, itself.st_ino))
            try:
                mode = os.lstat(f"{folder}/{rundir.RUN}").st_mode
            except (FileNotFoundError, NotADirectoryError):
                with os.scandir(folder) as entries:
                    below = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: natural(e.name))
                waiting += [_join(folder, e.name) for e in reversed(below) if e.is_dir(follow_symlinks=False)]
                if any(e.name == rundir.METRICS for e in below):
                    skipped[folder] = f"no {rundir.RUN}, though there is a {rundir.METRICS}"
                links += [link for e in below if e.is_symlink() and os.path.isdir(link := _join(folder, e.name))]
                continue
            if stat.S_ISREG(mode):
                yield folder
            else:
                skipped[folder] = f"{rundir.RUN} {files.LINK if stat.S_ISLNK(mode) else files.ODD}"
        except FileNotFoundError:
            continue  # deleted meanwhile
        except OSError as error:
            skipped[folder] = (error.strerror or str(error)).lower()


def read(path: str) -> dict[str, Any] | str:
    """What a run's run.json and summary.json say, as plain JSON; or the reason why they can't be read, as text.

    The keys are ``run``, ``config`` and ``summary``, each with dotted keys, and perhaps ``damage``: what is missing.
    """
    try:
        run = atomic.parsed(files.read(f"{path}/{rundir.RUN}"))
    except FileNotFoundError:
        return "deleted while it was read"
    except files.Refused as error:
        return f"{rundir.RUN} {error.strerror}"
    except OSError as error:
        return f"{rundir.RUN}: {(error.strerror or str(error)).lower()}"
    except ValueError:
        return f"{rundir.RUN} is not valid JSON"
    if not isinstance(run, dict) or not isinstance(run.get("status"), str):
        return f"{rundir.RUN} is not that of a run"
    if (unknown := rundir.unknown_format(run)) is not None:
        return unknown
    facts = rundir.flat({key: value for key, value in run.items() if key not in NOT_FACTS})
    command = run.get("command")
    if "data" in facts:  # in a column's name ``data`` stands for ``data.name``
        facts[DATA] = facts.pop("data")
    facts["command"] = shlex.join(map(str, command)) if isinstance(command, list) else ""
    record: dict[str, Any] = {"run": facts, "config": configuration(path, run), "summary": {}}
    if run["status"] == "completed":  # else the summary is from before the run was resumed
        try:
            summary = atomic.parsed(files.read(f"{path}/{rundir.SUMMARY}"))
            record["summary"] = {k: v for k, v in summary.items() if not isinstance(v, dict | list)}
        except FileNotFoundError:
            record["damage"] = f"no {rundir.SUMMARY}"
        except (OSError, ValueError, AttributeError):
            record["damage"] = f"{rundir.SUMMARY} is damaged"
    return record


def configuration(path: str, run: dict[str, Any]) -> dict[str, Any]:
    """The configuration by dotted key: from run.json, or if that has none, from the file that Hydra wrote."""
    config = run.get("config")
    if "config" not in run:
        try:
            config = files.from_yaml(files.read(f"{path}/{rundir.CONFIG}", below=Path(path), most=files.YAML_BYTES))
            config = json.loads(json.dumps(config))  # fails for YAML's dates, which no configuration has
        except (OSError, ValueError, TypeError, RecursionError):
            config = None
    return rundir.flat(config) if isinstance(config, dict) else {}


def _missing(path: str) -> str:
    if os.path.lexists(path):
        return "not a folder"
    folder, name = os.path.split(path.rstrip("/"))
    try:
        near = nearest(name, os.listdir(folder or "."))
    except OSError:
        near = ""
    return f"no such folder{near}"


def _runs_inside(path: str) -> str:
    """Says why a folder is no run, and which runs are in it."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if os.path.isfile(os.path.join(e.path, rundir.RUN))]
    except OSError as error:
        return (error.strerror or str(error)).lower()
    sweep = os.path.lexists(os.path.join(path, rundir.SWEEP))
    if not names:
        none = f"not a run directory: it has no {rundir.RUN}"
        return "a sweep that has no run yet" if sweep else f"{none}; dlrun ls lists the runs below a folder"
    first, last = (os.path.join(path, which(names, key=natural)) for which in (min, max))
    what = "a sweep" if sweep else "a folder of runs"
    those = f"its run, {first}" if len(names) == 1 else f"one of its {len(names)} runs, {first} ... {last}"
    return f"{what}; name {those}"


def _stamp(path: str) -> str:
    return f"{stamp(f'{path}/{rundir.RUN}')} {stamp(f'{path}/{rundir.SUMMARY}')}"


def _changed(stamps: str) -> float:
    """When the newer of the two files was written, in ns; infinity if run.json is gone."""
    first, *more = [int(s.split(":")[1]) if s != "-" else None for s in stamps.split()]
    return math.inf if first is None else max([first, *(m for m in more if m is not None)])


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder != "." else name


def natural(name: str) -> tuple[int, str]:
    """A key to sort by, which puts the numbered runs of a sweep in the order of their numbers."""
    return (int(name), "") if name.isdecimal() and len(name) < 10 else (1 << 40, name)


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Switches the garbage collector off meanwhile: a million new objects hold no cycles, and the search takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
