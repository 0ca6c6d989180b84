"""Runs as they are compared: what made each, what came out, in what they differ.

A run that completed is known from run.json and summary.json. Its rows are read when something else is asked for, and
the answers, not the rows, are kept.
"""

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from dlrun import rundir
from dlrun.compare import cache, where
from dlrun.schema import InvalidConfig, nearest, show

T = TypeVar("T")
At = Literal["best", "last", "min", "max"] | int
"""Which of a metric's values: of the best state, the last, the smallest, the largest, or that at a step."""

SMALLER_IS_BETTER = ("loss", "rmse", "mae", "perplexity", "bits_per_character", "error", "time", "seconds")
SEEDS = ("seed", ".seed")
"""How keys end that tell which of many random runs one is."""
MOST_STEPS = 2**53  # which floats tell apart
SPLITS = ("val", "test", "train")
NOT_A_METRIC = ("step", "epoch", "split", "time")
HOW_IT_RAN = (
    "log.", "compile_cache", "devices", "distributed.", "stream.", "eval.batch_size", "checkpoint.every",
    "checkpoint.keep", "data.folder", "data.download",
)  # fmt: skip
"""Keys, and sections with a dot, that say how a run is made and don't change its results but for rounding."""


NOT_RECORDED = "not recorded"


def how_it_ran(key: str) -> bool:
    """Whether a key of the configuration only says how a run is made."""
    return key in HOW_IT_RAN or key.startswith(tuple(k for k in HOW_IT_RAN if k.endswith(".")))


def better(metric: str) -> Literal["min", "max"]:
    """Whether a metric is better when smaller or larger, by its name."""
    return "min" if metric.endswith(SMALLER_IS_BETTER) else "max"


def stamp(file: str) -> str:
    """Size and time of a file as text, which differ when its content does; ``-`` where there is no regular file."""
    try:
        found = os.stat(file)
    except OSError:
        return "-"
    return f"{found.st_size}:{found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else "-"


