"""Tab completion: the engine as a function, and the scripts in real shells."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrun.cli import completion
from dlrun.cli.completion import DIRECTORIES, candidates, split
from dlrun.config import catalogue

CONF = [catalogue.conf()]
GROUPS = {g: catalogue.options(g, CONF) for g in catalogue.groups(CONF)}
WORDS = st.lists(
    st.sampled_from(
        [
            "model=resnet",
            "model=transformer",
            "act=relu,gelu",
            "--cfg",
            "job",
            "-m",
            "resume",
            "show",
            "ls",
            "seed=1",
            "--config-dir",
        ]
    ),
    max_size=4,
)
TYPED = st.one_of(
    st.sampled_from(
        ["", "m", "model", "model=", "model=re", "model.", "optim.l", "eval.", "-", "--c", "--cfg=", "precision="]
    ),
    st.text(max_size=12),
)


@given(words=WORDS | st.lists(st.text(max_size=8), max_size=4), current=TYPED)
def test_every_candidate_continues_what_is_typed(words: list[str], current: str):
    found = candidates(words, current)
    assert found is DIRECTORIES or all(word.startswith(current) and word != "=" for word in found)


@given(option=st.sampled_from([(g, o) for g, options in GROUPS.items() for o in options]), data=st.data())
def test_every_option_and_its_keys_can_be_completed_from_any_beginning(option: tuple[str, str], data: st.DataObject):
    group, name = option
    word = f"{group}={name}"
    assert word in candidates([], word[: data.draw(st.integers(len(group) + 1, len(word)))])
    keys = {f"{group}.{e.key}=" for e in catalogue.entries(GROUPS[group][name])}
    if group == "experiment":  # its keys are those of the whole configuration
        keys = set()
    assert set(candidates(["seed=1", word], f"{group}.")) == keys


@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1), max_size=4),
    current=st.text("ab= '\"", max_size=6),
)
def test_a_quoted_line_is_split_back_into_its_words(words: list[str], current: str):
    import shlex

    line = "".join(shlex.quote(word) + " " for word in ["dlrun", *words])
    assert split(line) == (["dlrun", *words], "", False)
    assert split(line + shlex.quote(current))[1] == current


def test_keys_follow_the_options_on_the_line():
    assert set(candidates(["model=resnet"], "model.de")) == {"model.depth="}
    assert set(candidates([], "model.")) == {"model.widths=", "model.width=", "model.depth="}  # the default, mlp
    assert {"model.channels=", "model.depth="} <= set(candidates(["-m", "model=cnn,resnet"], "model."))
    assert set(candidates(["model=resnet", "model=mlp"], "model.w")) == {"model.widths=", "model.width="}  # the last


def test_keys_follow_what_a_choice_brings_unless_it_is_chosen_otherwise():
    assert set(candidates([], "norm.")) == {"norm.momentum=", "norm.epsilon="}
    assert set(candidates(["model=transformer"], "norm.")) == {"norm.epsilon="}
    assert set(candidates(["model=transformer", "norm=batch"], "norm.")) == {"norm.momentum=", "norm.epsilon="}


@pytest.mark.parametrize(
    ("words", "current", "expected"),
    [
        ([], "res", {"resume"}),
        ([], "model=re", {"model=resnet"}),
        ([], "act=relu,gel", {"act=relu,gelu"}),
        ([], "precision=b", {"precision=bfloat16"}),
        ([], "checkpoint.mode=", {"checkpoint.mode=min", "checkpoint.mode=max"}),
        ([], "log.plot=", {"log.plot=true", "log.plot=false"}),
        ([], "log.sinks=[csv,t", {"log.sinks=[csv,tensorboard]"}),
        ([], "log.sinks=[c", {"log.sinks=[csv]"}),
        (["model=resnet"], "model.skip=f", {"model.skip=false"}),
        ([], "optim.lr=", set()),
        ([], "--cfg=j", {"--cfg=job"}),
        (["--cfg"], "", {"job", "hydra", "all"}),
        (["--completion"], "z", {"zsh"}),
        (["--trust"], "", set()),
        (["show"], "model=t", {"model=transformer"}),
        (["show"], "eval.e", {"eval.every"}),
        (["seed=1"], "resu", set()),  # subcommands come first
        (["--config-dir"], "", DIRECTORIES),
        ([], "--config-dir=", DIRECTORIES),
        (["ls"], "out", DIRECTORIES),
        (["resume"], "", DIRECTORIES),
    ],
)
def test_candidates(words: list[str], current: str, expected: set[str] | dict[str, str]):
    assert set(candidates(words, current)) == set(expected)


def test_options_of_the_users_own_folder():
    Path("mine/model").mkdir(parents=True)
    Path("mine/model/mynet.yaml").write_text("# My net.\nname: mynet:MyNet\nrank: 3   # of the factors\n")
    assert candidates(["--config-dir", "mine"], "model=my") == {"model=mynet": "My net."}
    assert candidates(["--config-dir=mine", "model=mynet"], "model.") == {"model.rank=": "of the factors"}
    assert candidates(["--config-dir", "nowhere"], "model=my") == {}


def test_a_resumed_run_offers_the_keys_it_has():
    Path("run/.hydra").mkdir(parents=True)
    Path("run/.hydra/config.yaml").write_text("epochs: 20\nmodel:\n  name: resnet\n  depth: 8\n")
    assert set(candidates(["resume", "run"], "")) == {"epochs=", "model.name=", "model.depth="}


def test_an_answer_needs_neither_hydra_nor_jax_nor_pydantic():
    code = (
        "import sys; from dlrun.cli.main import main; main(['--complete', 'zsh', 'model=resnet', '']);"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "model.depth=" in done.stdout
    assert not {"jax", "hydra", "omegaconf", "pydantic", "numpy"} & set(done.stderr.split())


@pytest.mark.parametrize(
    ("line", "breaks", "expected"),
    [
        ("dlrun model=re", " =:", ["resnet "]),  # bash replaces what follows the =
        ("dlrun model=re", " ", ["model=resnet "]),  # a user took = out of COMP_WORDBREAKS
        ("dlrun 'model=re", " =:", ["model=resnet"]),  # in quotes = breaks nothing
        ("dlrun act=relu,gel", " =:", ["relu,gelu "]),
        ("dlrun model=resnet model.de", " =:", ["model.depth="]),
        ("dlrun resume ", " =:", ["/"]),
        ("dlrun model=nothing", " =:", []),
    ],
)
def test_bash_is_told_what_replaces_the_last_part_of_a_word(line, breaks, expected, capsys: pytest.CaptureFixture[str]):
    assert completion.answer(["bash", line, breaks]) == 0
    assert capsys.readouterr().out == "\n".join(expected) + "\n"


@pytest.fixture
def path_with_dlrun(tmp_path: Path) -> str:
    shim = tmp_path / "bin" / "dlrun"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m dlrun "$@"\n')
    shim.chmod(0o755)
    return f"{shim.parent}:{os.environ['PATH']}"


def typed(shell: list[str], setup: str, keys: list[tuple[str, str]], env: dict[str, str]) -> list[str]:
    """What an interactive shell shows after each of ``keys``, read up to the text expected with it."""
    terminal, theirs = pty.openpty()  # not pty.fork(): the process that runs the tests has threads, JAX's among them
    env = {**env, "TERM": "dumb", "PS1": "READY ", "HISTFILE": ""}
    process = subprocess.Popen(shell, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)

    def until(expected: str) -> str:
        nonlocal unread
        end = time.monotonic() + 30
        while expected not in unread and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                unread += os.read(terminal, 4096).decode(errors="replace")
        seen, found, unread = unread.partition(expected)
        return seen + found

    shown, unread = [], ""
    try:
        until("READY ")
        os.write(terminal, f"{setup}; echo LOAD''ED\n".encode())
        until("LOADED")
        until("READY ")
        for text, expected in keys:
            os.write(terminal, text.encode())
            shown.append(until(expected))
            os.write(terminal, b"\x15")  # Ctrl-U: an empty line again
            time.sleep(0.1)
    finally:
        os.close(terminal)
        process.kill()
        process.wait()
    return shown


KEYS = [
    ("dlrun model=re\t", "model=resnet "),
    ("dlrun model=resnet model.de\t", "model.depth="),
    ("dlrun --comp\t", "--completion "),
    ("dlrun 'model=re\t", "'model=resnet"),
    ("dlrun resume outp\t", "resume outputs/"),
    ("dlrun --config-dir=outp\t", "=outputs/"),
]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("shell", [["bash", "--norc", "--noprofile", "-i"], ["zsh", "-f", "-i"]], ids=["bash", "zsh"])
def test_a_real_shell_completes(shell: list[str], path_with_dlrun: str):
    if not shutil.which(shell[0]):
        pytest.skip(f"no {shell[0]}")
    Path("outputs").mkdir()
    setup = f'eval "$(dlrun --completion {shell[0]})"'
    shown = typed(shell, setup, KEYS, {**os.environ, "PATH": path_with_dlrun, "HOME": str(Path.cwd())})
    for (text, expected), seen in zip(KEYS, shown, strict=True):
        assert expected in seen, (text, seen)


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
def test_fish_completes(path_with_dlrun: str):
    Path("outputs").mkdir()
    lines = [text.rstrip("\t") for text, _ in KEYS if "'" not in text]
    script = "dlrun --completion fish | source; " + "; ".join(f"complete -C '{line}'" for line in lines)
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path_with_dlrun, "HOME": str(Path.cwd())},
    )
    assert done.stderr == ""
    for expected in (
        "model=resnet\tResidual network",
        "model.depth=\tlayers",
        "--completion\tprint",
        "outputs/",
        "--config-dir=outputs/",
    ):
        assert expected in done.stdout, (expected, done.stdout)
