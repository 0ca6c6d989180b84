"""Nothing is imported from the working folder: one full of modules of known names, each of which leaves a mark."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dlrun
from dlrun.sweep.launchers.base import TRAIN
from dlrun.sweep.launchers.process import Errand

PACKAGE = Path(dlrun.__file__).parent
EVIL = """
with open({mark!r}, "a") as mark:
    mark.write(__name__ + "\\n")
"""
TINY = ("model.widths=[4]", "epochs=null", "steps=2", "log.plot=false", "norm=none")


def names() -> list[str]:
    """Names of modules that a program of ours may import: Python's, and all that are installed here."""
    installed = {name for name in importlib.metadata.packages_distributions() if name.isidentifier()}
    return sorted({*sys.stdlib_module_names, *installed, "sitecustomize", "usercustomize", "dlrun", "tests", "mynet"})


@pytest.fixture
def evil(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, which is the working folder; gives the file of marks."""
    mark, folder = own_folder / "mark", own_folder / "here"
    folder.mkdir()
    for i, name in enumerate(names()):
        file = folder / f"{name}.py" if i % 2 else folder / name / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(EVIL.format(mark=str(mark)))
    plugins = folder / "hydra_plugins"
    plugins.mkdir()
    (plugins / "mine.py").write_text(EVIL.format(mark=str(mark)))
    monkeypatch.chdir(folder)
    return mark


@pytest.fixture
def call(own_folder: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A Python process that finds this dlrun, and has nothing else in its environment that protects it."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONSAFEPATH", "DLRUN_TRUST")}
    env["PYTHONPATH"] = str(PACKAGE.parent)

    def call(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, env=env)

    return call


@pytest.fixture
def script(own_folder: Path) -> str:
    """The program ``dlrun`` as pip writes it."""
    file = own_folder / "bin" / "dlrun"
    file.parent.mkdir()
    file.write_text("import sys\nfrom dlrun.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n")
    return str(file)


def test_the_folder_is_evil(evil: Path, call: Callable) -> None:
    """Or the other tests would say nothing."""
    call("-m", "wave")
    assert evil.exists()


@pytest.mark.parametrize(
    "words", ["--version", "--help", "show act=gelu", "ls", "compare", "--cfg job", "-m seed=0,1 --dry-run"]
)
def test_the_program(evil: Path, call: Callable, script: str, words: str) -> None:
    done = call(script, *words.split())
    assert not evil.exists(), evil.read_text()
    assert "Traceback" not in done.stderr, done.stderr


def test_dlrun_as_a_module(evil: Path, call: Callable) -> None:
    """But for the name dlrun itself, and what Python imports before the program has its turn."""
    Path("../started.py").write_text("import sys\nprint(*sys.modules)\n")
    started = call("-P", "-c", "import runpy, sys; sys.path.append('..'); runpy.run_module('started')").stdout.split()
    for name in ("dlrun", *started):
        for file in (Path(f"{name}.py"), Path(name, "__init__.py")):
            file.unlink(missing_ok=True)
    done = call("-m", "dlrun", "--cfg", "job", "model=cnn")
    assert not evil.exists(), evil.read_text()
    assert done.returncode == 0, done.stderr
    assert "channels:" in done.stdout


def test_a_checkout_that_is_not_installed_is_still_found(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder is where the package lies: its processes find it, though not by looking there first."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(PACKAGE.parent))])
    from dlrun.system import isolation

    isolation.isolate_children()
    code = "import dlrun, sys; print(dlrun.__file__, '' in sys.path)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == [str(PACKAGE / "__init__.py"), "False"]


def test_a_worker(evil: Path, call: Callable) -> None:
    done = call(*TRAIN[1:], "nothing.json")
    assert not evil.exists(), evil.read_text()
    assert "No such file" in done.stderr


def test_processes_of_libraries(evil: Path, call: Callable, script: str, own_folder: Path) -> None:
    """Spawned by multiprocessing and joblib in a part of the user's own, which is found where it is trusted."""
    own = own_folder / "own"
    (own / "data").mkdir(parents=True)
    (own / "data" / "spawned.yaml").write_text("name: spawning:rows\n")
    (own / "spawning.py").write_text(
        "import math, multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "def rows():\n"
        "    for how in ('spawn', 'forkserver'):\n"
        "        with ProcessPoolExecutor(1, multiprocessing.get_context(how)) as pool:\n"
        "            assert pool.submit(math.sqrt, 4.0).result() == 2\n"
        "    import joblib\n"
        "    assert joblib.Parallel(2)(joblib.delayed(math.sqrt)(x) for x in (4.0, 9.0)) == [2, 3]\n"
        "    print('spawned')\n"
        "    raise SystemExit(3)\n"
    )
    done = call(script, "--config-dir", str(own), "--trust", "spawning", "data=spawned")
    assert not evil.exists(), evil.read_text()
    assert (done.returncode, done.stdout.strip()) == (3, "spawned"), done.stderr


def test_submitit(evil: Path, call: Callable) -> None:
    """Its own process as well as the one that trains."""
    pytest.importorskip("submitit")
    unit = evil.parent / "units" / "0.json"
    unit.parent.mkdir()
    unit.write_text("{}")
    code = (
        "import sys; from pathlib import Path; from dlrun.system import isolation; isolation.isolate_children()\n"
        "from dlrun.sweep.launchers.submitit import Submitit\n"
        "command = (sys.executable, '-P', '-c', 'raise SystemExit(0)')\n"
        f"Submitit(cluster='local').launch([Path({str(unit)!r})], stop=lambda: None,\n"
        "    done=lambda unit, code: print(code), poll=lambda: None, command=command)\n"
    )
    done = call("-P", "-c", code)
    assert not evil.exists(), evil.read_text()
    assert done.stdout.split() == ["0"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["launcher.workers=2", "launcher=submitit launcher.cluster=local", "launcher=ray"])
def test_sweeps_by_processes(evil: Path, call: Callable, script: str, launcher: str) -> None:
    if "launcher=" in launcher and importlib.util.find_spec(launcher.split()[0].partition("=")[2]) is None:
        pytest.skip("not installed")
    done = call(script, "-m", *launcher.split(), *TINY, "batch_size=64,128")
    assert not evil.exists(), evil.read_text()
    assert done.returncode == 0, done.stderr
    assert [job["status"] for job in json.loads((Path(done.stdout.strip()) / "sweep.json").read_text())["jobs"]] == [
        "completed",
        "completed",
    ]


@pytest.mark.slow
def test_trusted_parts_alone_come_from_there(evil: Path, call: Callable, script: str) -> None:
    """In the processes of a sweep, too; what is installed keeps its place before them."""
    for file in (Path("mynet.py"), Path("mynet", "__init__.py")):
        file.unlink(missing_ok=True)
    Path("conf/act").mkdir(parents=True)
    Path("conf/act/mine.yaml").write_text("name: mynet:mine\n")
    Path("mynet.py").write_text("import random\nimport jax.numpy as jnp\ndef mine(x):\n    return jnp.tanh(x)\n")
    words = ("--config-dir", "conf", "--trust", "mynet", "-m", "launcher.workers=2", *TINY, "act=mine", "seed=0,1")
    done = call(script, *words)
    assert not evil.exists(), evil.read_text()
    assert done.returncode == 0, done.stderr


def test_an_errand_keeps_the_folder_that_paths_are_relative_to(own_folder: Path) -> None:
    assert Errand(TRAIN, own_folder / "0.json", {}).cwd == own_folder
