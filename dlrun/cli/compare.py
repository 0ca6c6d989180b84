"""``dlrun compare``: which runs there are, what their groups came to, and whether the differences are real."""

import argparse
import io
import math
import sys
from dataclasses import fields
from pathlib import Path

from dlrun.cli.arguments import Parser, add_folders, add_where
from dlrun.compare.axes import NAMES
from dlrun.errors import InvalidConfig, tell
from dlrun.runs.loading import garbage_collector_off, load
from dlrun.runs.run import At
from dlrun.runs.rundir import OUTPUTS

AXES = tuple(NAMES)
LINES = 20  # of a table on a terminal, unless --limit says another number
DESCRIPTION = "Shows runs side by side, their groups with error bars, and whether the\ndifferences are real."
EPILOG = """\
Runs are found at any depth below the folders. Runs that differ only in their
seeds form a group; only completed runs are averaged. Seeds are counted, not
runs: runs with the same seed, as at several learning rates, count once, by
their mean. Each group is tested against the baseline: by pairs of runs that
match in seed and everything else (exactly, by sign flips, with 8 to 14 seeds,
more for several comparisons; else by Student's t), or by Welch's t where there
are no pairs. p is corrected for the number of comparisons (Holm). Fewer than
3 seeds are never tested.

  dlrun compare                                  all runs below outputs/
  dlrun compare SWEEP --group-by act,norm --baseline 'act=relu and norm=none'
  dlrun compare --where 'model=resnet and optim.lr<0.01' --metric test/accuracy
  dlrun compare SWEEP --until val/accuracy=0.95  steps and seconds to get there
  dlrun compare SWEEP --report report.html --plot curves.png --x epoch
  dlrun compare SWEEP --plot rates.png --x optim.lr    final metric against it
  dlrun resume "$(dlrun compare --best)" epochs=50
"""


def parser() -> Parser:
    """The parser of the command's words and flags."""
    p = Parser("dlrun compare", description=DESCRIPTION, epilog=EPILOG)
    p.set_defaults(lines=LINES)
    add_folders(p)
    which = p.add_argument_group("which runs")
    add_where(which)
    which.add_argument("--sort", metavar="COLUMN", help="sort by a column, smallest first (default: best first)")
    which.add_argument("--reverse", action="store_true", help="reverse the order")
    which.add_argument(
        "--limit", type=_limit, metavar="N", help=f"at most N lines of a table, or all (default on a terminal: {LINES})"
    )
    what = p.add_argument_group("what is shown")
    what.add_argument(
        "--metric", action="extend", type=_names, metavar="NAME,...",
        help="metrics such as test/accuracy (default: the one that chose the best state)",
    )  # fmt: skip
    what.add_argument(
        "--at", type=_ats, metavar="WHEN,...",
        help="which value: best (that of the best state), last, min, max or step=N (default: best; for train/... last)",
    )  # fmt: skip
    what.add_argument(
        "--until", action="extend", default=[], type=_targets, metavar="METRIC=VALUE,...",
        help="show the steps and seconds of training until it is reached",
    )  # fmt: skip
    what.add_argument(
        "--columns", action="extend", type=_names, metavar="NAME,...",
        help="show exactly these: keys, fields of run.json, metrics; "
        "for groups also n, interval, best, difference, p, d",
    )  # fmt: skip
    what.add_argument("--all-columns", action="store_true", help="show all keys and fields, not only those that differ")
    how = p.add_argument_group("groups")
    how.add_argument(
        "--group-by", action="extend", type=_names, metavar="KEY,...",
        help="show only groups, formed by these keys (default: all keys that differ, except seeds)",
    )  # fmt: skip
    how.add_argument(
        "--baseline", metavar="GROUP",
        help="the group that the others are compared with: act=relu, or best (default: the first group with 3 seeds)",
    )  # fmt: skip
    how.add_argument(
        "--detect", type=_positive, metavar="SIZE", help="the smallest difference worth finding, in the metric's unit"
    )
    out = p.add_argument_group("output")
    one = out.add_mutually_exclusive_group()
    one.add_argument(
        "--format", choices=("table", "csv", "json", "md", "latex"), default="table", help="default: table"
    )
    one.add_argument("--paths", action="store_true", help="print only the directories, for $(...)")
    one.add_argument("--best", action="store_true", help="print only the directory of the best run")
    out.add_argument("--plot", type=Path, metavar="FILE", help="draw curves of the groups: .png, .svg or .pdf")
    out.add_argument(
        "--x",
        metavar="AXIS",
        help=f"draw curves along {', '.join(AXES)}; with a key, draw metrics against a number that was swept",
    )
    out.add_argument("--report", type=Path, metavar="FILE", help="write all of it as one page for a browser: .html")
    return p


