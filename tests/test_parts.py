"""The public face for authors of parts: its names are there and explained, and README's example works with it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dlrun import parts
from dlrun.config import composition
from dlrun.config.components import GIVEN, LEARNS
from dlrun.config.plan import plan
from dlrun.program.setup import prepare
from tests.conftest import QUICK

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", parts.__all__)
def test_each_name_is_there_and_explained(name: str) -> None:
    assert getattr(parts, name) is not None
    assert re.search(rf":(data|class|func):`{name}`", parts.__doc__ or "")


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


def written(section: str, folder: Path) -> tuple[list[str], list[str]]:
    """Writes the files that a section of the README shows; gives their names and the words of its command."""
    files = re.findall(r"`(\S+\.(?:py|yaml))`[^`]*```\w+\n(.*?)```", section, re.DOTALL)
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert "from dlrun.parts import" in files[0][1]
    (command,) = re.findall(r"```sh\ndlrun (--config-dir .* --trust .*)\n", section)
    return [name for name, _ in files], command.split()


def test_the_activation_of_the_readme(dlrun: Callable, own_folder: Path) -> None:
    """Nothing but its two files: it is checked, shown, drawn, completed, and initialised as it declares."""
    section = README.read_text().split("\nA new activation is")[1].split("\n## ")[0]
    names, words = written(section, own_folder)
    assert names == ["smooth.py", "conf/act/squareplus.yaml"]
    done = dlrun(*words, *QUICK)
    assert done.code == 0, done.err
    assert "warning" not in done.err
    assert done.run["config"]["act"] == {"name": "smooth:squareplus", "b": 1.0}
    where = words[:4]
    shown = dlrun("show", *where, "act=squareplus")
    assert "how smooth" in shown.out
    assert "derivative of squareplus(x)" in shown.out
    assert "squareplus" in dlrun("show", *where[:2], "act").out
    assert dlrun(*where, "act=squareplsu").err.startswith(
        "error: act=squareplsu: unknown option (did you mean 'squareplus'?)"
    )
    assert "allowed: a number >= 0" in dlrun(*where, "act=squareplus", "act.b=-1").err
    drawn = {}
    for init in ("auto", "he_normal", "lecun_normal"):
        cfg, _ = composition.compose(composition.loader([Path("conf")]), ["act=squareplus", f"init={init}", *QUICK])
        program = prepare(plan(composition.plain(cfg)[0], ("smooth",))).program
        made: Any = program.build(jax.random.key(0), {})
        drawn[init] = np.asarray(made.hidden[0].linear.kernel)
    np.testing.assert_array_equal(drawn["auto"], drawn["he_normal"])
    assert (drawn["auto"] != drawn["lecun_normal"]).any()


def test_an_activation_that_declares_nothing_is_told_what_auto_takes(dlrun: Callable, own_folder: Path) -> None:
    (own_folder / "plain.py").write_text("def plain(x):\n    return x * x\n")
    (own_folder / "conf/act").mkdir(parents=True)
    (own_folder / "conf/act/plain.yaml").write_text("name: plain:plain\n")
    words = ("--config-dir", "conf", "--trust", "plain", "act=plain", *QUICK)
    told = "act=plain declares no initialiser, so init=auto takes lecun_normal; @activation(init=...)"
    assert f"warning: {told} of dlrun.parts declares another\n" in dlrun(*words).err
    assert "declares" not in dlrun(*words, "init=he").err


def test_the_example_of_the_readme(dlrun: Callable, own_folder: Path) -> None:
    section = README.read_text().split("\n### Your own parts\n")[1].split("\n### ")[0]
    names, words = written(section, own_folder)
    assert names == ["mynet.py", "conf/model/mynet.yaml"]
    done = dlrun(*words, "epochs=1", "log.plot=false")
    assert done.code == 0, done.err
    assert done.run["config"]["model"] == {"name": "mynet:MyNet", "width": 128}
    assert done.run["parameters"] == (64 * 128 + 128) + 2 * 128 + (128 * 10 + 10)
    wrong = dlrun(*words, "model.width=0")
    assert (wrong.code, wrong.err) == (2, "error: model.width=0: not allowed; allowed: a whole number in [1, 2^31)\n")
