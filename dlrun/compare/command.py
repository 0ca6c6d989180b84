"""``dlrun compare``: which runs there are, what their groups came to, and whether the differences are real."""

import argparse
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlrun.arguments import Parser
from dlrun.compare.loading import DEFAULT, load, no_collection
from dlrun.compare.runs import At
from dlrun.compare.view import View, notice
from dlrun.schema import InvalidConfig

LINES = 20  # of a table on a terminal, unless --limit says another number
EPILOG = """\
Runs are found at any depth below the folders. Those that differ in seeds alone are a group; only completed runs are
averaged. A group is tested against the baseline by pairs of runs that match in seed and all else (Student's t for few,
sign flips, exactly, from 8 pairs on), or by Welch's t where there are no pairs; p is corrected for the number of
comparisons (Holm). Fewer than 3 seeds are never tested.

  dlrun compare                                            all runs below outputs/
  dlrun compare SWEEP --group-by act,norm --baseline 'act=relu and norm=none'
  dlrun compare --where 'model=resnet and optim.lr<0.01 and status=completed' --metric test/accuracy
  dlrun compare SWEEP --until val/accuracy=0.95            steps and seconds to get there
  dlrun compare SWEEP --report report.html --plot curves.png
  dlrun resume "$(dlrun compare --best)" epochs=50         goes on with the best run
"""


def parser() -> Parser:
    """The flags."""
    p = Parser("dlrun compare", description=(__doc__ or "").split(": ")[1], epilog=EPILOG)
    p.add_argument("folders", nargs="*", metavar="DIR", help=f"runs, sweeps or folders of them (default: {DEFAULT})")
    which = p.add_argument_group("which runs")
    which.add_argument("--where", metavar="CONDITION", help="those for which it holds: key=value, <, in, and, or, not")
    which.add_argument("--sort", metavar="COLUMN", help="by a column, smallest first (default: best first)")
    which.add_argument("--reverse", action="store_true", help="the other way round")
    which.add_argument("--limit", type=_lines, metavar="N", help=f"lines of a table (a terminal: {LINES}), or all")
    what = p.add_argument_group("what of them")
    what.add_argument(
        "--metric", action="append", metavar="NAME,…", help="such as test/accuracy (default: the main one)"
    )
    what.add_argument("--at", type=_at, default="best", metavar="WHEN", help="best (default), last, min, max or step=N")
    what.add_argument(
        "--until",
        action="append",
        default=[],
        type=_target,
        metavar="METRIC=VALUE",
        help="steps and seconds to reach it",
    )
    what.add_argument("--columns", metavar="NAME,…", help="exactly these: keys, facts of run.json, metrics")
    what.add_argument("--all-columns", action="store_true", help="all keys and facts, not only those that differ")
    how = p.add_argument_group("groups")
    how.add_argument(
        "--group-by", metavar="KEY,…", help="groups alone, by these keys (default: all that differ but seeds)"
    )
    how.add_argument(
        "--baseline", metavar="GROUP", help="what the others are held against, such as act=relu (default: the first)"
    )
    how.add_argument(
        "--detect", type=_positive, metavar="SIZE", help="the difference that is worth finding, in the metric's unit"
    )
    out = p.add_argument_group("output")
    one = out.add_mutually_exclusive_group()
    one.add_argument("--format", choices=("table", "csv", "json", "md", "latex"), default="table")
    one.add_argument("--paths", action="store_true", help="the directories alone, for $(…)")
    one.add_argument("--best", action="store_true", help="the directory of the best run alone")
    out.add_argument("--plot", type=Path, metavar="FILE", help="curves of the groups: .png, .svg or .pdf")
    out.add_argument("--report", type=Path, metavar="FILE", help="all of it as one page to open in a browser: .html")
    return p


def main(argv: list[str]) -> int:
    """Prints what was asked for.

    Raises:
      InvalidConfig: with what is wrong with the words, before anything is written.
    """
    args = parser().read(argv)
    _writable(args)
    with no_collection():  # a tenth of the time, with 10,000 runs
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    folders = args.folders or [DEFAULT]
    runs = load(folders)
    notice("skipped", "folders", [f"{path}: {why}" for path, why in runs.skipped.items()])
    if not runs:
        raise InvalidConfig([f"no runs below {', '.join(folders)}"])
    if args.where and not (chosen := runs.where(args.where)):
        raise InvalidConfig([f"--where {args.where!r}: holds for none of {len(runs)} runs"])
    view = View(args, chosen if args.where else runs)
    if args.paths or args.best:
        print("\n".join(run.path for run in (view.best() if args.best else view.runs[: args.limit])))
        return 0
    print(WRITERS[args.format](view))
    if args.plot:
        from dlrun.compare import plot

        plot.draw(view.groups, view.order, view.quantities, args.plot)
        print(f"written: {args.plot}", file=sys.stderr)
    if args.report:
        from dlrun.compare import report

        report.write(view, args.report)
        print(f"written: {args.report}", file=sys.stderr)
    return 0


def _table(view: View) -> str:
    from dlrun.compare import formats

    return "\n\n".join([*_tables(view, formats.table), *_said(view)])


