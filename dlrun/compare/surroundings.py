"""What runs were trained on and with: the data set, its contents, package versions, devices.

Metrics of different data sets say nothing about each other: such groups are not compared, nor drawn in one picture.
Nobody chooses contents, versions and devices, so runs are not paired, averaged or left out because of them: the
differences are only mentioned. What a run does not record (older ones have no digest of their data) is not compared.
"""

from collections.abc import Iterable
from typing import Any

from dlrun.errors import show
from dlrun.runs.loading import DATA
from dlrun.runs.metric_names import how_it_ran
from dlrun.runs.run import Run
from dlrun.runs.runs import NOT_RECORDED

__all__ = ["data_sets", "mixed", "other_data", "others"]

SET = ("data.name", "data.path", "data.target")
"""The keys that say which data set a run was trained on; what else is in ``data.`` says how that is prepared."""

FACTS = {**{f"versions.{name}": name for name in ("dlrun", "jax", "jaxlib", "flax")}, "device": "device"}


def others(group: Iterable[Run], baseline: Iterable[Run]) -> list[str]:
    """Versions and devices in which two groups differ, such as ``jax 0.10.2 against 0.12.0``."""
    sides, found = [list(group), list(baseline)], {}
    for fact, name in FACTS.items():
        told = [sorted({value for run in side if isinstance(value := run.facts.get(fact), str)}) for side in sides]
        if all(told) and told[0] != told[1]:
            found[name] = " against ".join(map(", ".join, told))
    if found.get("jaxlib") == found.get("jax"):  # they go together
        found.pop("jaxlib", None)
    return [f"{name} {values}" for name, values in found.items()]


def data_sets(runs: Iterable[Run]) -> dict[Run, str]:
    """The data set of each run: ``digits``, or ``table houses.csv price``.

    Files elsewhere with the same contents, as their digests tell, are the same data set.
    """
    named = {run: " ".join(show(v, None) for key in SET if (v := run.config.get(key)) is not None) for run in runs}
    first: dict[tuple[Any, str], str] = {}
    same: dict[str, str] = {}
    for run, name in named.items():
        if isinstance(digest := run.facts.get(DATA), str):
            same.setdefault(name, first.setdefault((run.config.get(SET[0]), digest), name))
    return {run: same.get(name, name) or NOT_RECORDED for run, name in named.items()}


def other_data(group: Iterable[Run], baseline: Iterable[Run]) -> bool:
    """Whether two groups were trained on different data with the same settings for it."""
    a, b = _digests(group), _digests(baseline)
    return any(a[settings] != b[settings] for settings in a.keys() & b.keys())


def mixed(runs: Iterable[Run]) -> bool:
    """Whether runs were trained on different data with the same settings for it."""
    return any(len(digests) > 1 for digests in _digests(runs).values())


def _digests(runs: Iterable[Run]) -> dict[str, set[str]]:
    """Digests of the data, by the settings that decide which data that is."""
    found: dict[str, set[str]] = {}
    for run in runs:
        if isinstance(digest := run.facts.get(DATA), str):
            chosen = [(k, v) for k, v in run.config.items() if k.startswith(("data.", "split.")) and not how_it_ran(k)]
            found.setdefault(repr(sorted(chosen, key=lambda item: item[0])), set()).add(digest)
    return found
