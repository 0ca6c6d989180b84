"""Makes jobs from a command with several values: every combination of the values, or the points of a search."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from omegaconf import OmegaConf

from dlrun.config import catalogue
from dlrun.config.hydra_adapter import Config, Hydra, Override, plain
from dlrun.config.overrides import one_duration, parse, typed
from dlrun.config.plan import plan
from dlrun.errors import InvalidConfig, show
from dlrun.sweep.jobs.composing import Composer, Setting, is_plain
from dlrun.sweep.jobs.job import Job, key_of

MOST = 20  # problems that are shown at most: a grid may have one for every job


class Space:
    """The overrides of a sweep, and the jobs that they make.

    Args:
      hydra: loads the configs.
      cfg: the composed configuration of the sweep; ``hydra.sweeper.params`` in it come before the command's overrides.
      overrides: of the command. If a key is given several times, the last one counts, as in Hydra.

    Attributes:
      overrides: by name, such as ``optim.lr`` or ``+x``.
      problems: errors in ``hydra.sweeper.params``; those in the command itself were found when it was composed.
    """

    def __init__(self, hydra: Hydra, cfg: Config, overrides: list[str]):
        self.overrides: dict[str, Override] = {}
        self.problems: list[str] = []
        self._groups = frozenset(hydra.groups())
        params = [f"{key}={value}" for key, value in (OmegaConf.select(cfg, "hydra.sweeper.params") or {}).items()]
        own = []
        for text in [*params, *overrides]:
            override, problem = parse(text, hydra)
            if override is not None and override.of_hydra and override.sweeps:
                override, problem = None, f"{text}: not allowed; allowed: one value, as it is not part of a run"
            if override is None:
                self.problems += [f"hydra.sweeper.params: {problem}"] if text in params else []
            elif override.of_hydra:
                own.append(text)
            else:
                self.overrides[override.name] = override
        self._composer = Composer(hydra, own)

    @cached_property
    def axes(self) -> dict[str, "Axis"]:
        """The keys with several values."""
        return {name: Axis(override) for name, override in self.overrides.items() if override.sweeps}

    @property
    def swept(self) -> dict[str, list[Any]]:
        """The several values of each key, as plain values."""
        return {name: [plain(e) for e in axis.elements] for name, axis in self.axes.items()}

    def grid(self, trust: tuple[str, ...] = (), problems: Iterable[str] = (), max_jobs: int = 10_000) -> list[Job]:
        """A job for every combination of the values, in the order of Hydra's sweeper: the last key varies fastest.

        Args:
          trust: packages that the user allowed on this command to be imported from.
          problems: problems found before, to be reported with the others.
          max_jobs: a larger grid is refused before any job is composed.

        Raises:
          InvalidConfig: with all that is wrong with any job.
        """
        problems = [*problems, *self.problems, *(p for axis in self.axes.values() for p in axis.problems)]
        if any(axis.problems for axis in self.axes.values()):
            raise InvalidConfig(dict.fromkeys(problems))
        jobs = math.prod(axis.count for axis in self.axes.values())
        if jobs > max_jobs:
            command = " ".join(axis.text for axis in self.axes.values())
            problems.append(f"-m {show(command)}: {jobs} jobs; allowed: at most launcher.max_jobs={max_jobs}")
            raise InvalidConfig(dict.fromkeys(problems))
        values = {name: [self._setting(axis.override, e) for e in axis.elements] for name, axis in self.axes.items()}
        points = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
        return self._jobs(points, trust, problems)

    def jobs_of(self, words: list[list[str]], trust: tuple[str, ...] = (), numbers: Sequence[int] = ()) -> list[Job]:
        """A job for each list of overrides with one value each; raises what :meth:`grid` does.

        Args:
          numbers: of the jobs; by default they count from 0.
        """
        points = []
        for texts in words:
            point = {}
            for text in texts:
                override, problem = parse(text)
                if override is None:
                    raise InvalidConfig([problem])
                if (own := self.overrides.get(override.name)) is None or own.sweeps:
                    point[override.name] = self._setting(override, override.element)
            points.append(point)
        jobs = self._jobs(points, trust, self.problems)
        return [replace(job, number=n) for job, n in zip(jobs, numbers or range(len(jobs)), strict=True)]

    def _jobs(self, points: list[dict[str, Setting]], trust: tuple[str, ...], problems: Iterable[str]) -> list[Job]:
        jobs, lines = [], {line: list(range(len(points))) for line in problems}
        fixed = {name: self._fixed(o) for name, o in self.overrides.items() if not o.sweeps}
        for i, point in enumerate(points):
            names = dict.fromkeys([*self.overrides, *point])
            settings = [point[name] if name in point else fixed[name] for name in names]
            try:
                made = self._composer.compose([*settings, *_other_duration(settings)])
                checked = plan(made.values, trust, made.problems)
            except InvalidConfig as error:
                for line in error.problems:
                    lines.setdefault(line, []).append(i)
                if len(lines) > MOST:
                    points = points[: i + 1]
                    break
            else:
                texts = [s.text for s in settings if key_of(s.text).split(".")[0] not in catalogue.NOT_OF_A_RUN]
                jobs.append(Job(i, texts, checked, made.written, made.hydra))
        if lines:
            raise InvalidConfig(worded(lines, [{k: s.text for k, s in point.items()} for point in points]))
        return jobs

    def _setting(self, override: Override, element: Any) -> Setting:
        """An override with one of its values."""
        key, value = override.key, plain(element)
        choice = self._is_choice(override) and not isinstance(value, dict)
        late = not choice and not override.deletes and is_plain(key, value)
        text = f"{override.name}={typed(element)}"
        return Setting(text, "" if choice else key, value, not late, override.adds)

    def _fixed(self, override: Override) -> Setting:
        """An override with one value for all jobs; ``shuffle([1,2])`` in it draws once for all, as in Hydra."""
        shuffled = "shuffle(" in override.text
        text = f"{override.name}={typed(override.element)}" if shuffled else override.text
        choice = self._is_choice(override) and not isinstance(override.value, dict)
        return Setting(text, "" if choice else override.key)

    def _is_choice(self, override: Override) -> bool:
        return override.key in self._groups or "/" in override.key or override.package is not None


class Axis:
    """The several values of a key; a range may hold far too many to enumerate.

    Args:
      override: with ``a,b``, ``choice(a,b)``, ``range(0,4)`` or ``glob(*)``, tagged, shuffled or sorted.
    """

    def __init__(self, override: Override):
        self.override, self.text = override, override.text

    @cached_property
    def problems(self) -> list[str]:
        """Why there is no grid of these values; empty where there is one."""
        if self.override.interval is not None:
            allowed = "a,b or range(0,5); hydra/sweeper=optuna searches intervals"
            return [f"{self.text}: has no list of values for a grid; allowed: {allowed}"]
        try:
            empty = self.count == 0
        except (ValueError, ArithmeticError):
            allowed = "range(start,stop,step) of finite numbers, the step not 0"
            return [f"{self.text}: not allowed; allowed: {allowed}"]
        return [f"{self.text}: gives no jobs, as it has no values"] if empty else []

    @property
    def twice(self) -> list[str]:
        """Values that are given more than once, as typed."""
        if self.override.range is not None:
            return []
        times = Counter(map(typed, self.override.elements()))
        return [text for text, n in times.items() if n > 1]

    @cached_property
    def count(self) -> int:
        """How many values there are; of a range of fractions, at most, as rounding may take the last one."""
        if self.override.range is None:
            return len(self.elements)
        numbers = self.override.numbers
        start, stop, step = numbers.start, numbers.stop, numbers.step
        whole = isinstance(numbers, range)
        return max(0, -((start - stop) // step) if whole else math.ceil((stop - start) / step))

    @cached_property
    def elements(self) -> list[Any]:
        """The values as Hydra's elements, without repetitions; 1, 1.0, "1" and true are four different values."""
        return list({repr(plain(e)): e for e in self.override.elements()}.values())


