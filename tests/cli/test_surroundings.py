"""What a command meets outside: names of folders, no home, terminals of any width, repositories git can't read."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dlrun.cli import help, ls
from dlrun.cli.main import main
from dlrun.display import line_chart
from dlrun.display.terminal import TerminalProgress
from dlrun.display.units import fitted
from dlrun.sweep.display import SweepDisplay
from dlrun.system import environment, user_folders
from tests.conftest import QUICK
from tests.sweeps import TINY, record

NAMES = [
    "a=b",
    "a b",
    "it's",
    'q"q',
    "$HOME",
    "${x}",
    "{y}",
    "new\nline",
    "a,b",
    "é模",
    "~t",
    "a\\b",
    "#h",
    "%s",
    "[x]",
    "a:b",
    "=",
    "*",
]
QUICKLY = ("a=b", "${x}", "a\\b", "new\nline")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and a sweep, to be copied."""
    folder, before = tmp_path_factory.mktemp("made"), os.getcwd()
    os.chdir(folder)
    try:
        assert main([*QUICK, "norm=none", "hydra.run.dir=run"]) == 0
        assert main(["-m", *TINY, "epochs=1", "norm=none", "seed=0,1", "hydra.sweep.dir=sweep"]) == 0
    finally:
        os.chdir(before)
    return folder / "run", folder / "sweep"


