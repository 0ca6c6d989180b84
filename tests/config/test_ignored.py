"""What Hydra composes although nothing would heed it: each is refused, and the message names the remedy."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import QUICK
from tests.sweeps import contents

HEADER = "# @package _global_\n"
FIRST = "its keys would be ignored; its first line must be: # @package _global_"
KEYLESS = "it holds no keys; allowed: key: value, a line each, below the first line, # @package _global_"
HEADLESS = {
    "bare": (b"epochs: 7\n", FIRST),
    "below": (
        b"# Mine.\n# @package _global_\nepochs: 7\n",
        "its first line, above all others, must be: # @package",
    ),
    "bom": (
        b"\xef\xbb\xbf# @package _global_\nepochs: 7\n",
        "as a byte order mark hides its first line; allowed: UTF-8",
    ),
    "misspelt": (b"# @packge _global_\nepochs: 7\n", FIRST),
    "colon": (b"# @package: _global_\nepochs: 7\n", FIRST),
    "sub/nested": (b"epochs: 7\n", FIRST),
    "sections": (b"optim:\n  lr: 0.1\n", FIRST),
}
"""Experiments that Hydra puts into a section of their own: what the file holds, what is said of it."""

MISWRITTEN = {
    "global": (b"# @package global\nepochs: 7\n", FIRST),
    "capital": (b"# @package _Global_\nepochs: 7\n", FIRST),
    "group": (b"# @package _group_\nepochs: 7\n", FIRST),
    "below_global": (b"# @package global.model\nwidths: [3]\n", FIRST),
    "overrides": (b"defaults:\n  - override /act: gelu\n", FIRST),
    "overrides_global": (b"# @package global\ndefaults:\n  - override /act: gelu\nepochs: 7\n", FIRST),
    "overrides_bom": (
        b"\xef\xbb\xbf# @package _global_\ndefaults:\n  - override /act: gelu\nepochs: 7\n",
        "as a byte order mark hides its first line; allowed: UTF-8",
    ),
    "list": (b"- epochs: 7\n", KEYLESS),
    "list_headed": (b"# @package _global_\n- epochs: 7\n", KEYLESS),
    "list_bom": (b"\xef\xbb\xbf- epochs: 7\n", KEYLESS),
    "word": (b"epochs\n", KEYLESS),
    "word_headed": (b"# @package _global_\nepochs=7\n", KEYLESS),
    "number": (b"# @package _global_\n7\n", KEYLESS),
}
"""Experiments that Hydra puts elsewhere, or can't compose."""

OTHERS = {
    "experiment/section": (HEADER + "experiment:\n  epochs: 7\n", "experiment: a section that nothing reads (epochs)"),
    "experiment/text": (HEADER + "act: gelu\n", "act=gelu: text instead of a choice; allowed in a file: - "
        "override /act"),
    "experiment/key": (HEADER + "override /act: gelu\n", "override /act: unknown key"),
    "experiment/plain": (HEADER + "defaults:\n  - /act: gelu\n", "To override a value use 'override act: gelu'"),
    "experiment/relative": (HEADER + "defaults:\n  - act: gelu\n", "Could not find 'experiment/act/gelu'"),
    "experiment/dots": (HEADER + "model.widths: [3]\n", "model.widths: unknown key with a dot in its name"),
    "experiment/model": ("# @package model\nepochs: 7\n", "model.epochs: unknown key"),
    "experiment/sweeper": (HEADER + "hydra:\n  sweeper:\n    n_trials: 5\n", "'n_trials' not in 'BasicSweeperConf'"),
    "experiment/hydra": (HEADER + "hydra:\n  n_trials: 5\n", "Key 'n_trials' not in 'HydraConf'"),
    "model/everywhere": (HEADER + "name: mlp\nwidths: [3]\n", "model: missing"),
    "model/act": ("# @package act\nname: mlp\n", "act.name=mlp: unknown name"),
    "model/twice": ("model:\n  name: mlp\n", "model.name: missing"),
    "model/relative": ("defaults:\n  - override /act: gelu\nname: mlp\n", "Could not override 'act@model.act'"),
    "mine/keys": ("epochs: 7\n", "Could not override 'mine'"),
}  # fmt: skip
"""Other files that would do nothing, or not what they say."""

CHOICES = (
    "data: digits,act: relu,norm: batch,init: auto,optim: adamw,schedule: constant,augment: none,loss: auto,model: mlp"
)
DEFAULTS = "defaults:\n" + "".join(f"  - {choice}\n" for choice in [*CHOICES.split(","), "launcher: local"])


