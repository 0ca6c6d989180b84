"""One run, read from its directory: what made it, and its results.

run.json and summary.json answer most questions about a completed run. For all others the rows of metrics.jsonl are
read, and the answers, not the rows, are kept in the cache.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from dlrun.runs import rundir, status
from dlrun.runs.metric_names import ROW_KEYS, better
from dlrun.runs.rundir import finite

LOST = "lost"
"""The question to which :attr:`Run.lost` is the answer."""
At = Literal["best", "last", "min", "max"] | int
"""Which value of a metric: that of the best state, the last, the smallest, the largest, or that at a step."""


def usual(metric: str) -> At:
    """Which value of a metric counts unless somebody says: of training the last, else that of the best state.

    Rows of training are means since the row before: none of them is of the best state.
    """
    return "last" if metric.startswith("train/") else "best"


def stamp(file: str) -> str:
    """Size and time of a file as text, to see later whether it changed; ``-`` if there is no regular file.

    A link is none: see :mod:`dlrun.runs.files`.
    """
    try:
        info = os.lstat(file)
    except OSError:
        return "-"
    return f"{info.st_size}:{info.st_mtime_ns}" if stat.S_ISREG(info.st_mode) else "-"


class Run:
    """A run: what its files say, and its metrics at any point.

    Args:
      path: its directory, as it was named or found.
      record: what :func:`dlrun.runs.loading.read` returns.
      known: what the cache holds: the stamp of metrics.jsonl, and answers computed from its rows, as JSON.

    Attributes:
      facts: what run.json says, by dotted key: ``seed``, ``start``, ``end``, ``seconds``, ``git.commit`` …
      config: the configuration, by dotted key.
      summary: the metrics and other numbers of summary.json; empty for a run that did not complete.
      damage: which of its files can't be read; None if all can.
      status: a word of :mod:`dlrun.runs.status`.
      changed: whether it has answers that the cache does not hold yet.
    """

    __slots__ = ("_answers", "_known", "_lost", "changed", "config", "damage", "facts", "path", "status", "summary")

    def __init__(self, path: str, record: dict[str, Any], known: tuple[str, str] = ("", "{}")):
        self.path, self._known = path, known
        self.facts, self.config, self.summary = record["run"], record["config"], record["summary"]
        self.damage: str | None = record.get("damage")
        self.status = status.now(self.facts["status"], Path(path))
        self._answers: dict[str, Any] | None = None
        self._lost: str | None = None
        self.changed = False

    def __repr__(self) -> str:
        return f"Run({self.path!r}, {self.status})"

    @property
    def directory(self) -> Path:
        return Path(self.path)

    @property
    def seed(self) -> int | None:
        return self.config.get("seed", self.facts.get("seed"))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, read from the file each time."""
        found, self._lost = rundir.read_rows(self.directory)
        return found

    @property
    def lost(self) -> str | None:
        """Which rows can't be read, as far as rows were read; None if all can. Before its end it may have none."""
        known = self._lost or (self._answers or {}).get(LOST)
        return None if known == rundir.NO_ROWS and self.status != "completed" else known

    @property
    def main(self) -> tuple[str, Literal["min", "max"]]:
        """The metric that chose the best state, and whether its best value is the ``min`` or the ``max``."""
        return self.main_among(lambda: self._digest["last"])

    def main_among(self, metrics: Callable[[], Iterable[str]]) -> tuple[str, Literal["min", "max"]]:
        """As :attr:`main`; ``metrics`` is called for the names of the run's metrics only if these are needed."""
        name = self.summary.get("metric") or self.config.get("checkpoint.metric")
        if not isinstance(name, str):
            name = "val/accuracy" if "val/accuracy" in metrics() else "val/loss"
        mode = self.summary.get("mode") or self.config.get("checkpoint.mode")
        return name, mode if mode in ("min", "max") else better(name)

    @property
    def metrics(self) -> Iterable[str]:
        """Names of its metrics, such as ``val/accuracy``."""
        if self.summary:
            return [k for k in self.summary if k.startswith(("train/", "val/", "test/"))]
        return self._digest["last"]

    def metric(self, name: str, at: At | None = None) -> float | None:
        """A metric's value; None if there is none, or it is not finite.

        Args:
          name: with its split, such as ``val/accuracy``.
          at: ``best``: at the state that validation chose (without a summary: by the rows so far); ``last``: in the
            last row; ``min``, ``max``: over all rows; a step: the latest value up to that step, if the run got there.
            The test split is evaluated only once, so for it all but a step mean the same. By default as :func:`usual`.
        """
        at = usual(name) if at is None else at
        if self.summary and name not in self.summary:  # a summary has the metrics of each split's last row
            return None
        if isinstance(at, int):
            return self._at(name, at)
        if at == "last" or name.startswith("test/"):
            return finite(self.summary[name]) if self.summary else self._digest["last"].get(name)
        if at in ("min", "max"):
            return self._digest[at].get(name)
        if f"best/{name}" in self.summary:
            return finite(self.summary[f"best/{name}"])
        if not self.summary:
            return self._digest["best"].get(name)
        step = self.summary.get("best/step")
        return self._at(name, step) if isinstance(step, int) else None

    def time_to(self, metric: str, target: float) -> tuple[int, float] | None:
        """Steps and seconds of training until a metric was first as good as ``target``; None if it never was."""
        if self.summary and metric not in self.summary:
            return None
        mode = self.main[1] if self.main[0] == metric else better(metric)
        answer = self._answer(f"{metric} {mode} {target!r}", lambda rows: _reached(rows, metric, mode, target))
        return tuple(answer) if answer else None

    def series(self, metric: str) -> list[tuple[int, float, float]]:
        """Step, seconds of training and value of each row that has the metric."""
        return list(_series(self.rows, metric))

    def results(self) -> dict[str, Any]:
        """How far the run came, and its metrics, by flat keys as in summary.json; without a summary, by its rows."""
        if self.summary:
            return {k: v for k, v in self.summary.items() if "/" in k or k in ("step", "epoch")}
        rows = [row for row in self.rows if isinstance(row.get("step"), int)]
        if not rows:
            return {}
        last = max(rows, key=lambda row: row["step"])
        values = {"step": last["step"], "epoch": last.get("epoch")}
        values |= {name: self.metric(name, "last") for name in self.metrics}
        best = {f"best/{name}": self.metric(name) for name in self.metrics if name.startswith("val/")}
        value = self.metric(self.main[0])
        reached = None if value is None else self.time_to(self.main[0], value)
        return values | ({"best/step": reached[0]} if reached else {}) | best

    def value(self, name: str) -> Any:
        """The value of a column: of the configuration, of run.json, or a metric (:func:`usual`); None without one."""
        if name in self.config:
            return self.config[name]
        if name == "status":
            return self.status
        if name == "directory":
            return self.path
        return self.facts[name] if name in self.facts else self.metric(name) if "/" in name else None

    @property
    def kept(self) -> tuple[str, str]:
        """For the cache: the stamp of metrics.jsonl, and what was computed from its rows, as JSON."""
        return self._known[0], json.dumps(self._answers)

    @property
    def _digest(self) -> dict[str, Any]:
        """``min``, ``max`` and ``last`` of each metric over all rows, ``best`` at the best step of the main metric."""
        return self._answer("digest", self._digested)

    def _at(self, name: str, step: int) -> float | None:
        return self._answer(f"{name} {step}", lambda rows: _latest(rows, name, step))

    def _answer(self, question: str, find: Callable[[list[dict[str, Any]]], Any]) -> Any:
        """What ``find`` makes of the rows: the cached answer to the question if metrics.jsonl is still the same."""
        if self._answers is None:
            now = stamp(os.path.join(self.path, rundir.METRICS))
            self._answers = _object(self._known[1]) if self._known[0] == now else {}
            self._known = now, ""
        if question not in self._answers:
            self._answers[question] = find(self.rows)
            self._answers[LOST] = self._lost
            self.changed = True
        return self._answers[question]

    def _digested(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Computes :attr:`_digest`."""
        values: dict[str, list[float]] = {}
        steps: dict[str, list[Any]] = {}
        names: dict[tuple[Any, str], str] = {}
        for row in rows:  # there may be a million rows where many runs are compared
            split, step = row.get("split"), row.get("step")
            for key, value in row.items() if isinstance(split, str) else ():
                if (type(value) is float and value - value == 0) or (value := finite(value)) is not None:
                    if (name := names.get((split, key))) is None:
                        name = names[split, key] = f"{split}/{key}"
                        values[name], steps[name] = [], []
                    values[name].append(value)
                    steps[name].append(step)
        values = {name: found for name, found in values.items() if name.partition("/")[2] not in ROW_KEYS}
        metric, mode = self.main_among(lambda: values)
        best: dict[str, float] = {}
        no_result = {row["step"] for row in rows if "nonfinite" in row and isinstance(row.get("step"), int)}
        at = zip(values.get(metric, ()), steps.get(metric, ()), strict=True)
        if results := [(v, s) for v, s in at if not isinstance(s, int) or s not in no_result]:
            extreme = (min if mode == "min" else max)(value for value, _ in results)
            step = next(s for value, s in results if value == extreme)
            for name, found in values.items():
                known = [v for s, v in zip(steps[name], found, strict=True) if _not_after(s, step)]
                best |= {name: known[-1]} if known else {}
        extremes = {how.__name__: {name: how(found) for name, found in values.items()} for how in (min, max)}
        return {**extremes, "last": {name: found[-1] for name, found in values.items()}, "best": best}


def _series(rows: list[dict[str, Any]], metric: str) -> Iterator[tuple[int, float, float]]:
    split, _, key = metric.partition("/")
    for row in rows:
        value, step = finite(row.get(key)), row.get("step")
        if row.get("split") == split and value is not None and isinstance(step, int) and abs(step) < rundir.MOST_STEPS:
            yield step, finite(row.get("time")) or 0.0, value


def _not_after(step: Any, end: Any) -> bool:
    return isinstance(step, int) and isinstance(end, int) and step <= end


def _latest(rows: list[dict[str, Any]], metric: str, step: int) -> float | None:
    if not any(isinstance(s := row.get("step"), int) and s >= step for row in rows):
        return None
    return next((value for at, _, value in reversed(list(_series(rows, metric))) if at <= step), None)


def _reached(rows: list[dict[str, Any]], metric: str, mode: str, target: float) -> tuple[int, float] | None:
    good = (target).__ge__ if mode == "min" else (target).__le__
    return next(((step, seconds) for step, seconds, value in _series(rows, metric) if good(value)), None)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
