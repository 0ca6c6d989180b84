"""Reads the space of a search: Hydra's sweep syntax as a domain for each key, checked without Optuna.

The syntax means what it does in Hydra's own Optuna plugin, with three differences. Options stay text as typed, so that
lists and quoted text are passed on unchanged. ``tag(int, ...)`` and logarithmic ranges work. ``shuffle``
changes nothing, since the sampler chooses the order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any, TypeAlias

from dlrun.config import hydra_adapter
from dlrun.config.hydra_adapter import Hydra, HydraError, Override
from dlrun.errors import InvalidConfig, show


@dataclass(frozen=True)
class Options:
    """A choice of one of several values, each as text to be typed."""

    texts: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.texts)

    @property
    def ends(self) -> tuple[str, ...]:
        """The values to check before a search, as typed."""
        return self.texts

    @property
    def size(self) -> int:
        return len(self.texts)

    def points(self) -> list[str]:
        return list(self.texts)

    def text(self, value: Any) -> str:
        """A value that Optuna chose, as a user would type it."""
        return value

    def plain(self, value: Any) -> Any:
        """A value that Optuna chose, as a plain value."""
        return hydra_adapter.read(f"key={value}").value


@dataclass(frozen=True)
class Numbers:
    """A choice of a number from ``low`` to ``high``, both included.

    Args:
      step: the distance between the numbers, counted from ``low``; None for all of them.
      log: whether all orders of magnitude are equally likely.
      whole: whether they are integers.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        step = "" if self.step is None else f", step={self.step}"
        text = f"{'int ' if self.whole else ''}{self.low} to {self.high}{step}"
        return f"{text}, log" if self.log else text

    @property
    def ends(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.text(self.low), self.text(self.high))))

    @property
    def size(self) -> int | None:
        """How many numbers there are; None without a step."""
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def points(self) -> list[float]:
        """All numbers in order, where there is a step."""
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        numbers = (low + i * step for i in range(self.size or 0))
        return [int(n) if self.whole else float(n) for n in numbers]

    def text(self, value: Any) -> str:
        if self.whole:
            return str(int(value))
        return repr(float(value) if self.step is None else float(f"{value:.12g}"))  # not 0.30000000000000004

    def plain(self, value: Any) -> float:
        return int(value) if self.whole else float(self.text(value))


Domain: TypeAlias = Options | Numbers


