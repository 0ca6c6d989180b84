"""Compares two runs: what changed, what stayed the same, what can't be compared."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from dlrun.compare.compare_rows import Pair, RowComparison, compare_rows, same
from dlrun.runs import atomic, rundir
from dlrun.runs.metric_names import how_it_ran
from dlrun.runs.run import Run, stamp
from dlrun.runs.runs import Runs

ABSENT: Any = object()
"""Stands for a value that a run does not have."""

TIMING = ("seconds", "steps_per_second", "stack", "stack_steps_per_second", "peak_memory")
CODE = ("git.commit", "git.dirty", "versions.dlrun")
MACHINE = ("host", "platform", "device", "devices", "processes", "threads")
DATA = ("data.", "split.", "rows.")
DEPENDS = (
    ("*/*", DATA, "metrics of other rows"),
    ("*/loss", ("loss.",), "another loss"),
    ("train/*", ("log.every",), "means over other steps"),
)
"""Patterns of metrics, beginnings of keys on which their meaning depends, and what they are if such a key differs."""


@dataclass
class Section:
    """One respect in which runs are compared.

    Args:
      changed: by key, the old value and the new one.
      unchanged: how many keys have equal values.
      counts: whether a change makes the runs different.
    """

    changed: dict[str, Pair] = field(default_factory=dict)
    unchanged: int = 0
    counts: bool = True

    @property
    def differs(self) -> bool:
        return self.counts and not all(map(how_it_ran, self.changed))


@dataclass
class Incomparable:
    """Values that can't be compared.

    Args:
      reason: why.
      values: those of both runs, by key; :data:`ABSENT` if a run has none.
      counts: whether this makes the runs different.
    """

    reason: str
    values: dict[str, Pair]
    counts: bool = True


@dataclass
class Difference:
    """How two runs differ.

    Args:
      sections: ``configuration``, ``metrics``, ``timing``, ``code`` and ``environment``.
      rows: how their metrics compare row by row.
      incomparable: what can't be compared.
    """

    runs: tuple[Run, Run]
    sections: dict[str, Section]
    rows: RowComparison
    incomparable: list[Incomparable]

    @property
    def differing(self) -> list[str]:
        """The respects in which the runs are not equal."""
        names = [name for name, section in self.sections.items() if section.differs]
        names += ["rows"] if self.rows.differs else []
        return names + (["incomparable"] if any(incomparable.counts for incomparable in self.incomparable) else [])


def difference(a: Run, b: Run) -> Difference:
    """Compares two runs, finished or not."""
    incomparable: list[Incomparable] = []
    alone: dict[str, Pair] = {}
    configuration = _configuration(a, b, incomparable, alone)
    reason = _reasons(a, b, configuration.changed)
    metrics = _metrics(a, b, reason, incomparable, alone)
    if a.facts.get("git.dirty") and b.facts.get("git.dirty"):
        incomparable.append(
            Incomparable("uncommitted changes, whose content is not recorded", {"git.dirty": (True, True)}, False)
        )
    sections = {
        "configuration": configuration,
        "metrics": metrics,
        "timing": _compared(_facts(a, b, TIMING), alone),
        "code": _compared(_facts(a, b, CODE), alone),
        "environment": _compared([_environment(run) for run in (a, b)], alone),
    }
    sections["timing"].counts = False
    if alone:
        incomparable.append(Incomparable("only in one of them", alone, not all(map(how_it_ran, alone))))
    return Difference((a, b), sections, compare_rows(a, b, lambda name: reason(name) is None), incomparable)


def _compared(sides: Iterable[dict[str, Any]], alone: dict[str, Pair]) -> Section:
    """Compares the values of two runs by key; values that only one run has are added to ``alone``."""
    (left, right), section = sides, Section()
    for key in dict.fromkeys([*left, *right]):
        pair = left.get(key, ABSENT), right.get(key, ABSENT)
        if ABSENT in pair:
            alone[key] = pair
        elif not same(*pair):
            section.changed[key] = pair
        else:
            section.unchanged += 1
    return section


def _configuration(a: Run, b: Run, incomparable: list[Incomparable], alone: dict[str, Pair]) -> Section:
    """The configuration, and what follows from it: sizes of data and model, a teacher's state, how data is prepared.

    The keys of different options of a choice are not compared, as in :attr:`Runs.differing`.
    """
    keys = Runs([a, b], {}).keys
    values = [{key: run.config[key] for key in keys if key in run.config} for run in (a, b)]
    for choice in [key for key in keys if key.endswith(".name") and key.count(".") == 1]:
        options = [side.get(choice) for side in values]
        if None not in options and options[0] != options[1]:
            section = choice.removesuffix("name")
            of = [key for key in keys if key.startswith(section) and key != choice]
            pairs = {key: (values[0].pop(key, ABSENT), values[1].pop(key, ABSENT)) for key in of}
            if pairs:
                incomparable.append(Incomparable(" and ".join(f"{section[:-1]}={option}" for option in options), pairs))
    for run, side in zip((a, b), values, strict=True):
        side |= {k: v for k, v in run.facts.items() if k == "parameters" or k.startswith(("rows.", "teacher."))}
    section = _compared(values, alone)
    if not any(key.startswith(DATA) for key in section.changed):
        prepared = [_prepared(run) for run in (a, b)]
        both = {key: (prepared[0][key], prepared[1][key]) for key in prepared[0] if key in prepared[1]}
        if changed := {key: pair for key, pair in both.items() if not same(*pair)}:
            incomparable.append(Incomparable(f"other data, according to {rundir.DATA}", changed))
    return section


def _facts(a: Run, b: Run, keys: Iterable[str]) -> list[dict[str, Any]]:
    """Facts that at least one of the runs has; None for the other, which may not have ended yet."""
    told = [key for key in keys if any(run.facts.get(key) is not None for run in (a, b))]
    return [{key: run.facts.get(key) for key in told} for run in (a, b)]


def _prepared(run: Run) -> dict[str, Any]:
    """How a run's data was turned into inputs and targets: means, categories, names of classes."""
    file = run.directory / rundir.DATA
    return (atomic.read_json(file) if stamp(str(file)) != "-" else None) or {}


