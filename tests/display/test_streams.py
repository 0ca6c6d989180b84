"""Nobody reads stdout or stderr any more: a run goes on, a command that reads is over, and neither is an error."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import QUICK

GOLDENS = Path(__file__).parents[1] / "goldens"
DLRUN = (sys.executable, "-m", "dlrun")


def unread() -> int:
    """The end of a pipe to write to, whose other end is closed."""
    read, write = os.pipe()
    os.close(read)
    return write


def hung_up() -> int:
    """A terminal to write to, whose other side is gone: writing fails with EIO."""
    master, slave = os.openpty()
    os.close(master)
    return slave


def shell(script: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """What bash makes of a script in which ``dlrun`` is this one."""
    define = f'dlrun() {{ {sys.executable} -m dlrun "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", define + script], capture_output=True, text=True, timeout=300, env={**os.environ, **env}
    )


SHOWN = """
from dlrun.display import streams
streams.go_on_unread()
from dlrun.display.terminal import TerminalProgress
with TerminalProgress("val/accuracy") as progress:
    progress.start(0, 2)
    for step in (1, 2):
        progress.advance(step, epoch=step)
        progress.row({"step": step, "epoch": step, "split": "val", "accuracy": 0.5, "loss": 1.0, "time": 1.0})
        progress.warn("x" * 100_000)
"""


@pytest.mark.parametrize("outlet", [unread, hung_up])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_showing_progress_to_nobody_is_no_error(outlet, buffered):
    end = outlet()
    env = {**os.environ, "TERM": "xterm", "PYTHONUNBUFFERED": buffered}
    done = subprocess.run([sys.executable, "-c", SHOWN], stdout=end, stderr=end, env=env, timeout=60)
    os.close(end)
    assert done.returncode == 0


@pytest.mark.slow
def test_a_run_that_nobody_watches_is_trained():
    """stdout and stderr are one pipe, as in ``2>&1 | head``: each line that is told fails to arrive."""
    outlet = unread()
    done = subprocess.run([*DLRUN, *QUICK, "hydra.run.dir=run"], stdout=outlet, stderr=outlet, timeout=300)
    os.close(outlet)
    assert done.returncode == 0
    told = Path("run/log.txt").read_text()
    assert "step 20/20" in told
    assert "test  accuracy" in told, "what nobody read is in the log"
    assert json.loads(Path("run/summary.json").read_text())["status"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["2>&-", ">&- 2>&- <&-", "2>/dev/full", "| true", "2>&1 | head -1"])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_whatever_becomes_of_the_terminal(how, buffered):
    # No file of the run may take the place of a stream that was closed: what libraries write there would be in it.
    done = shell(f"set -o pipefail; dlrun {' '.join(QUICK)} hydra.run.dir=run {how}", PYTHONUNBUFFERED=buffered)
    assert done.returncode == 0
    assert json.loads(Path("run/run.json").read_text())["status"] == "completed"
    assert [json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert "Traceback" not in done.stderr
    assert ">" not in how or done.stderr == ""
    assert done.stdout == "run\n" or how not in ("2>&-", "2>/dev/full")


@pytest.mark.slow
@pytest.mark.parametrize("words", [QUICK, ("-m", *QUICK, "seed=0,1"), ("-m", *QUICK, "seed=0,1", "launcher.workers=1")])
def test_a_terminal_that_hangs_up_in_silence(words):
    """As of a process that is not of the terminal's session, and hears of it by EIO alone."""
    outlet = hung_up()
    where = f"hydra.{'sweep' if '-m' in words else 'run'}.dir=made"
    done = subprocess.run(
        [*DLRUN, *words, where], stdin=outlet, stdout=outlet, stderr=outlet, timeout=300, start_new_session=True
    )
    os.close(outlet)
    assert done.returncode == 0
    record = Path("made/sweep.json" if "-m" in words else "made/run.json")
    assert json.loads(record.read_text())["status"] == "completed"


QUICKLY = (["ls", "."], ["ls", ".", "--watch", "0.1"], ["--help"])
READING = (
    *QUICKLY,
    *(pytest.param(words, marks=pytest.mark.slow) for words in (
        ["compare", "."], ["show-run", "a"], ["diff", "a", "b"], ["show", "model=mlp"], ["show", "act=relu"],
        ["--version"], ["ls", "--help"], ["--cfg", "job"], ["--completion", "bash"],
    )),
)  # fmt: skip


@pytest.fixture
def two():
    """The directories of two runs, ``a`` and ``b``, in the working folder."""
    for name in "ab":
        shutil.copytree(GOLDENS / "runs" / "format1", name)


@pytest.mark.parametrize("outlet", [unread, hung_up])
@pytest.mark.parametrize("words", READING, ids=str)
@pytest.mark.usefixtures("two")
def test_a_reader_who_has_seen_enough_is_no_error(words, outlet):
    end = outlet()
    done = subprocess.run([*DLRUN, *words], stdout=end, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(end)
    assert (done.returncode, done.stderr) == (0, "")


def test_results_that_could_not_be_written_are_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*DLRUN, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "failed: OSError: [Errno 28] No space left on device (--debug shows where)\n"


def test_a_terminal_that_does_not_wait_gets_all_of_it():
    """Another program that shares the terminal may have made it non-blocking: then writing fails with EAGAIN."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    code = "from dlrun.display import streams; streams.go_on_unread(); print('x' * 300_000)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    time.sleep(0.5)  # until the pipe is full
    with open(read, "rb") as file:
        assert file.read() == b"x" * 300_000 + b"\n"
    assert process.communicate(timeout=10) == (None, b"")
    assert process.returncode == 0
