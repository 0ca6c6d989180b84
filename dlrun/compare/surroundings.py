"""Differences between runs that are not in their configurations: contents of the data, package versions, devices.

Nobody chooses these, so runs are not paired, averaged or left out because of them: the differences are only mentioned.
What a run does not record (older ones have no digest of their data) is not compared.
"""

from collections.abc import Iterable

from dlrun.runs.loading import DATA
from dlrun.runs.metric_names import how_it_ran
from dlrun.runs.run import Run

__all__ = ["mixed", "other_data", "others"]

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