def _markdown(view: View) -> str:
    from dlrun.compare import formats

    said = [f"- {formats.escaped(v.text)}" for v in view.verdicts()] if view.asked else []
    return "\n\n".join([*_tables(view, formats.markdown, every=False), *(["\n".join(said)] if said else [])])


def _latex(view: View) -> str:
    from dlrun.compare import formats

    said = [f"% {v.text}" for v in view.verdicts()] if view.asked else []
    return "\n".join([*_tables(view, formats.latex, every=False), *said])


def _csv(view: View) -> str:
    from dlrun.compare import formats, tables

    if view.asked:
        return formats.commas(
            tables.records(view.groups, view.order, view.quantities, view.compared)[: view.args.limit]
        )
    return formats.commas(view.records()[: view.args.limit])


def _json(view: View) -> str:
    from dlrun.compare import formats, tables

    groups = tables.records(view.groups, view.order, view.quantities, view.compared)
    return formats.objects(
        {
            "metrics": [q.name for q in view.quantities],
            "runs": view.records()[: view.args.limit],
            "groups": groups[: view.args.limit],
            "baseline": view.groups.baseline.name if view.groups.baseline else None,
            "verdicts": [vars(v) for v in view.verdicts()],
            "skipped": view.runs.skipped,
        }
    )


WRITERS: dict[str, Callable[[View], str]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
    "md": _markdown,
    "latex": _latex,
}


def _tables(view: View, write: Callable[[Any], str], every: bool = True) -> list[str]:
    """The table of runs, and of groups where there is more than one run in any; either alone where not ``every``."""
    from dlrun.compare import tables

    found = []
    limit = view.args.limit or (LINES if sys.stdout.isatty() and every else None)
    if not view.asked:
        some = view.runs[:limit] if limit else view.runs
        root = os.path.commonpath([run.path for run in some]) if len(some) > 1 and sys.stdout.isatty() else ""
        if view.args.columns:
            whole = tables.Table([tables.column(some, name) for name in view.columns], [""] * len(some))
        else:
            whole = tables.of_runs(some, view.columns, view.quantities, root)
        found.append((f"below {root}:\n" if root else "") + write(whole) + _more(len(view.runs), len(some), "runs"))
    if view.asked or (every and view.groups.repeated and not view.args.columns):
        some = view.order[:limit]
        compared = view.compared[view.quantities[0]] if view.quantities else {}
        whole = tables.of_groups(view.groups, some, view.quantities, compared)
        found.append(write(whole) + _more(len(view.order), len(some), "groups"))
    return found


def _said(view: View) -> list[str]:
    """The verdicts, and by what methods they came."""
    from dlrun.compare.formats import encodable

    if len(view.order) < 2 or not view.quantities or view.args.columns or not (view.groups.repeated or view.asked):
        return []
    limit = view.args.limit or (LINES if sys.stdout.isatty() else None)
    blocks, verdicts = [], view.verdicts()
    for quantity in view.quantities:
        found = [v for v in verdicts if v.quantity == quantity.name]
        lines = [_wrapped(v.text) for v in found[:limit]]
        more = _more(len(found), len(lines), "verdicts")
        blocks += ["\n".join([f"{quantity.name}:", *lines]) + more] if lines else []
    blocks += [_wrapped(note, indent="") for note in view.notes()]
    return [encodable(block) for block in blocks]


def _wrapped(text: str, indent: str = "  ") -> str:
    """A line within a block; on a terminal, lines."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    return textwrap.fill(text, columns, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def _more(all_of: int, shown: int, what: str) -> str:
    return f"\n… {all_of - shown} more {what} (--limit all)" if all_of > shown else ""


def _writable(args: argparse.Namespace) -> None:
    """Raises :class:`InvalidConfig` where a file can't be what it is to be, before anything is read."""
    for flag, file, kinds in (("--plot", args.plot, (".png", ".svg", ".pdf")), ("--report", args.report, (".html",))):
        if file is not None and file.suffix.lower() not in kinds:
            raise InvalidConfig([f"{flag} {file}: not allowed; allowed: a file that ends in {' or '.join(kinds)}"])
        if file is not None and (not file.absolute().parent.is_dir() or file.is_dir()):
            raise InvalidConfig([f"{flag} {file}: {'is a folder' if file.is_dir() else 'no such folder'}"])


def _at(text: str) -> At:
    if text in ("best", "last", "min", "max"):
        return text
    number = text.removeprefix("step=")
    if not (number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: not allowed; allowed: best, last, min, max, step=N")
    return int(number)


def _target(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        target = float(value)
    except ValueError:
        target = math.nan
    if not name or not math.isfinite(target):
        raise argparse.ArgumentTypeError(f"{text!r}: not allowed; allowed: METRIC=NUMBER, such as val/accuracy=0.9")
    return name, target


def _positive(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: not allowed; allowed: a number > 0")
    return size


def _lines(text: str) -> int | None:
    if text == "all":
        return sys.maxsize
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: not allowed; allowed: a whole number >= 1, or all")
    return int(text)