@dataclass(frozen=True)
class SearchSpace:
    """The keys that a search chooses values for, and the other overrides of its command.

    Args:
      domains: what to choose from, by key; the key has its ``+``, if it was typed with one.
      fixed: the other overrides, as they were typed.
    """

    domains: dict[str, Domain]
    fixed: tuple[str, ...]

    def overrides(self, values: dict[str, Any]) -> list[str]:
        """The overrides that a user would type for these values."""
        return [*self.fixed, *(f"{key}={domain.text(values[key])}" for key, domain in self.domains.items())]

    def plain(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values as a configuration holds them."""
        return {key: domain.plain(values[key]) for key, domain in self.domains.items()}

    def probes(self) -> list[list[str]]:
        """Overrides of a few runs to check first: every option and both ends of every interval occur in one of them."""
        ends = {key: domain.ends for key, domain in self.domains.items()}
        most = max(map(len, ends.values()))
        return [[*self.fixed, *(f"{key}={e[i % len(e)]}" for key, e in ends.items())] for i in range(most)]

    def grid(self) -> Iterator[dict[str, Any]]:
        """All combinations."""
        for values in product(*(domain.points() for domain in self.domains.values())):
            yield dict(zip(self.domains, values, strict=True))

    def described(self) -> dict[str, str]:
        """Every key in words, equal for equal spaces."""
        return {
            **{word.partition("=")[0]: word.partition("=")[2] for word in self.fixed},
            **{key: str(domain) for key, domain in self.domains.items()},
        }


def search_space(overrides: list[str], params: dict[str, Any] | None = None, hydra: Hydra | None = None) -> SearchSpace:
    """The space that a command describes. Raises :class:`InvalidConfig` with all that is wrong with it.

    Args:
      overrides: as typed; those of Hydra's own part are ignored.
      params: further ones by key, from a configuration; an override of the same key replaces them.
      hydra: needed for ``glob(*)``: knows the options that there are.
    """
    read, found = hydra_adapter.read if hydra is None else hydra.read, []
    given: list[list[Override]] = []
    for words in ([f"{key}={_typed(value)}" for key, value in (params or {}).items()], overrides):
        given.append([])
        for word in words:
            try:
                given[-1] += [o for o in [read(word)] if not o.of_hydra]
            except HydraError as error:
                found.append(f"{word}: {' '.join(str(error).splitlines()[0].split())}")
    typed = {_key(o) for o in given[1]}
    parsed = [o for o in given[0] if _key(o) not in typed] + given[1]
    times = [_key(o) for o in parsed]
    domains: dict[str, Domain] = {}
    for o in parsed:
        if not o.key:
            found.append(f"{o.text}: has no key; allowed: key=value")
        elif o.sweeps:
            if times.count(_key(o)) > 1:
                found.append(f"{_key(o)}: given {times.count(_key(o))} times; allowed: once in a search")
            try:
                domains[o.name] = _domain(o)
            except (ValueError, HydraError) as error:
                found.append(f"{o.text}: {error}")
    if not domains and not found:
        example = "'optim.lr=tag(log, interval(1e-4, 1e-1))' act=relu,gelu"
        found.append(
            f"hydra/sweeper=optuna: nothing to search in; allowed: keys with several values, such as {example}"
        )
    if found:
        raise InvalidConfig(dict.fromkeys(found))
    return SearchSpace(domains, tuple(o.text for o in parsed if not o.sweeps))


def _key(override: Override) -> str:
    return override.name.lstrip("+~")


def _typed(value: Any) -> str:
    """A value of a YAML file as it is typed on the command line, where text may hold a sweep."""
    if isinstance(value, str):
        return value
    return show(value) if value is None or isinstance(value, bool) else str(value)


def _domain(override: Override) -> Domain:
    """The domain that an override describes. Raises ValueError for none, or an impossible one."""
    tags = override.tags
    if unknown := sorted(tags - {"log", "int"}):
        raise ValueError(f"unknown tag {', '.join(unknown)}; known: log, int")
    if override.interval is not None:
        return _numbers(*override.interval, None, tags)
    if override.range is not None:
        return _numbers(*override.range, tags)
    if tags:
        raise ValueError(f"tag {', '.join(sorted(tags))} is for numbers; allowed: interval(a, b) or range(a, b)")
    texts = override.texts()  # in the order that they were typed in, which is part of the study
    if not texts:
        raise ValueError("no values; allowed: at least one")
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise ValueError(f"{twice} appears twice; allowed: different values")
    return Options(texts)


def _numbers(low: Any, high: Any, step: Any, tags: set[str]) -> Numbers:
    whole = "int" in tags or all(isinstance(n, int) for n in (low, high, step) if n is not None)
    log = "log" in tags
    if not all(math.isfinite(n) for n in (low, high)):
        raise ValueError("without end; allowed: finite numbers")
    if low > high:
        raise ValueError(f"holds no number; allowed: the smaller one first, interval({show(high)}, {show(low)})")
    if step is not None and step <= 0:
        raise ValueError(f"step {show(step)} not allowed; allowed: a step > 0")
    if whole and any(n != int(n) for n in (low, high, step or 1)):
        raise ValueError("not whole; allowed: whole numbers with int")
    if log and low <= 0:
        raise ValueError(f"{show(low)} has no logarithm; allowed: numbers > 0 with tag log")
    if log and step not in (None, 1 if whole else None):
        raise ValueError("a step and a logarithm exclude each other; allowed: interval(a, b) with tag log")
    if whole:
        low, high, step = int(low), int(high), int(step or 1)
    if step is not None and not log:  # the last number that the steps reach
        exact = Decimal(str(step))
        high = Decimal(str(low)) + (Decimal(str(high)) - Decimal(str(low))) // exact * exact
        high = int(high) if whole else float(high)
    return Numbers(low, high, step, log, whole)
