"""``dlrun show-run DIR``: a run at a glance, whatever its state: what was chosen, what came out, what is there."""

import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dlrun.cli.arguments import Parser
from dlrun.display.units import clock, number
from dlrun.errors import InvalidConfig, printable, show
from dlrun.runs.loading import load_one
from dlrun.runs.overview import facts
from dlrun.runs.run import Run
from dlrun.runs.rundir import is_number

if TYPE_CHECKING:
    from rich.text import Text

    from dlrun.display.page import Page, Part

DESCRIPTION = "A run at a glance: status, configuration, metrics and their curves, environment,\ncheckpoints, files."
INDENT = 15  # columns that the names of lines take
COLUMNS = {"best/val/": "val, best", "val/": "val, last", "train/": "train, last", "test/": "test"}


def parser() -> Parser:
    p = Parser("dlrun show-run", usage="dlrun show-run DIR [--format table|json]", description=DESCRIPTION)
    p.add_argument("runs", nargs="*", metavar="DIR", help="a run directory")
    p.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    return p


def main(argv: list[str]) -> int:
    """Prints a run."""
    args = parser().read(argv)
    if len(args.runs) != 1:
        raise InvalidConfig([f"show-run: one run directory is needed, not {len(args.runs)}: dlrun show-run DIR"])
    run = load_one(args.runs[0], damaged=True)
    from dlrun.display import page

    if args.format == "json":
        page.print_json(facts(run))
    else:
        table(run, facts(run), page.Page(INDENT))
    return 0


def table(run: Run, found: dict[str, Any], page: "Page") -> None:
    """Prints all facts of a run, a line each."""
    for label, parts in _lines(found):
        page.line(label, parts, join=", ")
    for line in found["log"]:
        page.line("", [(line.expandtabs(), "dim")])
    page.title("configuration (*: chosen on the command line)" if found["chosen"] else "configuration")
    for label, parts in _configuration(found):
        page.line(label, parts)
    page.title("metrics")
    for line in _metrics(found):
        page.text(line)
    _draw(run, found["metric"], page)
    page.title("environment")
    for label, parts in _environment(found):
        page.line(label, parts, join=", ")
    page.title("files")
    for label, parts in _files(found):
        page.line(label, parts, join=", ")


Line = tuple[str, "list[Part]"]


def _lines(found: dict[str, Any]) -> Iterator[Line]:
    from rich.filesize import decimal

    from dlrun.display.page import style

    yield "run", [(found["directory"], "bold")]
    yield "status", [(found["status"], style(found["status"]))]
    for key in ("damage", "error"):
        if found.get(key):
            yield key, [(str(found[key]), "red")]
    if found.get("command"):
        yield "command", [found["command"]]
    for again in found["resumed"]:
        other = [f"on data that changed, from step {again['data'].get('step')} on"] if "data" in again else []
        words = [shlex.join(again["overrides"])] if again["overrides"] else []
        yield "resumed", [_when(again["time"]), *words, *other]
    told = [_when(found["start"])] if found.get("start") else []
    ended = {} if found["status"] in ("running", "killed") else found  # else these facts are from before it was resumed
    if is_number(seconds := ended.get("seconds")):
        told.append(f"{seconds:.1f} s" if seconds < 60 else clock(seconds))
    if is_number(speed := ended.get("steps_per_second")):
        told.append(f"{speed:,.0f} steps/s" if speed >= 10 else f"{speed:.2g} steps/s")
        if is_number(stack := ended.get("stack")) and stack > 1:
            told[-1] += f" beside {stack - 1:,.0f} other runs"
    if is_number(memory := ended.get("peak_memory")):
        told.append(f"{decimal(int(memory))} of memory")
    if not ended and found["last_row"]:
        told.append(f"last row at {_when(found['last_row'])}")
    if told:
        yield "time", [*told]
    step, epoch, config = found["metrics"].get("step"), found["metrics"].get("epoch"), found["config"]
    if step is not None:
        of = [f" of {show(config[key])}" if config.get(key) is not None else "" for key in ("steps", "epochs")]
        passes = [f"epoch {epoch:g}{'' if of[0] else of[1]}"] if is_number(epoch) else []
        yield "progress", [f"step {step}{of[0]}", *passes]