@pytest.fixture
def write(own_folder: Path) -> Callable[..., None]:
    def write(path: str, text: str | bytes) -> None:
        file = own_folder / "conf" / f"{path}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def refused(done, says: str) -> None:
    """One line, nothing on stdout, nothing made."""
    assert (done.code, done.out) == (2, ""), done
    assert says in done.err
    assert len(done.err.splitlines()) <= 2, done.err
    assert not Path("outputs").exists()


COMMANDS = (
    "experiment={}",
    "experiment=[good,{}]",
    "--cfg job experiment={}",
    "show act=gelu experiment={}",
    "-m seed=0,1 experiment={}",
    "-m experiment=good,{}",
    "-m --dry-run experiment=good,{}",
    "-m hydra/sweeper=optuna optim.lr=interval(0.01,0.1) experiment={}",
)
"""All that composes an experiment."""


@pytest.mark.parametrize(
    ("name", "command"), [*(("sub/nested", c) for c in COMMANDS), *((name, COMMANDS[1]) for name in HEADLESS)]
)
def test_an_experiment_without_its_header(
    dlrun: Callable, write: Callable, own_folder: Path, name: str, command: str
) -> None:
    text, says = HEADLESS[name]
    write(f"experiment/{name}", text)
    write("experiment/good", HEADER + "batch_size: 32\n")
    done = dlrun("--config-dir", "conf", *command.format(name).split())
    refused(done, says)
    assert str(own_folder / f"conf/experiment/{name}.yaml") in done.err


@pytest.mark.parametrize(
    ("name", "command"), [*(("overrides", c) for c in COMMANDS), *((name, COMMANDS[0]) for name in MISWRITTEN)]
)
def test_an_experiment_of_another_header_or_without_keys(
    dlrun: Callable, write: Callable, own_folder: Path, name: str, command: str
) -> None:
    text, says = MISWRITTEN[name]
    write(f"experiment/{name}", text)
    write("experiment/good", HEADER + "batch_size: 32\n")
    done = dlrun("--config-dir", "conf", *command.format(name).split())
    refused(done, says)
    assert str(own_folder / f"conf/experiment/{name}.yaml") in done.err
    assert "unknown key" not in done.err


def test_the_file_that_is_wrong_is_the_one_that_is_named(dlrun: Callable, write: Callable, own_folder: Path) -> None:
    write("experiment/list", HEADER + "- epochs: 7\n")
    write("experiment/heir", HEADER + "defaults:\n  - list\nepochs: 3\n")
    done = dlrun("--config-dir", "conf", "experiment=heir")
    refused(done, KEYLESS)
    assert f"error: {own_folder / 'conf/experiment/list'}.yaml: " in done.err
    typed = dlrun("--config-dir", "conf", "+global.x=1", "epochs=3").err
    assert "global: unknown key; dlrun --help lists all" in typed, "no file is to blame"


def test_a_section_of_ours_may_be_an_experiments_package(dlrun: Callable, write: Callable) -> None:
    write("experiment/section", "# @package optim\nlr: 0.25\n")
    done = dlrun("--config-dir", "conf", "--cfg", "job", "experiment=section")
    assert yaml.safe_load(done.out)["optim"]["lr"] == 0.25


def test_headed_experiments_take_effect_also_where_they_inherit_from_one_without(
    dlrun: Callable, write: Callable
) -> None:
    write("experiment/bare", "epochs: 7\n")
    write("experiment/heir", HEADER + "defaults:\n  - bare\nbatch_size: 32\n")
    write("experiment/sub/nested", "#@package _global_\r\nbatch_size: 32\r\nepochs: 7\r\n")
    for name in ("heir", "sub/nested", "[sub/nested]"):
        values = yaml.safe_load(dlrun("--config-dir", "conf", "--cfg", "job", f"experiment={name}").out)
        assert (values["epochs"], values["batch_size"]) == (7, 32)
        assert "experiment" not in values


@pytest.mark.parametrize("path", OTHERS)
def test_files_that_would_do_nothing(dlrun: Callable, write: Callable, path: str) -> None:
    text, says = OTHERS[path]
    write(path, text)
    group, _, option = path.partition("/")
    done = dlrun("--config-dir", "conf", f"{group}={option}")
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert not Path("outputs").exists()


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_keys_typed_below_the_choice(dlrun: Callable, sign: str) -> None:
    for words in (["{}"], ["--cfg", "job", "{}"], ["show", "act=gelu", "{}"], ["-m", "seed=0,1", "{}"]):
        word = f"{sign}experiment.epochs=7"
        done = dlrun(*(w.format(word) for w in words))
        refused(done, f"{word}: unknown key, as an experiment has none of its own; allowed: epochs=...")
    refused(dlrun("-m", f"{sign}experiment.optim.lr=0.1,0.2"), "allowed: optim.lr=...")


