"""Text from directories and servers reaches the terminal, spreadsheets and papers as text: nothing in it acts there."""

import csv
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlrun.runs import rundir

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eevil\x00\x7f"
FORMULA = '=HYPERLINK("http://elsewhere","x")'
DANGEROUS = (FORMULA, "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\r=1", "＝1", " =1")


def run(folder: Path, name: str, text: str, **more: Any) -> None:
    """A completed run that says a text wherever a directory can say one."""
    directory = folder / name
    (directory / ".hydra").mkdir(parents=True)
    config = {"seed": int(name), "act": {"name": text}, text: text, "model": {"name": "mlp", "widths": [text]}}
    record = {
        "format": 1, "status": "completed", "command": ["dlrun", text], "config": config, "seed": int(name),
        "start": "2026-11-22T22:08:14+0000", "host": text, "device": text, "data": text, "error": text,
        "versions": {text: text, "dlrun": text}, "git": {"commit": text},
        "resumed": [{"time": text, "overrides": [text]}], **more,
    }  # fmt: skip
    (directory / rundir.RUN).write_text(json.dumps(record))
    summary = {"status": "completed", "metric": "val/accuracy", "mode": "max", "test/accuracy": 0.5, f"test/{text}": 1}
    (directory / rundir.SUMMARY).write_text(json.dumps({**summary, "best/val/accuracy": 0.5 + int(name) / 10}))
    rows = [{"step": s, "split": "val", "epoch": s, "time": s, "accuracy": s / 9, text: s} for s in (1, 2)]
    (directory / rundir.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / rundir.LOG).write_text(f"{text}\n")


@pytest.fixture
def evil(own_folder: Path) -> Path:
    for i in range(4):
        run(own_folder / "outputs", str(i), f"{EVIL}{i % 2}", status="failed" if i == 3 else "completed")
    odd = own_folder / "outputs" / "\x1b[31mred"
    odd.mkdir()
    (odd / rundir.RUN).write_text(EVIL)
    return own_folder


COMMANDS = [
    "ls", "ls --where status=failed", "compare", "compare --group-by act", "compare --format md",
    "compare --format latex --group-by act", "compare --format csv", "compare --format json", "show-run outputs/0",
    "show-run outputs/3", "diff outputs/0 outputs/1", "prune --keep best", "resume outputs/0", "compare outputs/4",
    "show-run outputs/\x1b[31mred", "compare --group-by act,x\x1b[2J", "ls --where \x1b[2J=1", "\x1b[2J",
    "model=\x1b[2J",
    "data=table data.path=\x1b[2J", "data=images data.path=outputs/\x1b[31mred", "resume outputs/\x1b[31mred",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_a_terminal_would_obey(dlrun: Callable[..., Any], evil: Path, command: str) -> None:
    done = dlrun(*command.split(" "))
    acting = {c for c in done.out + done.err if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}
    assert acting == set()
    assert done.code in (0, 1, 2)


def test_nothing_that_a_spreadsheet_would_execute(dlrun: Callable[..., Any], own_folder: Path) -> None:
    for i, text in enumerate(DANGEROUS):
        run(own_folder / "outputs", str(i), text)
    done = dlrun("compare", "--format", "csv")
    rows = [*csv.reader(io.StringIO(done.out))]
    cells = {cell for row in rows for cell in row}
    assert len(rows) == 1 + len(DANGEROUS)
    assert {cell for cell in cells if cell.lstrip()[:1] in ("=", "+", "-", "@", "＝", "\t", "\r")} == set()
    assert f"'{FORMULA}" in cells


def test_numbers_stay_numbers_in_a_spreadsheet() -> None:
    from dlrun.compare.formats import to_csv

    told = to_csv([{"a": -1.5, "b": "-1.5", "c": "-1e-3", "d": "-relu", "e": None, "f": [-1], "g": True, "-h": "x"}])
    assert told == "a,b,c,d,e,f,g,'-h\n-1.5,-1.5,-1e-3,'-relu,,[-1],true,x"
