"""``dlrun prune``: deletes saved states by rule: flags say of which runs, and which of their states stay."""

import argparse
import contextlib
import io
import math
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dlrun.cli.arguments import Parser, add_folders, add_where
from dlrun.display.units import noun, prefixed
from dlrun.errors import InvalidConfig, nearest, safe, show, tell
from dlrun.runs import loading, rundir
from dlrun.runs.prune import LeftAlone, Needed, Plan, Student, delete, plan, students
from dlrun.runs.run import Run
from dlrun.runs.runs import Runs
from dlrun.runs.status import FAILED, OVER
from dlrun.runs.times import instant

KEEP = ("best", "last", "best,last", "none")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
EPILOG = """\
Without --failed or --unfinished, only runs that are over are considered:
completed, diverged, or pruned by a search. A run that is in use is never
touched, nor is a state from which an unfinished run learns (loss=distillation).
A run that is resumed later goes on from the last state that it still has: if
only the best one is left, the steps after it are trained again, with the same
result. Without any state, a run that was completed, stopped or pruned can't be
resumed; any other starts over.

  dlrun prune --keep best                   says what it would delete: all
                                            states but the best of finished runs
  dlrun prune --keep best --delete          deletes them
  dlrun prune --failed --keep none          all states of runs that failed
  dlrun prune --older-than 30d --keep none  all states of runs that ended more
                                            than 30 days ago
  dlrun prune SWEEP --keep best --where 'act=relu and val/accuracy<0.9'
"""


def parser() -> Parser:
    """The parser of the command's words and flags."""
    p = Parser("dlrun prune", description="Deletes saved states of runs by rule.", epilog=EPILOG)
    add_folders(p)
    which = p.add_argument_group("which runs (all of these must hold)")
    status = which.add_mutually_exclusive_group()
    status.add_argument("--failed", action="store_true", help="only runs that failed or diverged")
    status.add_argument(
        "--unfinished",
        action="store_true",
        help="also runs that failed, were stopped or killed, and can still be resumed",
    )
    which.add_argument(
        "--older-than",
        type=_seconds,
        metavar="AGE",
        help="only runs that ended longer ago than this, such as 30d; units: s, m, h, d, w",
    )
    add_where(which)
    what = p.add_argument_group("which states")
    what.add_argument("--keep", type=_keep, metavar="WHICH", help="which states to keep: best, last, best,last or none")
    doing = p.add_mutually_exclusive_group()
    doing.add_argument(
        "--delete", action="store_true", help="delete the states (default: only say what would be deleted)"
    )
    doing.add_argument("--dry-run", action="store_true", help="only say what would be deleted (the default)")
    p.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    return p


def main(argv: list[str]) -> int:
    """Tells what would be deleted, or deletes it; returns 1 where something could not be, else 0.

    Raises:
      InvalidConfig: with what is wrong with the words, before anything is deleted.
    """
    args = parser().read(argv)
    if args.keep is None:
        raise InvalidConfig([f"--keep: missing; say which states to keep; allowed: {'; '.join(KEEP)}"])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names of folders may hold anything
    folders = args.folders or [rundir.OUTPUTS]
    runs = loading.load(folders)
    for path, why in runs.skipped.items():
        tell(f"skipped: {path}: {why}")
    if not runs:
        tell(f"no runs below {', '.join(folders)}")
        return 0 if args.format == "table" else _prune([], Needed([]), Needed([]), args, [])
    return _prune(_chosen(runs, args), *_students(runs, folders), args, [os.path.realpath(f) for f in folders])


def _chosen(runs: Runs, args: argparse.Namespace) -> list[Run]:
    """The runs that the flags choose; prints which others are left alone."""
    found = list(runs.where(args.where) if args.where else runs)
    if args.older_than is not None:
        found = [run for run in found if _ended(run) < time.time() - args.older_than]
    if args.failed:
        return [run for run in found if run.status in FAILED]
    may_go_on = Counter(run.status for run in found if run.status not in (*OVER, "running"))
    if may_go_on and not args.unfinished:
        counts = ", ".join(f"{n} {status}" for status, n in may_go_on.items())
        tell(f"left alone, as they can still be resumed: {counts} (--unfinished includes them)")
    return [run for run in found if args.unfinished or run.status not in may_go_on]


def _ended(run: Run) -> float:
    """When a run ended, in seconds since 1970; if run.json does not say, when the run last wrote a file."""
    if (found := instant(run.facts.get("end"))) is not None:
        return found
    wrote = -math.inf
    for name in (rundir.RUN, rundir.METRICS):
        with contextlib.suppress(OSError):
            wrote = max(wrote, os.lstat(os.path.join(run.path, name)).st_mtime)
    return wrote


