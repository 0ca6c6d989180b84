"""SIGTERM and Ctrl-C in every phase: the state is saved, the exit code says so, and the run goes on later."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrun.runs import manifest
from tests.digest import digest

WORDS = ("model.widths=[16]", "log.plot=false", "dropout=0.1", "schedule=constant")


def start(*words: str, directory: Path, patch: str = "") -> subprocess.Popen[str]:
    """A run in a process of its own; ``patch`` is Python code executed first, to make a phase last."""
    code = f"import sys\n{patch}\nfrom dlrun.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *WORDS, *words, f"hydra.run.dir={directory}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came; exit code {process.wait()}")


SLOW_PHASES = {
    "compile": """
from dlrun.train.single import SingleState
old = SingleState.start
def start(self, saved):
    print('PHASE', file=sys.stderr, flush=True)
    import time; time.sleep(1.0)
    return old(self, saved)
SingleState.start = start
""",
    "train": """
from dlrun.train.single import SingleState
old = SingleState.advance
def advance(self, step, until):
    if step:
        print('PHASE', file=sys.stderr, flush=True)
        import time; time.sleep(0.05)
    return old(self, step, step + 1)
SingleState.advance = advance
""",
    "evaluate": """
from dlrun.train.single import SingleState
old = SingleState.evaluate
def metrics(self, *args, **kwargs):
    print('PHASE', file=sys.stderr, flush=True)
    import time; time.sleep(1.0)
    return old(self, *args, **kwargs)
SingleState.evaluate = metrics
""",
    "save": """
import dlrun.runs.checkpoint as c
old = c.Checkpoints.save
def save(self, *args):
    print('PHASE', file=sys.stderr, flush=True)
    import time; time.sleep(1.0)
    return old(self, *args)
c.Checkpoints.save = save
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("phase", SLOW_PHASES)
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(phase, signum, code, own_folder, shell, dlrun):
    if signum == signal.SIGINT and phase in ("compile", "save"):
        pytest.skip("the same code as for SIGTERM")
    directory = own_folder / "run"
    process = start("epochs=4", directory=directory, patch=SLOW_PHASES[phase])
    wait_for(process, "PHASE")
    time.sleep(0.2)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out.splitlines()[-1] == str(directory)
    assert "Traceback" not in err
    run = json.loads((directory / "run.json").read_text())
    assert run["status"] == "stopped"
    assert manifest.sound(directory / "checkpoints")
    assert shell("resume", str(directory)).code == 0
    assert digest(directory) == digest(dlrun(*WORDS, "epochs=4").directory)


@pytest.mark.slow
def test_a_second_signal_ends_the_process_at_once(own_folder, shell, dlrun):
    directory = own_folder / "run"
    process = start("epochs=4", directory=directory, patch=SLOW_PHASES["save"].replace("sleep(1.0)", "sleep(60)"))
    wait_for(process, "PHASE")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143
    assert time.monotonic() - began < 5
    assert shell("resume", str(directory)).code == 0
    assert digest(directory) == digest(dlrun(*WORDS, "epochs=4").directory)


def test_handlers_are_put_back():
    from dlrun.train.signals import Stop

    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while stop.signum is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.signum == signal.SIGTERM
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before
    assert signal.set_wakeup_fd(-1) == -1
