"""``dlrun diff A B``: how two runs differ, and whether in anything that counts.

Two runs are equal if their configuration, their metrics in every row, their code and environment are. Timing is shown
but does not count, as it is never the same twice; nor do keys that only say how a run is executed, such as
``log.sinks``. What can't be compared is shown with the reason, and makes the runs different.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dlrun.cli.arguments import Parser
from dlrun.compare.compare_rows import Pair, in_words
from dlrun.compare.difference import ABSENT, Difference, Incomparable, Section, difference
from dlrun.display.units import number
from dlrun.errors import InvalidConfig, show, tell
from dlrun.runs.loading import load_one
from dlrun.runs.metric_names import how_it_ran
from dlrun.runs.run import Run
from dlrun.runs.rundir import is_number

if TYPE_CHECKING:
    from dlrun.display.page import Page, Part

DESCRIPTION = """Shows how two runs differ: in configuration, metrics, timing, code, environment.

Two runs are equal if they have the same configuration, metrics (every row of
metrics.jsonl), code and environment. Timing is shown but does not count, nor do
keys that only say how a run is executed, such as log.sinks."""
EXITS = "exit code: 0 equal, 1 different, 2 a run can't be read"


def parser() -> Parser:
    p = Parser("dlrun diff", usage="dlrun diff A B [--format table|json]", description=DESCRIPTION, epilog=EXITS)
    p.add_argument("runs", nargs="*", metavar="A B", help="two run directories")
    p.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    return p


def main(argv: list[str]) -> int:
    """Prints the difference of two runs; returns 0 if they are equal, else 1."""
    args = parser().read(argv)
    if len(args.runs) != 2:
        raise InvalidConfig([f"diff: two run directories are needed, not {len(args.runs)}: dlrun diff A B"])
    problems, runs = [], []
    for path in args.runs:
        try:
            runs.append(load_one(path))
        except InvalidConfig as error:
            problems += error.problems
    if problems:
        raise InvalidConfig(problems)
    found = difference(*runs)
    for run in runs:
        if run.lost:
            tell(f"notice: {run.path}: {run.lost}")
    from dlrun.display import page

    if args.format == "json":
        page.print_json(as_json(found))
    else:
        table(found, page.Page())
    return 1 if found.differing else 0


def as_json(found: Difference) -> dict[str, Any]:
    """The difference as plain values. A pair ``a``, ``b`` lacks the side that has no value."""

    def pairs(values: dict[str, Pair]) -> dict[str, Any]:
        named = {key: zip("ab", pair, strict=True) for key, pair in values.items()}
        return {key: {name: value for name, value in pair if value is not ABSENT} for key, pair in named.items()}

    return {
        **{name: {"directory": run.path, "status": run.status} for name, run in zip("ab", found.runs, strict=True)},
        "equal": not found.differing,
        "differing": found.differing,
        **{
            name: {"changed": pairs(section.changed), "unchanged": section.unchanged, "counts": section.counts}
            for name, section in found.sections.items()
        },
        "rows": {**asdict(found.rows), "metrics": pairs(found.rows.metrics)},
        "incomparable": [
            {"reason": incomparable.reason, "values": pairs(incomparable.values), "counts": incomparable.counts}
            for incomparable in found.incomparable
        ],
    }


def table(found: Difference, page: "Page") -> None:
    """Prints the sections one below the other, with a line for each key that changed."""
    for name, run in zip("AB", found.runs, strict=True):
        page.line(name, _run(run), style="bold")
    for name, section in found.sections.items():
        page.title(f"{name}: {_counted(section)}")
        if name == "metrics":
            page.line("", ["rows:", *in_words(found.rows).split(" ")], join=" ")
        for key, pair in section.changed.items():
            note = [("  (how it ran: does not count)", "dim")] if section.counts and how_it_ran(key) else []
            page.line("", [f"{key}: ", *_change(name, key, *pair), *note], join="")
    if found.incomparable:
        page.title("incomparable")
    for incomparable in found.incomparable:
        page.line("", [f"{incomparable.reason}{'' if incomparable.counts else ' (does not count)'}:"])
        for parts in _apart(incomparable):
            page.line("    ", parts)
    page.title(f"different: {', '.join(found.differing)}" if found.differing else "equal")


def _run(run: Run) -> "Iterator[Part]":
    from dlrun.display.page import style

    yield run.path
    yield (run.status, style(run.status))
    if run.damage:
        yield (run.damage, "red")
    if run.facts.get("command"):
        yield (run.facts["command"], "dim")


def _counted(section: Section) -> str:
    parts = [f"{len(section.changed)} changed"] if section.changed else []
    parts += [f"{section.unchanged} unchanged"] if section.unchanged or not parts else []
    return ", ".join(parts) + ("" if section.counts else " (does not count)")


def _change(section: str, key: str, old: Any, new: Any) -> "Iterator[Part]":
    """``0.9583 → 0.9611 (+0.0028)``."""
    texts = [_text(section, key, value) for value in (old, new)]
    if texts[0] == texts[1]:  # equal as they are rounded
        texts = [show(value, None) for value in (old, new)]
    yield (texts[0], "dim")
    yield " → "
    yield (texts[1], "bold")
    if section != "configuration" and is_number(old) and is_number(new):
        if section != "metrics":
            yield f" ({(new - old) / old:+.0%})" if old else ""
        elif key == "epoch" or isinstance(old, int):
            yield f" ({'+' if new > old else ''}{_text(section, key, new - old)})"
        else:
            yield f" ({'-' if new < old else '+'}{number(abs(new - old))})"


def _text(section: str, key: str, value: Any) -> str:
    if key == "peak_memory" and is_number(value):
        from rich.filesize import decimal

        return decimal(int(value))
    if section == "metrics" and is_number(value):
        return f"{value:g}" if key == "epoch" else str(value) if isinstance(value, int) else number(value)
    return show(value, None)


def _apart(incomparable: Incomparable) -> "Iterator[list[Part]]":
    """One line per key that both runs have; then, for each run, the keys that only it has, side by side."""
    for key, (old, new) in incomparable.values.items():
        if ABSENT not in (old, new):
            yield [f"{key}: {_short(key, old)} | {_short(key, new)}"]
    for name, i in (("A", 0), ("B", 1)):
        mine = {key: pair[i] for key, pair in incomparable.values.items() if pair[1 - i] is ABSENT}
        if mine:
            yield [f"{name}:", *(f"{key}={_short(key, value)}" for key, value in mine.items())]


def _short(key: str, value: Any) -> str:
    return _text("metrics", key, value) if "/" in key else show(value)
