"""Groups jobs that share a program and its data, so that one compilation and one copy of the data serve them all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.config.plan import Plan
from dlrun.data.dataset import Dataset
from dlrun.data.fingerprint import changed_since, changes
from dlrun.errors import InvalidConfig
from dlrun.program.setup import Setup, prepare, with_plan
from dlrun.sweep.jobs.job import Job, taken_from
from dlrun.train.sinks import missing

LENGTH_AND_RECORDS = (
    "seed", "epochs", "steps", "on_nonfinite", "max_skipped", "early_stop", "checkpoint", "log",
)  # fmt: skip
"""Settings that the compiled functions do not depend on; nor do they on the numbers in the state."""


@dataclass(frozen=True)
class Group:
    """Jobs that differ only in numbers of the state, seed, length and records.

    Args:
      key: identifies the group.
      jobs: at least one.
      setups: one for each job; they share all but the plan.
    """

    key: str
    jobs: list[Job]
    setups: list[Setup]


def grouped(jobs: list[Job], known: dict[str, Setup] | None = None) -> list[Group]:
    """Groups jobs in the order of their first ones, and makes all checks that need the data and the model.

    Args:
      known: a setup of each earlier group, by key; its data and program are used again.

    Raises:
      InvalidConfig: with all that is wrong with any job.
    """
    by_key: dict[str, list[Job]] = {}
    for job in jobs:
        by_key.setdefault(key(job.plan), []).append(job)
    groups, problems, loaded = [], [], {}
    for text, members in by_key.items():
        setups, like = [], (known or {}).get(text)
        for job in members:
            try:
                lacking = missing(job.plan.settings.log.sinks)
                like = with_plan(like, job.plan, lacking) if like else prepare(job.plan, loaded, lacking)
                setups.append(like)
            except InvalidConfig as error:
                problems += error.problems
                if not like:  # the program can't be prepared: all jobs have this error
                    break
        groups.append(Group(text, members, setups))
    if problems:
        raise InvalidConfig(dict.fromkeys(problems))
    return groups


def same_data(groups: Sequence[Group], there: dict[str, list[tuple[Path, dict[str, Any]]]], sweep: Path) -> None:
    """Checks that groups have the data that the runs of their sweep were trained on, so that runs can be compared.

    Args:
      there: the result of :meth:`~dlrun.sweep.folder.Folder.data`; data that no run has used yet is added.
      sweep: its directory.

    Raises:
      InvalidConfig: where the data changed, or runs of the sweep differ in it.
    """
    problems = []
    for group in groups:
        now = identity_of(group.setups[0].data)
        runs = there.setdefault(taken_from(group.setups[0].plan.values), [(sweep, now)])
        if mixed := _mixed(runs):
            problems.append(mixed)
        elif changed := [(run, words) for run, before in runs if (words := changes(before, now))]:
            run, words = changed[0]
            problems.append(f"{run}: {changed_since(words)}; allowed: the earlier data, or a new sweep")
    if problems:
        raise InvalidConfig(dict.fromkeys(problems))


def _mixed(runs: list[tuple[Path, dict[str, Any]]]) -> str:
    """Names the runs that were trained on other data than the first one was; empty where there are none.

    A run that is resumed by itself may accept changed data.
    """
    path, first = runs[0]
    others = [(run, words) for run, data in runs[1:] if (words := changes(first, data))]
    if not others:
        return ""
    shown = ", ".join(str(run) for run, _ in others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return f"{shown}: not trained on the same data as {path}: {'; '.join(others[0][1])}; allowed: a new sweep"


def identity_of(data: Dataset) -> dict[str, Any]:
    """The part of data.json that a sweep compares data by."""
    return {"classes": list(data.classes), "fingerprint": data.fingerprint}


def key(plan: Plan) -> str:
    """Text that is equal for jobs of the same group, and for no others."""
    values = {k: v for k, v in plan.values.items() if k not in LENGTH_AND_RECORDS}
    values["eval"] = {**values["eval"], "every": None}
    return json.dumps(_without(values, plan.numbers), sort_keys=True, default=str)


def _without(values: Any, numbers: dict[str, float], path: str = "") -> Any:
    """Values with each number of the state replaced by a word: the program depends on its presence, not its value."""
    if not isinstance(values, dict):
        return "number" if path in numbers else values
    return {k: _without(v, numbers, f"{path}.{k}" if path else k) for k, v in values.items()}
