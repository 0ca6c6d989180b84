"""Everything that ``dlrun show-run`` shows of a run, as plain values: what its files say, and which files it has."""

import os
import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from dlrun.runs import atomic, manifest, rundir
from dlrun.runs import files as opener
from dlrun.runs.loading import natural
from dlrun.runs.run import Run, stamp
from dlrun.runs.status import WENT_WRONG

LOG_LINES, LOG_BYTES = 12, 1 << 14


def facts(run: Run) -> dict[str, Any]:
    """What run.json and summary.json say of a run, and what lies beside them, as plain values."""
    metrics, resumed = run.results(), _resumed(run)
    if not run.lost:
        run.rows  # noqa: B018  # so that it is known which can't be read
    words = [*_command(run), *(word for one in resumed for word in one["overrides"])]
    return {
        "directory": run.path,
        "status": run.status,
        "damage": "; ".join(filter(None, [run.damage, run.lost])) or None,
        "resumed": resumed,
        **{key: value for key, value in run.facts.items() if key != "status"},
        "last_row": _written(run),
        "log": _log(run) if run.status in WENT_WRONG else [],
        "config": run.config,
        "chosen": chosen(words, run.config),
        "metric": run.main[0],
        "mode": run.main[1],
        "metrics": metrics,
        "checkpoints": checkpoints(run, metrics.get("best/step")),
        "files": files(run),
    }


def chosen(words: Iterable[str], config: dict[str, Any]) -> list[str]:
    """The keys of a configuration that overrides such as ``act=gelu`` and ``optim.lr=0.01`` name."""
    keys = [word.partition("=")[0].lstrip("+~") for word in words if "=" in word]
    full = [key if key in config else f"{key}.name" for key in keys]
    return list(dict.fromkeys(key for key in full if key in config))


def checkpoints(run: Run, best: Any) -> list[dict[str, Any]]:
    """The saved states, by step; ``whole`` says whether a state was completely written."""
    folder = run.directory / rundir.CHECKPOINTS
    states = []
    for step in manifest.steps(folder):
        state = folder / str(step)
        whole = stamp(str(state / manifest.MANIFEST)) != "-"
        states.append({"step": step, "bytes": rundir.size(state), "best": step == best, "whole": whole})
    return states


def files(run: Run) -> dict[str, int]:
    """Bytes of each file and folder in a run's directory; names of folders end with a slash."""
    try:
        with os.scandir(run.path) as entries:
            names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:
        return {}
    ordered = sorted(names, key=lambda name: (names[name], natural(name)))
    return {f"{n}{'/' * names[n]}": rundir.size(os.path.join(run.path, n)) for n in ordered if n != rundir.LOCK}


def _command(run: Run) -> list[str]:
    return shlex.split(run.facts["command"])


def _resumed(run: Run) -> list[dict[str, Any]]:
    """When a run was resumed, with which overrides, and what had changed in its data."""
    file = run.directory / rundir.RUN
    record = atomic.read_json(file) or {}
    listed = record.get("resumed")
    sound = [r for r in listed if isinstance(r, dict)] if isinstance(listed, list) else []
    lists = [(r.get("time"), words if isinstance(words := r.get("overrides"), list) else []) for r in sound]
    data = [{"data": r["data"]} if isinstance(r.get("data"), dict) else {} for r in sound]
    told = [{"time": time, "overrides": [str(word) for word in words]} for time, words in lists]
    return [one | more for one, more in zip(told, data, strict=True)]


def _written(run: Run) -> str | None:
    """When a run's last row was written, in ISO format with the local offset."""
    try:
        when = (run.directory / rundir.METRICS).lstat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(when).astimezone().isoformat(timespec="seconds")


def _log(run: Run) -> list[str]:
    """The last lines of log.txt."""
    try:
        return opener.end(run.directory / rundir.LOG, LOG_BYTES).decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return []
