"""Chooses which saved states of a run to delete, and deletes them.

A state is renamed before it is deleted, so that whenever the process is killed, every state is whole or does not count.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dlrun.runs import files, loading, manifest, rundir
from dlrun.runs.lock import InUse, in_use, locked
from dlrun.runs.run import Run


class LeftAlone(Exception):
    """No state of a run may be deleted; the message says why."""


class Student(NamedTuple):
    """A run that learns from a state of another one, its teacher.

    Args:
      path: its directory.
      teacher: the teacher's directory, as ``loss.teacher`` says.
      step, sha256: which state that is, and of its manifest; None where that is not known: it may be any of them.
    """

    path: str
    teacher: str
    step: int | None = None
    sha256: str | None = None


def students(runs: Iterable[Run]) -> list[Student]:
    """Those of the runs that have a teacher."""
    found = []
    for run in runs:
        step, sha256 = run.facts.get("teacher.step"), run.facts.get("teacher.sha256")
        if isinstance(teacher := run.config.get("loss.teacher"), str):
            step = step if isinstance(step, int) else None
            found.append(Student(run.path, teacher, step, sha256 if isinstance(sha256, str) else None))
    return found


class Needed:
    """Which states of a run its students need.

    Nobody recorded from which folder a relative ``loss.teacher`` was meant. So it may be any run whose path ends like
    that, or that has it below this folder or one that the student lies in; or a state of the recorded SHA-256 wherever.
    """

    def __init__(self, students: Iterable[Student]):
        self._places: dict[str, set[Student]] = defaultdict(set)
        self._sums: dict[str, set[Student]] = defaultdict(set)
        for student in students:
            teacher = os.path.expanduser(student.teacher)
            known = teacher.rpartition("}")[2] if "${" in teacher else teacher
            if not os.path.isabs(teacher):
                ends = os.path.normpath(known.lstrip("/")).split("/")
                if end := "/".join(part for part in ends if part not in ("", ".", "..")):
                    self._places[end].add(student)
            for folder in (Path(), *Path(os.path.abspath(student.path)).parents):
                self._places[os.path.realpath(folder / teacher)].add(student)
            if student.sha256 is not None:
                self._sums[student.sha256].add(student)

    def of(self, run: Run) -> dict[int, str]:
        """The directory of a student that needs it, by step of the run's states."""
        if not self._places:
            return {}
        real, folder = os.path.realpath(run.path), run.directory / rundir.CHECKPOINTS
        parts = [place.strip("/").split("/") for place in (real, os.path.abspath(run.path))]
        ends = {"/".join(names[i:]) for names in parts for i in range(len(names))}
        near = {student for place in {real, *ends} for student in self._places.get(place, ())}
        found: dict[int, str] = {}
        for step in manifest.steps(folder):
            same = self._sums.get(manifest.identity(folder / str(step)) or "", set()) if self._sums else set()
            mine = same | {student for student in near if student.step in (None, step)}
            if mine:
                found[step] = min(student.path for student in mine)
        return found


class State(NamedTuple):
    """The folder of a state; ``step`` is None if it was set aside as unsound, or never completely written."""

    name: str
    step: int | None
    bytes: int


@dataclass(frozen=True)
class Plan:
    """Which states of a run are deleted, and which are kept.

    Args:
      folder: where the states are.
      kept: why each step is kept.
      gone: the states to delete.
    """

    folder: Path
    kept: dict[int, str]
    gone: list[State]

    @property
    def bytes(self) -> int:
        return sum(state.bytes for state in self.gone)


def plan(run: Run, keep: tuple[str, ...], needed: Mapping[int, str]) -> Plan:
    """Chooses the states of a run to delete.

    Args:
      keep: which states to keep: ``best``, ``last``, both or none.
      needed: other steps to keep, and why.

    Raises:
      LeftAlone: if a state to keep does not exist, or a process works in the directory.
      OSError: if the folder of states can't be read.
    """
    if in_use(run.directory):
        raise LeftAlone("in use")
    return _plan(run, keep, needed)


def delete(run: Run, keep: tuple[str, ...], needed: Mapping[int, str]) -> Plan:
    """Deletes states of a run; returns what was deleted and kept.

    Raises:
      LeftAlone: as :func:`plan`, and if a state to keep is damaged, or the run was resumed meanwhile.
      OSError: if something can't be deleted.
    """
    try:
        with locked(run.directory):
            now = loading.read(run.path)
            if isinstance(now, str) or now["run"] != run.facts:
                raise LeftAlone("it changed meanwhile")
            chosen = _plan(run, keep, needed)
            for step in chosen.kept:
                if not manifest.verify(chosen.folder / str(step)):
                    raise LeftAlone(f"its state of step {step}, which would be kept, is damaged")
            for state in chosen.gone:
                aside = chosen.folder / state.name
                manifest.discard(aside if state.step is None else manifest.retire(chosen.folder, state.name))
            return chosen
    except InUse:
        raise LeftAlone("in use") from None


def _plan(run: Run, keep: tuple[str, ...], needed: Mapping[int, str]) -> Plan:
    folder = run.directory / rundir.CHECKPOINTS
    if files.kind(folder) == "link":
        raise LeftAlone(f"its {rundir.CHECKPOINTS}/ is a link")
    found = _states(folder)
    numbered = [state.step for state in found if state.step is not None]
    whole = [step for step in numbered if files.kind(folder / str(step) / manifest.MANIFEST) == "file"]
    if keep and numbered and not whole:
        raise LeftAlone("none of its states is complete")
    kept: dict[int, str] = {}
    for which in keep if whole else ():
        step = max(whole) if which == "last" else _best(run, folder, max(whole))
        if step not in whole:
            raise LeftAlone(f"its best state, of step {step}, is missing")
        kept[step] = f"{kept[step]}, {which}" if step in kept else which
    for step in [step for step in numbered if step in needed]:
        kept[step] = f"{kept[step]}, {needed[step]}" if step in kept else needed[step]
    return Plan(folder, kept, [state for state in found if state.step not in kept])


def _best(run: Run, folder: Path, last: int) -> int:
    """The step of the best state; of a run that was never evaluated, the last step."""
    step = run.summary.get("best/step")
    if not isinstance(step, int):
        try:
            step = manifest.best(folder / str(last))
        except ValueError:
            raise LeftAlone(f"its state of step {last} does not say which one is the best") from None
    return last if step is None else step


def _states(folder: Path) -> list[State]:
    """The states of a run in ascending order, after those that were set aside. Links are left out."""
    if files.kind(folder) is None:
        return []
    os.listdir(folder)  # raises where it can't be read
    aside = [State(name, None, rundir.size(folder / name)) for name in manifest.others(folder)]
    ours = [step for step in manifest.steps(folder) if manifest.is_ours(folder / str(step))]
    return aside + [State(str(step), step, rundir.size(folder / str(step))) for step in ours]
