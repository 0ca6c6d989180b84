"""SIGTERM, Ctrl-C and hang-ups in every phase: the state is saved, the exit code says so, and the run goes on later."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrun.runs import manifest
from tests import slow_phases
from tests.digest import digest

WORDS = ("model.widths=[16]", "log.plot=false", "dropout=0.1", "schedule=constant")


def start(*words: str, directory: Path, waits_in: str = "none") -> subprocess.Popen[str]:
    """A run in a process of its own, which waits in a phase: see tests/slow_phases.py."""
    return subprocess.Popen(
        [sys.executable, "-P", slow_phases.__file__, waits_in, *WORDS, *words, f"hydra.run.dir={directory}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came; exit code {process.wait()}")


def interrupt(process: subprocess.Popen[str], signum: int) -> None:
    """Sends a signal to a run that waits in a phase, and waits until the run says that it got it."""
    wait_for(process, "PHASE")
    process.send_signal(signum)
    wait_for(process, f"{signal.Signals(signum).name}: saving the state and stopping")


@pytest.mark.slow
@pytest.mark.parametrize("phase", slow_phases.PHASES)
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_stops(phase, signum, code, own_folder, shell, dlrun):
    if signum != signal.SIGTERM and phase in ("compile", "save"):
        pytest.skip("the same code as for SIGTERM")
    directory = own_folder / "run"
    process = start("epochs=4", directory=directory, waits_in=phase)
    interrupt(process, signum)
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
    process = start("epochs=4", directory=directory, waits_in="save")
    interrupt(process, signal.SIGTERM)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 143
    process.communicate()
    assert shell("resume", str(directory)).code == 0
    assert digest(directory) == digest(dlrun(*WORDS, "epochs=4").directory)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("-m", "seed=0,1"), ("-m", "seed=0,1", "launcher.workers=2")])
def test_a_terminal_that_is_closed_saves_and_stops(more, own_folder, shell):
    """The system sends SIGHUP, here twice, and writing to the terminal fails with EIO."""
    master, slave = os.openpty()
    words = [*WORDS, "epochs=2000", "log.every=100", *more, f"hydra.{'sweep' if more else 'run'}.dir=made"]
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "dlrun", *words],
        stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    while not [*own_folder.glob("made/**/manifest.sha256")]:
        assert process.poll() is None
        os.read(master, 1000)
        time.sleep(0.05)
    os.close(master)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    for file in own_folder.glob("made/**/run.json"):
        assert json.loads(file.read_text())["error"].startswith(
            "by SIGTERM" if "launcher.workers=2" in more else "by SIGHUP"
        )
        assert manifest.sound(file.parent / "checkpoints")
    assert not more or json.loads(Path("made/sweep.json").read_text())["status"] == "stopped"


def test_a_run_that_shall_outlive_its_terminal_does():
    """As by ``nohup``, which has SIGHUP ignored. Nor is a hang-up ever the second signal, which ends the process."""
    code = """
import os, signal, sys, time
from dlrun.train.signals import Stop
with Stop(lambda name: print(name, flush=True)) as stop:
    os.kill(os.getpid(), signal.SIGHUP)
    print(stop.signum, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.5)
"""
    for first, told in (("nohup", "None\nSIGTERM\n"), ("env", "1\nSIGHUP\n")):
        done = subprocess.run([first, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert sorted(done.stdout) == sorted(told), done.stdout


def test_handlers_are_put_back():
    from dlrun.train.signals import Stop

    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while stop.signum is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.signum == signal.SIGTERM
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
    assert signal.set_wakeup_fd(-1) == -1