def _students(runs: Runs, folders: list[str]) -> tuple[Needed, Needed]:
    """What all known students need, and what those need that are not over; prints of which runs this is not known.

    A student may lie elsewhere: what is known of are those in the same folders, and where runs usually are, here and
    around each folder.
    """
    places = [rundir.OUTPUTS]
    for folder in folders:
        path = Path(os.path.abspath(folder))
        places += [str(above) for above in path.parents if above.name == rundir.OUTPUTS]
    more = loading.load(places) if (places := [p for p in places if os.path.isdir(p)]) else Runs([], {})
    every, lost = [*runs, *more], []
    for path in {os.path.realpath(path): path for path in [*more.skipped, *runs.skipped]}.values():
        teacher = (config := loading.configuration(path, {})).get("loss.teacher")
        lost += [Student(path, teacher)] if isinstance(teacher, str) else []
        if not config and os.path.lexists(os.path.join(path, rundir.CONFIG)):
            tell(f"warning: {path}: {rundir.CONFIG} can't be read either, so states that it learns from may be deleted")
    unfinished = students(run for run in every if run.status not in OVER)
    return Needed([*students(every), *lost]), Needed([*unfinished, *lost])


def _prune(
    runs: list[Run],
    students: Needed,
    unfinished: Needed,
    args: argparse.Namespace,
    roots: list[str],
) -> int:
    """Deletes states of each run, or tells which would be; problems of one run do not stop the others.

    Args:
      students, unfinished: what all runs that have a teacher need of these, and what those need that are not over.
    """
    done: list[Plan] = []
    failed = False
    for run in runs:
        real = os.path.realpath(run.path)
        try:
            if not any(os.path.commonpath([real, root]) == root for root in roots):
                raise LeftAlone("it is reached through a link")
            learnt = students.of(run)
            needed = {step: f"{path} learns from it" for step, path in unfinished.of(run).items()}
            found = plan(run, args.keep, needed)
            if found.gone and args.delete:
                found = delete(run, args.keep, needed)
        except LeftAlone as why:
            tell(f"left alone: {run.path}: {why}")
        except OSError as error:
            failed = True
            text = ": ".join(filter(None, [(error.strerror or str(error)).lower(), error.filename]))
            tell(f"error: {run.path}: {text}")
        else:
            done += [found] if found.gone else []
            _tell(found, needed, learnt, args.format == "table")
    if args.format == "json":
        from dlrun.display.page import print_json

        print_json({"deleted": args.delete, "bytes": sum(p.bytes for p in done), "runs": list(map(_record, done))})
    elif done:
        states = sum(len(p.gone) for p in done)
        counts = f"{states} {noun(states, 'state')} of {len(done)} {noun(len(done), 'run')}"
        end = "deleted" if args.delete else "would be deleted; --delete deletes them"
        print(f"{prefixed(sum(p.bytes for p in done), 'B'):>8}  {counts} {end}")
    elif not failed:
        tell("nothing to delete")
    return int(failed)


def _record(plan: Plan) -> dict[str, Any]:
    """What is deleted of a run and what stays, as plain values."""
    gone = [state._asdict() for state in plan.gone]
    kept = [{"step": step, "why": why} for step, why in plan.kept.items()]
    return {"directory": str(plan.folder.parent), "bytes": plan.bytes, "deletes": gone, "keeps": kept}


def _tell(found: Plan, needed: dict[int, str], students: dict[int, str], line: bool) -> None:
    """Prints a line of what is deleted, if it is to be one, and which students need what goes, or is
    all that could go."""
    if found.gone and line:
        print(safe(_line(found)), flush=True)
    if not found.gone and (only := [f"{step} ({why})" for step, why in found.kept.items() if why == needed.get(step)]):
        tell(f"left alone: {found.folder.parent}: keeps {', '.join(only)}")
    for step in [state.step for state in found.gone if state.step in students]:
        why = f"{students[step]} learnt from its state of step {step} and can't be resumed without it"
        tell(f"notice: {found.folder.parent}: {why}")


def _line(plan: Plan) -> str:
    """``1.5 MB  RUN  deletes 20; keeps 40 (best)``."""
    names = [state.name for state in plan.gone]
    some = ", ".join(names) if len(names) < 5 else f"{names[0]}, {names[1]} … {names[-1]} ({len(names)} states)"
    kept = ", ".join(f"{step} ({why})" for step, why in plan.kept.items())
    return f"{prefixed(plan.bytes, 'B'):>8}  {plan.folder.parent}  deletes {some}; keeps {kept or 'none'}"


def _keep(text: str) -> tuple[str, ...]:
    words = tuple(sorted(text.split(",")))
    if ",".join(words) not in KEEP:
        raise argparse.ArgumentTypeError(f"{show(text)}: not allowed{nearest(text, KEEP)}; allowed: {'; '.join(KEEP)}")
    return words if text != "none" else ()


def _seconds(text: str) -> float:
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)([{''.join(UNITS)}])", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"{show(text)}: not allowed; allowed: a number and s, m, h, d or w, as in 30d")
    return float(found[1]) * UNITS[found[2]]
