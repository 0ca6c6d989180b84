"""The public face for authors of parts: its names are there and explained, and README's example works with it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun import parts
from dlrun.config.components import GIVEN, LEARNS

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", parts.__all__)
def test_each_name_is_there_and_explained(name: str) -> None:
    assert getattr(parts, name) is not None
    assert re.search(rf":(data|class):`{name}`", parts.__doc__ or "")


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"'dlrun\.parts' has no attribute 'Model'"):
        parts.Model  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_only_names_that_need_jax_import_it() -> None:
    code = "import sys, dlrun.parts as p; p.Count; print('jax' in sys.modules); p.Parts; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("group", [group for group in GIVEN if group != "launcher"])
def test_what_each_kind_of_part_is_given_is_told(group: str) -> None:
    for given in (GIVEN, LEARNS):
        assert group not in given or f"{group}({', '.join(given[group])})" in (parts.__doc__ or "")


def test_the_example_of_the_readme(dlrun: Callable, own_folder: Path) -> None:
    section = README.read_text().split("\n### Your own parts\n")[1].split("\n### ")[0]
    files = re.findall(r"`(\S+\.(?:py|yaml))`[^`]*```\w+\n(.*?)```", section, re.DOTALL)
    assert [name for name, _ in files] == ["mynet.py", "conf/model/mynet.yaml"]
    for name, text in files:
        (own_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (own_folder / name).write_text(text)
    assert "from dlrun.parts import" in files[0][1]
    (command,) = re.findall(r"```sh\ndlrun (--config-dir .* --trust .*)\n", section)
    done = dlrun(*command.split(), "epochs=1", "log.plot=false")
    assert done.code == 0, done.err
    assert done.run["config"]["model"] == {"name": "mynet:MyNet", "width": 128}
    assert done.run["parameters"] == (64 * 128 + 128) + 2 * 128 + (128 * 10 + 10)
    wrong = dlrun(*command.split(), "model.width=0")
    assert (wrong.code, wrong.err) == (2, "error: model.width=0: not allowed; allowed: a whole number in [1, 2^31)\n")