@pytest.mark.parametrize("name", [n if n in QUICKLY else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_names_of_folders(dlrun: Callable, made: tuple[Path, Path], own_folder: Path, name: str) -> None:
    for place, source in {"d": made[0], "e": made[0], "s": made[1]}.items():
        shutil.copytree(source, own_folder / place / name)
    (own_folder / "c" / name / "act").mkdir(parents=True)
    (own_folder / "c" / name / "act" / "mine.yaml").write_text("name: gelu\n")
    run, other = f"d/{name}", f"e/{name}"
    for words in (
        ["show-run", run], ["ls", run], ["compare", run, other], ["compare", "--paths", run], ["diff", run, other],
        ["prune", "--keep", "best", run], ["--config-dir", f"c/{name}", "--cfg", "job", "act=mine"],
    ):  # fmt: skip
        done = dlrun(*words)
        assert done.code == 0, (words, done.err)
    done = dlrun("resume", run, "epochs=2")
    assert (done.code, done.out) == (0, f"{run}\n"), done.err
    os.chdir("d")
    assert dlrun("resume", name).code == 0
    os.chdir("..")
    done = dlrun("resume", f"s/{name}", "seed=0,1,2")
    assert done.code == 0, done.err
    assert done.out == f"s/{name}\n"
    assert [job["status"] for job in record(own_folder / "s" / name)["jobs"]] == ["completed"] * 3
    assert os.listdir("s") == [name]  # no other was made


def test_names_that_are_no_text(made: tuple[Path, Path], own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in such a folder can be read and go on; stdout has its name as it is. No record is to hold such words."""
    name = os.fsdecode(b"\xff\xfe")
    shutil.copytree(made[0], name)
    env = {**os.environ, "PYTHONPATH": str(Path(help.__file__).parents[2])}
    for words in (["resume", name, "epochs=2"], ["ls", name], ["compare", "--paths", name]):
        done = subprocess.run([sys.executable, "-m", "dlrun", *words], capture_output=True, env=env)
        assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "-m", "dlrun", "resume", name], capture_output=True, env=env)
    assert done.stdout == b"\xff\xfe\n"
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    "words", [["hydra.run.dir='\udcff'"], ["--config-dir", "\udcff"], ["-m", "seed=0,1", "data.path='\udcff'"]]
)
def test_words_that_are_no_text(dlrun: Callable, own_folder: Path, words: list[str]) -> None:
    (own_folder / "\udcff").mkdir()
    done = dlrun(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("\\udcff': not in UTF-8; allowed: text in UTF-8\n") or "\\udcff: not in UTF-8" in done.err
    assert os.listdir(own_folder) == ["\udcff"]


def test_a_reference_in_the_name_of_a_directory(dlrun: Callable, own_folder: Path) -> None:
    for words in (["hydra.run.dir=a${nope}"], ["-m", "seed=0,1", "hydra.sweep.dir=a${nope}"]):
        done = dlrun(*words)
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert "dir=a${nope}: Interpolation key 'nope' not found" in done.err
    assert os.listdir(own_folder) == []


def test_a_resume_of_what_is_not_there_still_asks_which(dlrun: Callable) -> None:
    assert "resume: which run?" in dlrun("resume", "seed=1").err


def test_a_working_folder_that_was_deleted(dlrun: Callable, own_folder: Path) -> None:
    gone = own_folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    for words in ([], ["-m", "seed=0,1"], ["ls"], ["compare"], ["resume", "x"], ["show", "act=gelu"], ["--cfg", "job"]):
        done = dlrun(*words)
        assert (done.code, done.out) == (2, "")
        assert done.err == "error: working folder: No such file or directory; allowed: a folder that exists\n"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without HOME whose user has no entry in the system's list."""

    def none(_: object) -> None:
        raise KeyError

    import pwd

    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DLRUN_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", none)
    monkeypatch.setattr(pwd, "getpwnam", none)


def test_no_home(dlrun: Callable, homeless: None, own_folder: Path) -> None:
    assert (user_folders.home(), user_folders.cache(), user_folders.data(), user_folders.expanded("~/x")) == (
        None,
        None,
        None,
        None,
    )
    assert user_folders.expanded("x/~") == Path("x/~")
    run = dlrun(*QUICK, "steps=1", "epochs=null")
    assert run.code == 0, run.err
    for words in (["compare"], ["ls"], ["show-run", str(run.directory)], ["resume", str(run.directory)]):
        assert dlrun(*words).code == 0, words
    for words in (["--complete", "fish", "resume", "~/x", ""], ["--complete", "fish", "--config-dir", "~/x", "mo"]):
        assert dlrun(*words).code == 0
    for words, says in {
        ("data=mnist", "data.download=false"): "data.folder=null: must hold train-images-idx3-ubyte.gz",
        ("data=mnist",): "data.folder=null: must name a folder to fetch mnist into, as there is no home folder",
        ("data=mnist", "data.folder='~/x'"): "data.folder=~/x: must be a folder that exists",
        ("data=table", "data.path='~/x.csv'"): "data.path=~/x.csv: must name",
        ("compile_cache='~/x'",): "compile_cache=~/x: there is no such home folder; allowed: another path",
    }.items():
        done = dlrun(*words)
        assert done.code == 2, (words, done)
        assert says in done.err, (words, done.err)
    assert sorted(os.listdir(own_folder)) == ["outputs"]  # nothing under the name ~


@pytest.mark.parametrize("columns", [*range(1, 8), 20, 21, 40, 79, 300, 10**6, 0, -3, "abc", ""])
def test_words_for_people_at_any_width(dlrun: Callable, monkeypatch: pytest.MonkeyPatch, columns: object) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (["--help"], ["show", "model=transformer"], ["show", "act"], ["compare", "--help"], ["ls"]):
        done = dlrun(*words)
        assert (done.code, "Traceback" in done.err) == (0, False), (words, done.err)
        assert done.out or words == ["ls"]


def test_drawings_at_any_width() -> None:
    """And what moves: all that a width goes into."""
    x = np.linspace(0, 1, 50)
    charts = [
        line_chart.Chart("t", "x", x, {"a": x, "b": -x}),
        line_chart.Chart("t", "step", np.arange(1), {"a": np.zeros(1)}),
    ]
    for width in range(1, 301):
        console = Console(file=io.StringIO(), width=width, force_terminal=True)
        for chart in charts if width < 120 else []:
            assert str(line_chart.text(chart, width)).count("\n") > 5
            line_chart.text(chart, width, unicode=False)
        for shown in (progress := TerminalProgress("val/accuracy"), SweepDisplay("val/accuracy", "max")):
            console.print(shown)
        assert len(fitted([(0, "step 1/2"), (1, "loss 3")], width)) <= width
        assert len(ls.cut("a long line", width)) <= width
        assert progress.total == 0


def repository(folder: Path, *, commit: bool = True) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", folder], check=True)
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    subprocess.run([*git, "add", "-A"], cwd=folder, check=True)
    if commit:
        subprocess.run([*git, "commit", "-q", "-m", "one"], cwd=folder, check=True)


def test_git_with_names_that_are_no_text(own_folder: Path) -> None:
    repository(own_folder)
    subprocess.run(["git", "config", "core.quotePath", "false"], check=True)
    subprocess.run(["git", "checkout", "-q", "-b", b"br\xe9"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert environment.git(own_folder) == {"commit": head, "dirty": False}
    (own_folder / os.fsdecode(b"caf\xe9.txt")).write_text("y")
    assert environment.git(own_folder) == {"commit": head, "dirty": True}


def test_git_before_the_first_commit(own_folder: Path) -> None:
    repository(own_folder, commit=False)
    assert environment.git(own_folder) == {"commit": None, "dirty": True}


FAULTS = {
    "echo 'fatal: detected dubious ownership' >&2; exit 128": "fatal: detected dubious ownership",
    "printf '\\377\\n' >&2; exit 1": "�",
    "exit 3": "non-zero exit status 3",
    "sleep 60": "timed out",
    None: "git is not installed",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_git_that_cannot_tell(own_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None) -> None:
    tools = own_folder / "tools"
    tools.mkdir()
    if fault is not None:
        (tools / "git").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{fault}\n")
        (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(environment, "GIT_SECONDS", 0.5)
    assert environment.git(own_folder) is None  # there is nothing to tell
    (own_folder / ".git").mkdir()
    (own_folder / "below").mkdir()
    told = environment.git(own_folder / "below")
    assert told is not None
    assert (told["commit"], told["dirty"]) == (None, None)
    assert FAULTS[fault] in told["error"]


def test_git_runs_nothing_that_a_repository_asks_for(own_folder: Path) -> None:
    repository(own_folder)
    (own_folder / "hook").write_text("#!/bin/sh\ntouch ran\n")
    (own_folder / "hook").chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", "./hook"], check=True)
    assert environment.git(own_folder) is not None
    assert not (own_folder / "ran").exists()