def main(argv: list[str]) -> int:
    """Prints what was asked for.

    Raises:
      InvalidConfig: with what is wrong with the words, before anything is written.
    """
    args = parser().read(argv)
    _check_files(args)  # before anything is read
    with garbage_collector_off():  # a tenth of the time, with 10,000 runs
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from dlrun.compare import formats  # here, as they import NumPy and SciPy, which --help has no use for
    from dlrun.compare.view import Options, View, notice
    from dlrun.compare.writers import WRITERS

    folders = args.folders or [OUTPUTS]
    runs = load(folders)
    notice("skipped", "folder", [f"{path}: {why}" for path, why in runs.skipped.items()])
    if not runs:
        raise InvalidConfig([f"no runs below {', '.join(folders)}"])
    if args.where and not (chosen := runs.where(args.where)):
        raise InvalidConfig([f"--where {args.where!r}: holds for none of {len(runs)} runs"])
    options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
    view = View(options, chosen if args.where else runs)
    key = None
    if args.x is not None and args.x not in AXES:
        from dlrun.compare.plot import against

        key = against.checked(view.runs, args.x, AXES)
    if args.paths or args.best:
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of folders are bytes
            sys.stdout.reconfigure(encoding=sys.getfilesystemencoding(), errors="surrogateescape")
        print("\n".join(run.path for run in (view.best() if args.best else view.runs[: args.limit])))
    else:
        print(formats.encodable(WRITERS[args.format](view)))
    notice("rows are missing in", "run", [f"{run.path}: {run.lost}" for run in runs if run.lost])
    if args.plot:
        from dlrun.compare.plot import against, curves

        if key:
            against.draw(view.runs, view.groups, view.quantities, args.plot.resolve(), key)
        else:
            curves.draw(view.groups, view.order, view.quantities, args.plot.resolve(), args.x or "step")
        tell(f"written: {args.plot}")
    if args.report:
        from dlrun.compare import report

        report.write(view, args.report.resolve())
        tell(f"written: {args.report}")
    return 0


def _check_files(args: argparse.Namespace) -> None:
    """Raises :class:`InvalidConfig` for files that can't be written: of a wrong suffix, or without a folder."""
    if args.x is not None and args.plot is None:
        raise InvalidConfig([f"--x {args.x}: needs --plot FILE"])
    for flag, file, kinds in (("--plot", args.plot, (".png", ".svg", ".pdf")), ("--report", args.report, (".html",))):
        if file is not None and file.suffix.lower() not in kinds:
            raise InvalidConfig([f"{flag} {file}: not allowed; allowed: a file that ends in {' or '.join(kinds)}"])
        if file is not None and (not file.absolute().parent.is_dir() or file.is_dir()):
            raise InvalidConfig([f"{flag} {file}: {'is a folder' if file.is_dir() else 'no such folder'}"])


def _names(text: str) -> list[str]:
    names = [word.strip() for word in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r}: not allowed; allowed: names, separated by commas")
    return names


def _ats(text: str) -> list[At]:
    return [_at(word) for word in dict.fromkeys(text.split(","))]


def _at(text: str) -> At:
    if text in ("best", "last", "min", "max"):
        return text
    number = text.removeprefix("step=")
    if not (number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: not allowed; allowed: best, last, min, max, step=N")
    return int(number)


def _targets(text: str) -> list[tuple[str, float]]:
    return list(map(_target, text.split(",")))


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


def _limit(text: str) -> int:
    if text == "all":
        return sys.maxsize
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: not allowed; allowed: a whole number >= 1, or all")
    return int(text)
