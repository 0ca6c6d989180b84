"""From a command with several values to the runs that it asks for: every combination, or points that a search chose."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString, RangeSweep
from omegaconf import OmegaConf

from dlrun.config import catalogue, composition
from dlrun.config.overrides import one_duration, parse
from dlrun.errors import InvalidConfig, show
from dlrun.sweep.jobs.composing import Composer, Setting, is_plain
from dlrun.sweep.jobs.job import Job, key_of

MOST = 20  # problems are told one by one; a grid may have one for every job


class Space:
    """The overrides of a sweep, and the runs that they make.

    Args:
      hydra: Hydra over the configs.
      cfg: the composed configuration of the sweep; ``hydra.sweeper.params`` in it come before the command's overrides.
      overrides: of the command. Of a key that is given several times the last counts, as in Hydra.

    Attributes:
      overrides: each as parsed, by its key as typed, such as ``optim.lr`` or ``+x``.
      problems: what is wrong with ``hydra.sweeper.params``; what is wrong with the command is known from composing it.
    """

    def __init__(self, hydra: Hydra, cfg: composition.Config, overrides: list[str]):
        self.overrides: dict[str, Override] = {}
        self.problems: list[str] = []
        self._groups = frozenset(hydra.config_loader.list_groups(""))
        params = [f"{key}={value}" for key, value in (OmegaConf.select(cfg, "hydra.sweeper.params") or {}).items()]
        own = []
        for text in [*params, *overrides]:
            parsed, problem = parse(text)
            if parsed is not None and parsed.is_hydra_override() and parsed.is_sweep_override():
                parsed, problem = None, f"{text}: not allowed; allowed: one value, as it is none of a run's"
            if parsed is None:
                self.problems += [f"hydra.sweeper.params: {problem}"] if text in params else []
            elif parsed.is_hydra_override():
                own.append(text)
            else:
                parsed.config_loader = hydra.config_loader  # for glob(*)
                self.overrides[parsed.get_key_element()] = parsed
        self._composer = Composer(hydra, own)

    @cached_property
    def axes(self) -> dict[str, "Axis"]:
        """The keys with several values."""
        return {name: Axis(parsed) for name, parsed in self.overrides.items() if parsed.is_sweep_override()}

    @property
    def swept(self) -> dict[str, list[Any]]:
        """The values of a grid by key."""
        return {name: [Override._convert_value(e) for e in axis.elements] for name, axis in self.axes.items()}

    def grid(self, trust: tuple[str, ...] = (), found: Iterable[str] = (), max_jobs: int = 10_000) -> list[Job]:
        """A job for every combination of the values, in the order of Hydra's sweeper; the first key changes last.

        Args:
          trust: packages that the user allowed on this command to be imported from.
          found: problems found before, to be reported with the others.
          max_jobs: a larger grid is refused at once.

        Raises:
          InvalidConfig: with all that is wrong with any job.
        """
        found = [*found, *self.problems, *(p for axis in self.axes.values() for p in axis.problems)]
        if any(axis.problems for axis in self.axes.values()):
            raise InvalidConfig(dict.fromkeys(found))
        runs = math.prod(axis.count for axis in self.axes.values())
        if runs > max_jobs:
            command = " ".join(axis.text for axis in self.axes.values())
            found.append(f"-m {show(command)}: {runs} runs; allowed: at most launcher.max_jobs={max_jobs}")
            raise InvalidConfig(dict.fromkeys(found))
        values = {name: [self._setting(axis.parsed, e) for e in axis.elements] for name, axis in self.axes.items()}
        points = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
        return self._jobs(points, trust, found)

    def jobs_of(self, words: list[list[str]], trust: tuple[str, ...] = (), numbers: Sequence[int] = ()) -> list[Job]:
        """A job for each list of overrides, every one with one value; raises as :meth:`grid` does.

        Args:
          numbers: of the jobs; from 0 where there are none.
        """
        points = []
        for texts in words:
            point = {}
            for text in texts:
                parsed, problem = parse(text)
                if parsed is None:
                    raise InvalidConfig([problem])
                name = parsed.get_key_element()
                if (own := self.overrides.get(name)) is None or own.is_sweep_override():
                    point[name] = self._setting(parsed, parsed._value)
            points.append(point)
        jobs = self._jobs(points, trust, self.problems)
        return [replace(job, number=n) for job, n in zip(jobs, numbers or range(len(jobs)), strict=True)]

    def _jobs(self, points: list[dict[str, Setting]], trust: tuple[str, ...], found: Iterable[str]) -> list[Job]:
        from dlrun.config.plan import (
            plan,  # here, as it imports jax: what is wrong with the space itself is told at once
        )

        jobs, lines = [], {line: list(range(len(points))) for line in found}
        fixed = {name: self._fixed(p) for name, p in self.overrides.items() if not p.is_sweep_override()}
        for i, point in enumerate(points):
            names = dict.fromkeys([*self.overrides, *point])
            settings = [point[name] if name in point else fixed[name] for name in names]
            try:
                made = self._composer.compose([*settings, *_other_duration(settings)])
                checked = plan(made.values, trust, made.found)
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
            raise InvalidConfig(_worded(lines, [{k: s.text for k, s in point.items()} for point in points]))
        return jobs

    def _setting(self, parsed: Override, element: Any) -> Setting:
        """An override with one of its values."""
        key, value = parsed.key_or_group, Override._convert_value(element)
        choice = self._is_choice(parsed) and not isinstance(value, dict)
        plain = not choice and parsed.type is not OverrideType.DEL and is_plain(key, value)
        text = f"{parsed.get_key_element()}={typed(element)}"
        return Setting(text, "" if choice else key, value, not plain, parsed.is_add())

    def _fixed(self, parsed: Override) -> Setting:
        """An override with one value for all runs; what shuffle([1,2]) drew is drawn once, as in Hydra."""
        line = str(parsed.input_line)
        text = f"{parsed.get_key_element()}={typed(parsed._value)}" if "shuffle(" in line else line
        choice = self._is_choice(parsed) and not isinstance(parsed.value(), dict)
        return Setting(text, "" if choice else parsed.key_or_group)

    def _is_choice(self, parsed: Override) -> bool:
        key = parsed.key_or_group
        return key in self._groups or "/" in key or parsed.package is not None


class Axis:
    """The values of a key, which may be far too many to enumerate.

    Args:
      parsed: the override: ``a,b``, ``choice(a,b)``, ``range(0,4)`` or ``glob(*)``, tagged, shuffled or sorted.
    """

    def __init__(self, parsed: Override):
        self.parsed, self.text = parsed, str(parsed.input_line)

    @cached_property
    def problems(self) -> list[str]:
        """Why it makes no grid."""
        if self.parsed.is_interval_sweep():
            allowed = "a,b or range(0,5); hydra/sweeper=optuna searches intervals"
            return [f"{self.text}: has no list of values for a grid; allowed: {allowed}"]
        try:
            empty = self.count == 0
        except (ValueError, ArithmeticError):
            allowed = "range(start,stop,step) of finite numbers, the step not 0"
            return [f"{self.text}: not allowed; allowed: {allowed}"]
        return [f"{self.text}: no runs, as it has no values"] if empty else []

    @property
    def twice(self) -> list[str]:
        """Values that are given more than once, as typed."""
        if isinstance(self.parsed.value(), RangeSweep):
            return []
        times = Counter(typed(e) for e in self.parsed.sweep_iterator())
        return [text for text, n in times.items() if n > 1]

    @cached_property
    def count(self) -> int:
        """How many values there are, at most; exact where they were enumerated or are whole numbers."""
        if not isinstance(sweep := self.parsed.value(), RangeSweep):
            return len(self.elements)
        numbers = sweep.range()
        if isinstance(numbers, range):
            return max(0, -((numbers.start - numbers.stop) // numbers.step))
        start, stop, step = numbers.start, numbers.stop, numbers.step
        return max(0, math.ceil((stop - start) / step))  # pyright: ignore[reportOperatorIssue] they are decimals

    @cached_property
    def elements(self) -> list[Any]:
        """The values as parsed, text that was quoted as such; each once. 1, 1.0, "1" and true are four."""
        return list({repr(Override._convert_value(e)): e for e in self.parsed.sweep_iterator()}.values())


def typed(value: Any) -> str:
    """A value as it is typed in an override: text in quotes where it would be read as something else."""
    return Override._get_value_element_as_str(_quoted(value))


def _quoted(value: Any) -> Any:
    if isinstance(value, list):
        return [_quoted(v) for v in value]
    if isinstance(value, dict):
        return {k: _quoted(v) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    read = parse(f"x={Override._get_value_element_as_str(value)}")[0]
    same = bool(value) and read is not None and not read.is_sweep_override() and read._value == value
    return value if same else QuotedString(value, Quote.single)


def _other_duration(settings: list[Setting]) -> list[Setting]:
    """What goes without saying: with ``steps=500`` no epochs."""
    texts = [s.text for s in settings]
    added = one_duration(texts)[len(texts) :]
    return [Setting(text, text.partition("=")[0], None, fixed=False) for text in added]


def _worded(lines: dict[str, list[int]], points: list[dict[str, str]]) -> list[str]:
    """Each problem once; where not all jobs have it, after the swept values that those have which do."""
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
    return told if len(told) <= MOST else [*told[:MOST], "... and more: these are the first"]