def _other_duration(settings: list[Setting]) -> list[Setting]:
    """The setting that a duration implies: ``epochs=null``, if only ``steps=500`` is given."""
    texts = [s.text for s in settings]
    added = one_duration(texts)[len(texts) :]
    return [Setting(text, text.partition("=")[0], None, fixed=False) for text in added]


def worded(lines: dict[str, list[int]], points: list[dict[str, str]]) -> list[str]:
    """Each problem once; if only some jobs have it, with the swept values that these jobs share in front.

    Args:
      lines: problems, with the indices of the jobs that have them.
      points: the overrides of each job, by name.
    """
    everywhere = {name: dict.fromkeys(p[name] for p in points if name in p) for p in points for name in p}
    told = []
    for line, jobs in lines.items():
        where = []
        for name, texts in everywhere.items():
            here = dict.fromkeys(points[i][name] for i in jobs if i < len(points) and name in points[i])
            if len(here) < len(texts) and not any(re.search(rf"(?<![\w.]){re.escape(t)}(?![\w.])", line) for t in here):
                values = ",".join(text.partition("=")[2] for text in itertools.islice(here, 3))
                where.append(f"{name}={values}{',...' if len(here) > 3 else ''}")
        told.append(f"{' '.join(where)}: {line}" if where and len(jobs) < len(points) else line)
    return told if len(told) <= MOST else [*told[:MOST], "... and more; these are the first"]