def _when(text: Any) -> str:
    """A time of run.json in the local zone."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError, OverflowError, OSError):
        return show(text)


def _configuration(found: dict[str, Any]) -> Iterator[Line]:
    """One line per section: keys without one, then choices, then the rest. What the user chose is marked, and first."""
    config = found["config"]
    sections: dict[str, list[str]] = {}
    for key in config:
        sections.setdefault(key.partition(".")[0] if "." in key else "", []).append(key)
    for section in sorted(sections, key=lambda s: (s != "", f"{s}.name" not in config)):
        parts: list[Part] = []
        for key in sorted(sections[section], key=lambda key: (key != f"{section}.name", key not in found["chosen"])):
            name = key.removeprefix(f"{section}.")
            text = show(config[key]) if key == f"{section}.name" else f"{name}={show(config[key])}"
            parts.append((f"*{text}", "bold") if key in found["chosen"] else (text, "dim"))
        yield section, parts
    if not config:
        yield "", ["none that can be read"]


def _metrics(found: dict[str, Any]) -> "Iterator[Text]":
    """The lines of a small table, one per metric; the one that chose the best state comes first."""
    from rich.text import Text

    values = {name: value if is_number(value) else None for name, value in found["metrics"].items()}
    values = {name: value for name, value in values.items() if name.startswith(tuple(COLUMNS))}
    columns = {start: title for start, title in COLUMNS.items() if any(name.startswith(start) for name in values)}
    step = found["metrics"].get("best/step")
    if "best/val/" in columns and step is not None:
        columns["best/val/"] += f" (step {step})"
    main = found["metric"].rpartition("/")[2]
    names = sorted({name.rpartition("/")[2] for name in values}, key=lambda n: (n != main, n != "loss", n))
    lines = [["", *columns.values()]]
    lines += [[printable(n), *(number(values[s + n]) if s + n in values else "" for s in columns)] for n in names]
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for i, (head, *cells) in enumerate(lines if names else []):
        text = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield Text(f"{head:<{max(first + 2, INDENT)}}{text}", ("dim", "bold", "")[min(i, 2)])
    if not names:
        yield Text("none yet", "dim")


def _draw(run: Run, metric: str, page: "Page") -> None:
    """Draws loss and main metric over the steps, side by side if there is room."""
    rows = run.rows
    names = list(dict.fromkeys(["loss", metric.rpartition("/")[2]]))
    curves = {name: {split: _points(rows, split, name) for split in ("val", "train")} for name in names}
    drawn = {name: {s: p for s, p in of.items() if len(p) > 1} for name, of in curves.items()}
    if any(drawn.values()):
        from dlrun.display import learning_curves

        page.title("curves")
        learning_curves.show({name: of for name, of in drawn.items() if of}, page)


def _points(rows: list[dict[str, Any]], split: str, name: str) -> dict[int, float]:
    """Finite values by step; tiny ones, which a chart can't scale, as zero."""
    mine = [row for row in rows if row.get("split") == split and is_number(row.get(name))]
    steps = [(step, row[name]) for row in mine if isinstance(step := row.get("step"), int) and 0 <= step < 2**53]
    return {step: value if abs(value) > 1e-30 else 0.0 for step, value in steps}


def _environment(found: dict[str, Any]) -> Iterator[Line]:
    def recorded(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix) and v is not None}

    versions, git, rows = recorded("versions."), recorded("git."), recorded("rows.")
    code = [f"dlrun {show(versions.pop('dlrun'))}"] if "dlrun" in versions else []
    code += [f"git {show(git['commit'])[:12]}"] if git.get("commit") else []
    code += ["with changes that were not committed"] if git.get("dirty") is True else []
    machine = [show(found[key]) for key in ("host", "platform") if found.get(key)]
    device = [show(found["device"])] if found.get("device") else []
    for key, one in (("devices", "device"), ("processes", "process"), ("threads", "thread")):
        if is_number(count := found.get(key)):
            device.append(f"{count} {one if count == 1 else key}")
    model = [f"{found['parameters']:,} parameters"] if is_number(found.get("parameters")) else []
    model += [f"{', '.join(f'{show(n)} {split}' for split, n in rows.items())} rows"] if rows else []
    packages = [f"{name} {show(version)}" for name, version in versions.items()]
    named = {"code": code, "packages": packages, "machine": machine, "device": device, "size": model}
    for label, parts in named.items():
        if parts:
            yield label, list(parts)


def _files(found: dict[str, Any]) -> Iterator[Line]:
    from rich.filesize import decimal

    states: list[Part] = []
    for state in found["checkpoints"]:
        of = f"step {state['step']}{' (best)' if state['best'] else ''}{'' if state['whole'] else ' (incomplete)'}"
        states.append((f"{of} {decimal(state['bytes'])}", "bold" if state["best"] else ""))
    yield "checkpoints", states or ["none"]
    yield "files", [f"{name} {decimal(bytes)}" for name, bytes in found["files"].items()] or ["none that can be read"]
    yield "in total", [decimal(sum(found["files"].values()))]
