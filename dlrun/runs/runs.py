"""Many runs as a table: its columns, the keys in which the runs differ, and groups of runs with equal values."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar, overload

from dlrun.errors import InvalidConfig, nearest, show
from dlrun.runs import cache
from dlrun.runs.condition import parse
from dlrun.runs.metric_names import SEEDS, SPLITS, better, how_it_ran
from dlrun.runs.run import At, Run

T = TypeVar("T")


NOT_RECORDED = "not recorded"


class Runs(Sequence[Run]):
    """A sequence of runs that were found, and the folders that were left out.

    Args:
      runs: in the order of their directories.
      skipped: why a folder was left out, by path.
      kept: returns what the cache should hold of a run; None for nothing.
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
        """Some of these runs, as a sequence that keeps the left-out folders and the cache."""
        return Runs(list(runs), self.skipped, self._kept)

    def where(self, condition: str) -> "Runs":
        """The runs for which a condition such as ``model.name=resnet and optim.lr<0.01`` holds."""
        return self.of(self._after_caching(list(filter(parse(condition, self.column), self.runs))))

    def metric(self, name: str, at: At | None = None) -> list[float | None]:
        """A metric's value in each run; see :meth:`Run.metric`."""
        return self._after_caching([run.metric(name, at) for run in self.runs])

    def time_to(self, metric: str, target: float) -> list[tuple[int, float] | None]:
        """Steps and seconds to a target in each run; see :meth:`Run.time_to`."""
        return self._after_caching([run.time_to(metric, target) for run in self.runs])

    def main(self) -> tuple[str, Literal["min", "max"]] | None:
        """The metric by which most runs chose their best state, and whether its best is the ``min`` or the ``max``."""
        return self._mains.most_common(1)[0][0] if self._mains else None

    def direction(self, metric: str) -> Literal["min", "max"]:
        """Whether a metric is best at its ``min`` or ``max``: as the runs say that chose by it, else by its name."""
        for (name, mode), _ in self._mains.most_common():
            if name == metric:
                return mode
        return better(metric)

    @cached_property
    def _mains(self) -> Counter[tuple[str, Literal["min", "max"]]]:
        return Counter(self._after_caching([run.main for run in self.runs]))

    @cached_property
    def keys(self) -> list[str]:
        """All keys of their configurations."""
        names = _all(run.config for run in self.runs)
        sections = {section: i for i, section in enumerate(dict.fromkeys(map(_section, names)))}
        # Keys that only some runs have go beside those of their section.
        return sorted(names, key=lambda key: sections[_section(key)])

    @cached_property
    def metrics(self) -> list[str]:
        """Names of all their metrics."""
        return self._after_caching(sorted({name for run in self.runs for name in run.metrics}))

    @cached_property
    def differing(self) -> list[str]:
        """The keys whose values differ between runs, in the order of the configuration.

        What follows from a choice does not count: keys of an option are compared only among runs with the same option.
        So runs with ``model=mlp`` and ``model=resnet`` that are otherwise equal differ in ``model.name`` alone. A key
        that older runs don't have does not count for that reason either.
        """
        choice = {key: f"{_section(key)}.name" for key in self.keys}
        choices = [key for key in self.keys if choice[key] == key]
        first: dict[tuple[Any, ...], dict[str, Any]] = {}  # the first values seen, by combination of options
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
        """The keys that tell groups apart: those that differ, except seeds and those that say how a run is executed."""
        return [key for key in self.differing if not (key.endswith(SEEDS) or how_it_ran(key))]

    @cached_property
    def unrecorded(self) -> dict[str, Any]:
        """Settings that some runs are too old to have recorded, and the value that those runs count as having.

        That is null or false if other runs have that value, else :data:`NOT_RECORDED`. Keys that only some options of a
        choice have are left out.
        """
        configured, values = [run for run in self.runs if run.config], {}
        for key in self.keys:
            if f"{_section(key)}.name" in self.keys or how_it_ran(key) or key == "seed":
                continue
            if any(key not in run.config for run in configured):
                plain = [v for run in configured if (v := run.config.get(key, True)) is None or v is False]
                values[key] = plain[0] if plain else NOT_RECORDED
        return values

    def groups(self, keys: Sequence[str] | None = None) -> dict[tuple[Any, ...], "Runs"]:
        """Runs by their values of some columns (lists as tuples); by default, of the columns that tell groups apart."""
        names = self.grouping if keys is None else [self.column(key) for key in keys]
        members: dict[tuple[Any, ...], list[Run]] = {}
        for run in self.runs:
            members.setdefault(tuple([_hashable(run.value(name)) for name in names]), []).append(run)
        return {values: self.of(runs) for values, runs in members.items()}

    def column(self, name: str) -> str:
        """The full name of a column: ``act`` stands for ``act.name``, ``accuracy`` for ``val/accuracy``.

        Raises:
          InvalidConfig: if no run has it.
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
        """A dictionary per run: directory, status, keys that differ, metrics; or the named columns."""
        if columns is None:
            columns = ["directory", "status", *self.differing, "steps_per_second", "seconds", *self.metrics]
            names = {column: column for column in columns}
        else:
            names = {column: self.column(column) for column in columns}
        return self._after_caching([{short: run.value(full) for short, full in names.items()} for run in self.runs])

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """:meth:`records` as a ``pandas.DataFrame``. Raises :class:`ImportError` where pandas is not installed."""
        try:
            import pandas  # pyright: ignore[reportMissingImports]  # for notebooks; dlrun does not depend on it
        except ImportError:
            raise ImportError("to_pandas needs pandas, which dlrun does not: pip install pandas") from None
        return pandas.DataFrame(self.records(columns))

    @cached_property
    def columns(self) -> dict[str, None]:
        """Names of all columns except metrics: facts of run.json and keys of the configurations."""
        return dict.fromkeys(["directory", "status", *self.keys, *_all(run.facts for run in self.runs)])

    def _after_caching(self, answer: T) -> T:
        """Returns an answer, after it wrote to the cache what had to be computed from rows for it."""
        if changed := [run for run in self.runs if run.changed]:
            kept = {os.path.abspath(run.path): self._kept(run) for run in changed}
            cache.write({path: k for path, k in kept.items() if k})
            for run in changed:
                run.changed = False
        return answer


def _all(several: Iterable[Iterable[str]]) -> list[str]:
    """The different keys of several runs, in the order in which they appear."""
    return list(dict.fromkeys(key for keys in dict.fromkeys(map(tuple, several)) for key in keys))


def _section(key: str) -> str:
    return key.split(".", 1)[0]


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return json.dumps(value) if isinstance(value, dict) else value
