"""The ways that CONTRIBUTING.md describes are there: every name, file and phase."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from dlrun.train import loop

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
NAMES = sorted(set(re.findall(r"`(dlrun(?:\.\w+)+)`", TEXT)))
PATHS = sorted(set(re.findall(r"`((?:dlrun|tests|benchmarks)/[\w/.]+)`", TEXT)))
assert len(NAMES) > 20, "the ways are told"


@pytest.mark.parametrize("name", NAMES)
def test_names_are_there(name: str) -> None:
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            found = getattr(found, part)
        return
    pytest.fail(f"{name} is not there")


@pytest.mark.parametrize("path", PATHS)
def test_files_are_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_phases_are_those_of_the_loop_in_their_order() -> None:
    told = re.search(r"ended: ([\w`,\s]+)\. What is due", TEXT)
    assert told
    body = ast.parse(inspect.getsource(loop.train)).body[0]
    repeated = next(node for node in ast.walk(body) if isinstance(node, ast.While))
    called = [line.value.func.attr for line in repeated.body if isinstance(line, ast.Expr)]  # pyright: ignore
    assert re.findall(r"`(\w+)`", told[1]) == called
