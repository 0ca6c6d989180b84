"""One run that a command names by its directory, and what came out of it so far."""

import os
from pathlib import Path
from typing import Any, TypeGuard

from dlrun.errors import InvalidConfig, nearest
from dlrun.runs import atomic, loading, rundir
from dlrun.runs.run import Run, stamp

SWEEP = "sweep.json"


def single(path: str, *, damaged: bool = False) -> Run:
    """The run of a directory.

    Args:
      damaged: whether a directory whose run.json can't be read will do: it has the status ``damaged``, the
        configuration as Hydra wrote it, and its rows.

    Raises:
      InvalidConfig: when there is none; the line says what is there instead.
    """
    if not os.path.isdir(path):
        raise InvalidConfig([f"{path}: {_missing(path)}"])
    record = loading.read(path)
    if isinstance(record, dict):
        return Run(path, record)
    if not os.path.lexists(os.path.join(path, rundir.RUN)):
        raise InvalidConfig([f"{path}: {_runs(path)}"])
    file = os.path.join(path, rundir.RUN)
    foreign = stamp(file) != "-" and atomic.read_json(Path(file)) is not None  # sound, but no run that we can read
    left = any(stamp(os.path.join(path, name)) != "-" for name in (rundir.METRICS, rundir.CONFIG))
    if not damaged or foreign or not left:
        raise InvalidConfig([f"{path}: {record}"])
    facts = {"status": "damaged", "command": ""}
    return Run(path, {"run": facts, "config": loading.configuration(path, {}), "summary": {}, "damage": record})


def results(run: Run) -> dict[str, Any]:
    """How far a run came and its metrics, by flat keys as in summary.json; of one that has none, by its rows so far."""
    if run.summary:
        return {k: v for k, v in run.summary.items() if "/" in k or k in ("step", "epoch")}
    rows = [row for row in run.rows if isinstance(row.get("step"), int)]
    if not rows:
        return {}
    last = max(rows, key=lambda row: row["step"])
    found = {"step": last["step"], "epoch": last.get("epoch")}
    found |= {name: run.metric(name, "last") for name in run.metrics}
    best = {f"best/{name}": run.metric(name) for name in run.metrics if name.startswith("val/")}
    value = run.metric(run.main[0])
    reached = None if value is None else run.time_to(run.main[0], value)
    return found | ({"best/step": reached[0]} if reached else {}) | best


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of a file is a number that can be reckoned with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _missing(path: str) -> str:
    if os.path.lexists(path):
        return "not a folder"
    folder, name = os.path.split(path.rstrip("/"))
    try:
        near = nearest(name, os.listdir(folder or "."))
    except OSError:
        near = ""
    return f"no such folder{near}"


def _runs(path: str) -> str:
    """Why a folder is no run, and which runs are in it."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if os.path.isfile(os.path.join(e.path, rundir.RUN))]
    except OSError as error:
        return (error.strerror or str(error)).lower()
    sweep = os.path.lexists(os.path.join(path, SWEEP))
    if not names:
        none = f"no run directory: it has no {rundir.RUN}"
        return "a sweep that has no run yet" if sweep else f"{none}; dlrun ls lists the runs below a folder"
    first, last = (os.path.join(path, which(names, key=loading.natural)) for which in (min, max))
    what = "a sweep" if sweep else "a folder of runs"
    those = f"its run, {first}" if len(names) == 1 else f"one of its {len(names)} runs, {first} ... {last}"
    return f"{what}; name {those}"