def _environment(run: Run) -> dict[str, Any]:
    versions = [key for key in run.facts if key.startswith("versions.") and key not in CODE]
    return {key: run.facts[key] for key in (*versions, *MACHINE) if key in run.facts}


class Reason(NamedTuple):
    """Why metrics can't be compared; ``counts`` as in :class:`Incomparable`."""

    text: str
    counts: bool = True


def _reasons(a: Run, b: Run, changed: Iterable[str]) -> Callable[[str], Reason | None]:
    """A function that returns why a metric, named as in summary.json, can't be compared, or None if it can."""
    found = []
    for metrics, keys, what in DEPENDS:
        causes = [k for k in changed if k.startswith(keys) and (k in keys or not how_it_ran(k))]
        if causes:
            text = f"{what}, as {', '.join(causes)} {'differs' if len(causes) == 1 else 'differ'}"
            found.append((metrics, Reason(text, not all(map(how_it_ran, causes)))))
    chose = [" ".join(run.main) for run in (a, b)]  # such as "val/loss min"

    def reason(name: str) -> Reason | None:
        metric = name.removeprefix("best/")
        best = Reason(f"best by {chose[0]} and by {chose[1]}") if name != metric and a.main != b.main else None
        return next((why for metrics, why in found if fnmatchcase(metric, metrics)), best)

    return reason


def _metrics(
    a: Run, b: Run, reason: Callable[[str], Reason | None], incomparable: list[Incomparable], alone: dict[str, Pair]
) -> Section:
    """Compares how far the runs came, and the metrics of the best state, last validation, test, and training."""
    values = [run.results() for run in (a, b)]
    reasons: dict[Reason, dict[str, Pair]] = {}
    for name in [name for name in values[0] if name in values[1]]:
        if (why := reason(name)) is not None:
            reasons.setdefault(why, {})[name] = values[0].pop(name), values[1].pop(name)
    incomparable += [Incomparable(why.text, pairs, why.counts) for why, pairs in reasons.items()]
    order = {name: i for i, name in enumerate(("best", "val", "test", "train"))}
    ordered = [dict(sorted(v.items(), key=lambda kv: order.get(kv[0].split("/")[0], -1))) for v in values]
    return _compared(ordered, alone)