def test_keys_that_a_sweeper_brings(dlrun: Callable, write: Callable) -> None:
    write("experiment/params", HEADER + 'hydra:\n  sweeper:\n    params:\n      experiment.epochs: "1,2"\n')
    refused(dlrun("--config-dir", "conf", "-m", "experiment=params"), "experiment: unknown key")


def test_a_replaced_choice_takes_no_keys_of_an_experiment(dlrun: Callable, write: Callable) -> None:
    write("experiment/mixed", HEADER + "defaults:\n  - override /augment: mixup\naugment:\n  alpha: 0.4\n")
    refused(dlrun("--config-dir", "conf", "experiment=mixed", "augment=none"), "augment.alpha: unknown key")


@pytest.mark.parametrize("ending", ["  - experiment: null\n", "  - experiment: null\n  - _self_\n"])
def test_a_configuration_that_has_the_last_word(dlrun: Callable, write: Callable, ending: str) -> None:
    write("config", DEFAULTS + ending + "epochs: 3\n")
    write("experiment/good", HEADER + "epochs: 7\n")
    said = (
        "conf/config.yaml: its own keys come after those of experiments, which they replace; allowed: _self_ before exp"
    )
    with pytest.warns(UserWarning, match="missing `_self_`") if "_self_" not in ending else contextlib.nullcontext():
        refused(dlrun("--config-dir", "conf", "--cfg", "job", "experiment=good"), said)
    write("config", DEFAULTS + "  - _self_\n  - experiment: null\nepochs: 3\n")
    done = dlrun("--config-dir", "conf", "--cfg", "job", "experiment=good")
    assert yaml.safe_load(done.out)["epochs"] == 7


@pytest.mark.parametrize("words", [
    "launcher.workers=2", "launcher=ray", "hydra.sweep.dir=x", "hydra/sweeper=optuna", "hydra.sweeper.max_batch_size=2",
    "hydra/launcher=basic", "-m hydra.run.dir=x seed=0,1", "hydra.mode=MULTIRUN", "-m hydra.mode=RUN seed=0,1",
])  # fmt: skip
def test_words_for_the_other_kind_of_command(dlrun: Callable, words: str) -> None:
    word = next(w for w in words.split() if "=" in w)
    for flags in ([], ["--cfg", "job"]):
        refused(dlrun(*flags, *words.split()), f"{word}: not allowed")


def test_resumed_runs(dlrun: Callable, finished: Callable) -> None:
    """What a section held that nothing read is no part of the run: it must not come to life, or stay unsaid."""
    run = finished(*QUICK).directory
    before = contents(run)
    done = dlrun("resume", str(run), "experiment.epochs=7")
    assert "experiment.epochs=7: unknown key, as an experiment has none" in done.err
    assert "experiment=digits_cnn" in dlrun("resume", str(run), "experiment=digits_cnn").err
    assert contents(run) == before
    config = run / ".hydra/config.yaml"
    text = config.read_text()
    config.write_text(text + "experiment:\n  epochs: 7\n")
    done = dlrun("resume", str(run), "epochs=2")
    assert done.code == 2
    assert f"{config}: experiment: a section that nothing reads (epochs)" in done.err
    config.write_text(text + "experiment: null\n")
    assert dlrun("resume", str(run), "epochs=2").code == 0


def test_the_best_of_a_search_takes_effect(dlrun: Callable) -> None:
    """Its file is an experiment, with the header; without, it is refused like any other."""
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "batch_size=range(30,40)", "act=gelu,tanh")
    sweep = dlrun("-m", *QUICK, *search).directory
    best = sweep / "experiment/best.yaml"
    assert best.read_text().startswith(HEADER)
    values = yaml.safe_load(dlrun("--config-dir", str(sweep), "--cfg", "job", "experiment=best").out)
    written = yaml.safe_load(best.read_text())
    assert (values["batch_size"], values["act"]["name"]) == (
        written["batch_size"],
        written["defaults"][-1]["override /act"],
    )
    best.write_text(best.read_text().removeprefix(HEADER))
    shutil.move("outputs", "moved")
    done = dlrun("--config-dir", os.path.join("moved", *sweep.parts[1:]), "experiment=best")
    assert done.code == 2
    assert "must be: # @package _global_" in done.err


def test_folders_and_files_that_hold_no_options(dlrun: Callable, write: Callable, own_folder: Path) -> None:
    (own_folder / "empty").mkdir()
    write("act/mine", "name: gelu\n")
    (own_folder / "conf/act/relu.yml").write_text("name: gelu\n")
    done = dlrun("--config-dir", "empty", "--config-dir", "conf", *QUICK, "steps=1", "epochs=null")
    assert done.code == 0
    assert "notice: --config-dir empty: holds no options (GROUP/OPTION.yaml)" in done.err
    assert "notice: conf/act/relu.yml: not read; allowed: the suffix .yaml" in done.err
    assert "--config-dir conf:" not in done.err