class Run:
    """A run.

    Args:
      path: its directory, as it was found.
      facts: of run.json, flat: ``seed``, ``start``, ``end``, ``seconds``, ``steps_per_second``, ``git.commit`` …
      config: the configuration, flat: value by dotted key.
      summary: the metrics and numbers of summary.json; empty for a run that did not complete.
      damage: what could not be read of it, else None.
    """

    __slots__ = ("_answers", "_known", "changed", "config", "damage", "facts", "path", "status", "summary")

    def __init__(self, path: str, record: dict[str, Any], known: tuple[str, str] = ("", "{}")):
        self.path, self._known = path, known
        self.facts, self.config, self.summary = record["run"], record["config"], record["summary"]
        self.damage: str | None = record.get("damage")
        self.status: str = self.facts["status"]
        # The one thing that no file tells: the process may be gone.
        if self.status == "running" and not rundir.in_use(Path(path)):
            self.status = "killed"
        self._answers: dict[str, Any] | None = None
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
        """The rows of metrics.jsonl, read anew."""
        file = self.directory / rundir.METRICS
        return rundir.read_metrics(self.directory) if stamp(str(file)) != "-" else []

    @property
    def main(self) -> tuple[str, Literal["min", "max"]]:
        """The metric that chose the best state, and whether it should be ``min`` or ``max``."""
        return self.main_among(lambda: self._digest["last"])

    def main_among(self, metrics: Callable[[], Iterable[str]]) -> tuple[str, Literal["min", "max"]]:
        """The same, where the names of its metrics are known."""
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

    def metric(self, name: str, at: At = "best") -> float | None:
        """A metric's value, or None where there is none that is finite.

        Args:
          name: with its split, such as ``val/accuracy``.
          at: ``best``: of the state that validation chose (of a run without summary: by its rows so far); ``last``;
            ``min``, ``max``: over all rows; a step: the latest by then, of a run that got there. The test split is
            evaluated once, so that all but a step mean the same.
        """
        if self.summary and name not in self.summary:  # it has the last row of each split
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
        """Steps and seconds of training to the first value as good as ``target``; None if it was not reached."""
        if self.summary and metric not in self.summary:
            return None
        mode = self.main[1] if self.main[0] == metric else better(metric)
        found = self._answer(f"{metric} {mode} {target!r}", lambda rows: _reached(rows, metric, mode, target))
        return tuple(found) if found else None

    def series(self, metric: str) -> list[tuple[int, float, float]]:
        """Step, seconds of training and value of each row that has the metric."""
        return list(_series(self.rows, metric))

    def value(self, name: str) -> Any:
        """A value by its column's name: of the configuration, of run.json, or a metric at its best; None if absent."""
        if name in self.config:
            return self.config[name]
        if name == "status":
            return self.status
        if name == "directory":
            return self.path
        return self.facts[name] if name in self.facts else self.metric(name) if "/" in name else None

    @property
    def kept(self) -> tuple[str, str]:
        """What was found out from the rows, and of what they were: for the cache."""
        return self._known[0], json.dumps(self._answers)

    @property
    def _digest(self) -> dict[str, Any]:
        """``min``, ``max`` and ``last`` of each metric over all rows, ``best`` at the best step of the main metric."""
        return self._answer("digest", self._digested)

    def _at(self, name: str, step: int) -> float | None:
        return self._answer(f"{name} {step}", lambda rows: _latest(rows, name, step))

    def _answer(self, question: str, find: Callable[[list[dict[str, Any]]], Any]) -> Any:
        if self._answers is None:
            now = stamp(os.path.join(self.path, rundir.METRICS))
            self._answers = _object(self._known[1]) if self._known[0] == now else {}
            self._known = now, ""
        if question not in self._answers:
            self._answers[question] = find(self.rows)
            self.changed = True
        return self._answers[question]

    def _digested(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        values: dict[str, list[float]] = {}
        steps: dict[str, list[Any]] = {}
        names: dict[tuple[Any, str], str] = {}
        for row in rows:  # a million, where many runs are compared
            split, step = row.get("split"), row.get("step")
            for key, value in row.items() if isinstance(split, str) else ():
                if (type(value) is float and value - value == 0) or (value := finite(value)) is not None:
                    if (name := names.get((split, key))) is None:
                        name = names[split, key] = f"{split}/{key}"
                        values[name], steps[name] = [], []
                    values[name].append(value)
                    steps[name].append(step)
        values = {name: found for name, found in values.items() if name.partition("/")[2] not in NOT_A_METRIC}
        metric, mode = self.main_among(lambda: values)
        best: dict[str, float] = {}
        no_result = {row["step"] for row in rows if "nonfinite" in row and isinstance(row.get("step"), int)}
        at = zip(values.get(metric, ()), steps.get(metric, ()), strict=True)
        if results := [(v, s) for v, s in at if not isinstance(s, int) or s not in no_result]:
            extreme = (min if mode == "min" else max)(value for value, _ in results)
            step = next(s for value, s in results if value == extreme)
            for name, found in values.items():
                known = [v for s, v in zip(steps[name], found, strict=True) if _by(s, step)]
                best |= {name: known[-1]} if known else {}
        extremes = {how.__name__: {name: how(found) for name, found in values.items()} for how in (min, max)}
        return {**extremes, "last": {name: found[-1] for name, found in values.items()}, "best": best}


class Runs(Sequence[Run]):
    """Runs that were found, and what was not one.

    Args:
      runs: in the order of their directories.
      skipped: why a folder was left out, by path.
      kept: what the cache is to hold of a run; None for nothing.
    """

    def __init__(
        self, runs: list[Run], skipped: dict[str, str], kept: Callable[[Run], cache.Kept | None] = lambda run: None
    ):
        self.runs, self.skipped, self._kept = runs, skipped, kept

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        return self.of(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def of(self, runs: Iterable[Run]) -> "Runs":
        """Some of them."""
        return Runs(list(runs), self.skipped, self._kept)

    def where(self, condition: str) -> "Runs":
        """Those for which a condition holds, such as ``model.name=resnet and optim.lr<0.01 and status=completed``."""
        return self.of(self._asked(list(filter(where.parse(condition, self.column), self.runs))))

    def metric(self, name: str, at: At = "best") -> list[float | None]:
        """A metric's value in each run; see :meth:`Run.metric`."""
        return self._asked([run.metric(name, at) for run in self.runs])

    def time_to(self, metric: str, target: float) -> list[tuple[int, float] | None]:
        """Steps and seconds to a target in each run; see :meth:`Run.time_to`."""
        return self._asked([run.time_to(metric, target) for run in self.runs])

    def main(self) -> tuple[str, Literal["min", "max"]] | None:
        """The metric that most of them chose their best state by, and whether it should be ``min`` or ``max``."""
        return self._mains.most_common(1)[0][0] if self._mains else None

    def direction(self, metric: str) -> Literal["min", "max"]:
        """Whether a metric is better when smaller or larger: as the runs say whose main one it is, else by name."""
        for (name, mode), _ in self._mains.most_common():
            if name == metric:
                return mode
        return better(metric)

    @cached_property
    def _mains(self) -> Counter[tuple[str, Literal["min", "max"]]]:
        return Counter(self._asked([run.main for run in self.runs]))

    @cached_property
    def keys(self) -> list[str]:
        """All keys of their configurations."""
        found = _all(run.config for run in self.runs)
        sections = {section: i for i, section in enumerate(dict.fromkeys(map(_section, found)))}
        return sorted(found, key=lambda key: sections[_section(key)])  # those of some runs beside their like

    @cached_property
    def metrics(self) -> list[str]:
        """Names of all their metrics."""
        return self._asked(sorted({name for run in self.runs for name in run.metrics}))

    @cached_property
    def differing(self) -> list[str]:
        """The keys whose values differ between runs, in the order of the configuration.

        What follows from a choice does not count: keys of an option are held against runs of the same option alone, so
        that runs which differ in nothing but ``model=mlp`` and ``model=resnet`` differ in ``model.name``. So does what
        some runs don't have, being older than a key.
        """
        choice = {key: f"{_section(key)}.name" for key in self.keys}
        choices = [key for key in self.keys if choice[key] == key]
        first: dict[tuple[Any, ...], dict[str, Any]] = {}  # what the runs of a combination of options have first
        alike = dict.fromkeys(self.keys)
        for run in self.runs:
            config = run.config
            seen = first.setdefault(tuple([_hashable(config.get(c)) for c in choices]), {})
            for key in [k for k in alike if k in config and seen.setdefault(k, config[k]) != config[k]]:
                del alike[key]
        for key in list(alike):
            by_option: dict[Any, Any] = {}
            for seen in first.values():
                option = _hashable(seen.get(choice[key])) if choice[key] != key else None
                if key in seen and by_option.setdefault(option, seen[key]) != seen[key]:
                    del alike[key]
                    break
        return [key for key in self.keys if key not in alike]

    @property
    def grouping(self) -> list[str]:
        """The keys that tell groups apart: those that differ, but seeds and what only says how a run is made."""
        return [key for key in self.differing if not (key.endswith(SEEDS) or how_it_ran(key))]

    @cached_property
    def unrecorded(self) -> dict[str, Any]:
        """Settings that some runs don't have, being older than these, by what such runs count as: null or false where
        others have that, else :data:`NOT_RECORDED`. What another option of a choice does not have is no setting.
        """
        configured, found = [run for run in self.runs if run.config], {}
        for key in self.keys:
            if f"{_section(key)}.name" in self.keys or how_it_ran(key) or key == "seed":
                continue
            if any(key not in run.config for run in configured):
                plain = [v for run in configured if (v := run.config.get(key, True)) is None or v is False]
                found[key] = plain[0] if plain else NOT_RECORDED
        return found

    def groups(self, keys: Sequence[str] | None = None) -> dict[tuple[Any, ...], "Runs"]:
        """Runs by the values of some columns, a list as a tuple; by default of those that tell groups apart."""
        names = self.grouping if keys is None else [self.column(key) for key in keys]
        found: dict[tuple[Any, ...], list[Run]] = {}
        for run in self.runs:
            found.setdefault(tuple([_hashable(run.value(name)) for name in names]), []).append(run)
        return {values: self.of(runs) for values, runs in found.items()}

    def column(self, name: str) -> str:
        """The whole name of a column: ``act`` stands for ``act.name``, ``accuracy`` for ``val/accuracy``.

        Raises:
          InvalidConfig: when no run has it.
        """
        for full in (name, f"{name}.name"):
            if full in self.columns:
                return full
        for full in (name, *(f"{split}/{name}" for split in SPLITS)):
            if full in self.metrics:
                return full
        known = [*self.columns, *self.metrics, *(k.removesuffix(".name") for k in self.keys if k.endswith(".name"))]
        near = nearest(name, known) or "; dlrun compare --all-columns shows them"
        raise InvalidConfig([f"{show(name)}: no such column{near}"])

    def records(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """A dictionary a run: directory, status, the keys that differ, metrics at their best; or the columns named."""
        if columns is None:
            columns = ["directory", "status", *self.differing, "steps_per_second", "seconds", *self.metrics]
            names = {column: column for column in columns}
        else:
            names = {column: self.column(column) for column in columns}
        return self._asked([{short: run.value(full) for short, full in names.items()} for run in self.runs])

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """:meth:`records` as a ``pandas.DataFrame``, where pandas is installed."""
        import pandas  # pyright: ignore[reportMissingImports]  # a notebook's, none of ours

        return pandas.DataFrame(self.records(columns))

    @cached_property
    def columns(self) -> dict[str, None]:
        """Names of all columns but the metrics: facts of run.json and keys of the configurations."""
        return dict.fromkeys(["directory", "status", *self.keys, *_all(run.facts for run in self.runs)])

    def _asked(self, answer: T) -> T:
        """Keeps for the next time what had to be read from rows."""
        if changed := [run for run in self.runs if run.changed]:
            kept = {os.path.abspath(run.path): self._kept(run) for run in changed}
            cache.write({path: k for path, k in kept.items() if k})
            for run in changed:
                run.changed = False
        return answer


def _all(several: Iterable[Iterable[str]]) -> list[str]:
    """The different words, in the order in which they appear."""
    return list(dict.fromkeys(word for shape in dict.fromkeys(map(tuple, several)) for word in shape))


def _section(key: str) -> str:
    return key.split(".", 1)[0]


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return json.dumps(value) if isinstance(value, dict) else value


def finite(value: Any) -> float | None:
    """A value of a file as a number; None for what is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def _series(rows: list[dict[str, Any]], metric: str) -> Iterator[tuple[int, float, float]]:
    split, _, key = metric.partition("/")
    for row in rows:
        value, step = finite(row.get(key)), row.get("step")
        if row.get("split") == split and value is not None and isinstance(step, int) and abs(step) < MOST_STEPS:
            yield step, finite(row.get("time")) or 0.0, value


def _by(step: Any, end: Any) -> bool:
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
