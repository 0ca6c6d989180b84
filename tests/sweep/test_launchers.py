"""Launchers: every unit ends once, whatever happens to its process; the command here is a stand-in for training."""

import importlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dlrun.errors import Unfit
from dlrun.sweep.launchers import local
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.launchers.local import Local

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
from dlrun.train.signals import Stop
from dlrun.sweep.launchers.process import leash

unit = Path(sys.argv[-1])
todo = json.loads(unit.read_text())
leash()

def save(signum, frame):
    print("saved", flush=True)
    sys.exit(128 + signum)

for signum in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, save)
starts = unit.with_suffix(".starts")
with starts.open("a") as file:
    shares = {k: os.environ.get(k) for k in ("NPROC", "CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION")}
    file.write(json.dumps({"pid": os.getpid(), "time": time.time(), **shares}) + "\\n")
print("started", flush=True)
if len(starts.read_text().splitlines()) <= todo.get("kills", 0):
    os.kill(os.getpid(), signal.SIGKILL)
if todo.get("stuck"):
    with Stop(lambda name: print(name, flush=True)):
        print("stuck", flush=True)
        time.sleep(60)
deadline = time.monotonic() + 30
while "meets" in todo and not unit.with_name(f"{todo['meets']}.starts").exists() and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(todo.get("seconds", 0))
with unit.with_suffix(".ends").open("a") as file:
    file.write(f"{time.time()}\\n")
sys.exit(todo.get("exit", 0))
"""
COMMAND = (sys.executable, "-c", STAND_IN)


@dataclass
class Sweep:
    """Units, and what a launcher told about them."""

    folder: Path
    codes: dict[str, int] = field(default_factory=dict)
    polls: int = 0
    signum: int | None = None
    stops_when: Callable[["Sweep"], bool] = lambda sweep: False
    enough: Callable[["Sweep"], bool] = lambda sweep: False

    def launch(self, launcher: Launcher, *units: dict[str, Any]) -> None:
        files = [self.folder / f"{i}.json" for i in range(len(units))]
        for file, todo in zip(files, units, strict=True):
            file.write_text(json.dumps(todo))
        launcher.launch(files, stop=self.stop, done=self.done, poll=self.poll, command=COMMAND)

    def stop(self) -> int | None:
        if self.signum is None and self.stops_when(self):
            self.signum = signal.SIGTERM
        return self.signum

    def done(self, unit: Path, code: int) -> bool:
        assert unit.stem not in self.codes, "a unit ends for good once"
        self.codes[unit.stem] = code
        return self.enough(self)

    def poll(self) -> None:
        self.polls += 1

    def starts(self, unit: int) -> list[dict[str, Any]]:
        file = self.folder / f"{unit}.starts"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def log(self, unit: int) -> str:
        return (self.folder / f"{unit}.log").read_text()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    folder = tmp_path / ".units"
    folder.mkdir()
    return Sweep(folder)


def overlap(sweep: Sweep, units: int) -> int:
    """How many units ran at a time, at most."""
    spans = [(sweep.starts(i)[0]["time"], float((sweep.folder / f"{i}.ends").read_text())) for i in range(units)]
    return max(sum(a <= at < b for a, b in spans) for at, _ in spans)


def test_all_units_run_so_many_at_a_time_and_say_how_they_ended(sweep):
    sweep.launch(Local(workers=2), {"meets": 1}, {"meets": 0, "exit": 1}, {"exit": 2}, {})
    assert sweep.codes == {"0": 0, "1": 1, "2": 2, "3": 0}
    assert [len(sweep.starts(i)) for i in range(4)] == [1, 1, 1, 1]
    assert overlap(sweep, 4) == 2
    assert sweep.polls >= 3


def test_a_killed_process_is_started_again(sweep):
    sweep.launch(Local(workers=2, retries=2), {"kills": 2}, {"kills": 3}, {})
    assert sweep.codes == {"0": 0, "1": 128 + signal.SIGKILL, "2": 0}
    assert [len(sweep.starts(i)) for i in range(3)] == [3, 3, 1]


def test_a_stop_is_passed_on_once_and_the_rest_is_left(sweep):
    sweep.stops_when = lambda sweep: bool(sweep.starts(0) and sweep.starts(1))
    began = time.monotonic()
    sweep.launch(Local(workers=2), {"seconds": 60}, {"seconds": 60}, {})
    assert time.monotonic() - began < 30
    assert sweep.codes == {"0": 143, "1": 143}
    assert sweep.log(0) == sweep.log(1) == "started\nsaved\n"
    assert sweep.starts(2) == []


def test_a_process_that_dies_while_stopping_is_not_started_again(sweep):
    sweep.stops_when = lambda sweep: bool(sweep.starts(0))
    sweep.launch(Local(workers=1), {"kills": 1})
    assert sweep.codes == {"0": 137}
    assert len(sweep.starts(0)) == 1


def test_enough_lets_running_units_end_and_starts_no_more(sweep):
    sweep.enough = lambda sweep: 1 in sweep.codes.values()
    sweep.launch(Local(workers=2), {"seconds": 1}, {"exit": 1}, {})
    assert sweep.codes == {"0": 0, "1": 1}
    assert sweep.starts(2) == []


def test_an_error_of_the_caller_stops_the_processes(sweep):
    def broken(unit: Path, code: int) -> bool:
        raise RuntimeError("broken")

    sweep.done = broken
    with pytest.raises(RuntimeError, match="broken"):
        sweep.launch(Local(workers=2), {"seconds": 60}, {"exit": 1})
    assert not alive(sweep.starts(0)[0]["pid"])


def test_output_of_all_starts_is_in_the_log(sweep):
    sweep.launch(Local(workers=1), {"kills": 1, "seconds": "x"})
    assert sweep.codes == {"0": 1}
    assert sweep.log(0).startswith("started\nstarted\nTraceback")
    assert "TypeError" in sweep.log(0)


PARENT = """
import sys
from pathlib import Path
from dlrun.train.signals import Stop
from dlrun.sweep.launchers.local import Local
with Stop() as stop:
    Local(workers=1).launch(
        [Path(sys.argv[1])], stop=lambda: stop.signum, done=lambda *_: False, poll=lambda: None,
        command=(sys.executable, "-c", sys.argv[2]),
    )
"""


def launched(sweep: Sweep, todo: dict[str, Any]) -> tuple["subprocess.Popen[bytes]", int]:
    """A process that launches a unit, and the process of the unit."""
    unit = sweep.folder / "0.json"
    unit.write_text(json.dumps(todo))
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(unit), STAND_IN])
    eventually(lambda: sweep.starts(0))
    return parent, sweep.starts(0)[0]["pid"]


def test_workers_save_and_end_when_their_parent_is_killed(sweep):
    parent, worker = launched(sweep, {"seconds": 60})
    parent.kill()
    parent.wait()
    eventually(lambda: not alive(worker))
    assert sweep.log(0) == "started\nsaved\n"


def test_ctrl_c_at_the_terminal_reaches_workers_once(sweep):
    parent, worker = launched(sweep, {"seconds": 60})
    assert os.getpgid(worker) != os.getpgid(parent.pid)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=30) == 0
    assert not alive(worker)
    assert sweep.log(0) == "started\nsaved\n"


def test_a_second_signal_ends_parent_and_workers(sweep):
    parent, worker = launched(sweep, {"stuck": True})
    eventually(lambda: "stuck" in sweep.log(0))
    parent.terminate()
    eventually(lambda: "SIGTERM" in sweep.log(0))
    assert parent.poll() is None
    assert alive(worker)
    parent.terminate()
    assert parent.wait(timeout=10) == 143
    eventually(lambda: not alive(worker), seconds=10)


def test_workers_share_cores_and_gpus(sweep, monkeypatch):
    monkeypatch.setenv("NPROC", "9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-ab")
    monkeypatch.delenv(local.FRACTION, raising=False)
    sweep.launch(Local(workers=4), *[{"seconds": 0.5}] * 4, {})
    found = [sweep.starts(i)[0] for i in range(5)]
    assert {f["NPROC"] for f in found} == {"2"}
    assert sorted(f["CUDA_VISIBLE_DEVICES"] for f in found[:4]) == ["4", "4", "GPU-ab", "GPU-ab"]
    assert {f[local.FRACTION] for f in found} == {"0.375"}


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("", []), ("-1", []), ("0, 2", ["0", "2"]), ("3,-1,4", ["3"]), ("MIG-1/2/3", ["MIG-1/2/3"])],
)
def test_gpus_are_those_that_cuda_shows(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local.gpus() == expected


def test_gpus_are_those_that_the_driver_lists(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local.gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho '  MIG 1g: y'\necho 'GPU 1: B (UUID: z)'\n")
    tool.chmod(0o755)
    assert local.gpus() == ["0", "1"]


# Other machines, as far as one machine can stand in for them.

SBATCH = """#!/bin/sh
cp "$1" "$FOLDER/script"
echo "Submitted batch job 7"
for i in 0 1 2; do
  SLURM_JOB_ID=7$i SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$i sh "$FOLDER/script" </dev/null >"$FOLDER/out.$i" 2>&1 &
done
"""
SRUN = """#!/bin/sh
while [ "$1" != "${1#--}" ]; do case $1 in --output|--error) shift 2;; *) shift;; esac; done
exec "$@"
"""
SACCT = "#!/bin/sh\necho 'JobID|State|NodeList'\n"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM's commands, as far as to run an array of three; gives the folder that the array's script is left in."""
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scancel": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def submitit(**values: Any) -> Launcher:
    pytest.importorskip("submitit")
    from dlrun.sweep.launchers.submitit import Submitit

    return Submitit(**values)


def test_submitit_hands_over_an_array(sweep, slurm):
    asked = {"partition": "gpu", "constraint": "a100", "mem_gb": 4.0, "gpus_per_node": 1, "cpus_per_task": 3}
    launcher = submitit(workers=2, timeout_min=90, setup=("export NPROC_BEFORE=$NPROC",), **asked)
    sweep.launch(launcher, {"exit": 1}, {"exit": 2}, {"seconds": 0.2})
    assert sweep.codes == {"0": 1, "1": 2, "2": 0}
    assert sweep.starts(0)[0]["NPROC"] == "3"
    lines = (slurm / "script").read_text().splitlines()
    wanted = "array=0-2%2 partition=gpu constraint=a100 mem=4GB gpus-per-node=1 cpus-per-task=3 time=90 job-name=dlrun"
    assert {f"#SBATCH --{w}" for w in wanted.split()} <= set(lines)
    assert "export NPROC_BEFORE=$NPROC" in lines


def test_submitit_stops_what_runs_and_takes_back_what_waits(sweep, slurm):
    sbatch = slurm / "sbatch"
    sbatch.write_text(SBATCH.replace("0 1 2", "0"))  # the others wait in the queue
    (slurm / "scancel").write_text('#!/bin/sh\necho "$@" >>"$FOLDER/cancelled"\n')
    sweep.stops_when = lambda sweep: bool(sweep.starts(0))
    sweep.launch(submitit(), {"seconds": 60}, {}, {})
    assert sweep.codes == {"0": 143}
    assert sweep.log(0) == "started\nsaved\n"
    assert (slurm / "cancelled").read_text() == "7_1\n7_2\n"


def test_submitit_starts_killed_units_again_without_slurm(sweep):
    sweep.launch(submitit(cluster="local", workers=2), {"kills": 1, "exit": 1}, {"exit": 2})
    assert sweep.codes == {"0": 1, "1": 2}
    assert [len(sweep.starts(i)) for i in range(2)] == [2, 1]


def test_a_preempted_unit_saves_and_is_queued_again(sweep):
    sent = []

    def preempt(sweep: Sweep) -> bool:
        if sweep.starts(0) and not sent:
            sent.append(parent(sweep.starts(0)[0]["pid"]))
            os.kill(sent[0], signal.SIGUSR2)
            os.kill(sweep.starts(0)[0]["pid"], signal.SIGUSR2)  # SLURM tells every process
        return False

    sweep.stops_when = preempt
    sweep.launch(submitit(cluster="local"), {"seconds": 3})
    assert sweep.codes == {"0": 0}
    assert sweep.log(0) == "started\nsaved\nstarted\n"


@pytest.mark.slow
def test_a_lost_machine_is_like_a_killed_process(sweep):
    lost = []

    def lose(sweep: Sweep) -> bool:
        if sweep.starts(0) and not lost:
            lost.append(sweep.starts(0)[0]["pid"])
            os.kill(parent(lost[0]), signal.SIGKILL)
        return False

    sweep.stops_when = lose
    sweep.launch(submitit(cluster="local"), {"seconds": 3})
    assert sweep.codes == {"0": 0}
    assert sweep.log(0) == "started\nsaved\nstarted\n"
    assert not alive(lost[0])


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")  # JAX's, where a test before has used it
def test_ray(sweep):
    pytest.importorskip("ray")
    from dlrun.sweep.launchers.ray import Ray

    sweep.stops_when = lambda sweep: len(sweep.codes) == 3 and bool(sweep.starts(3))
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    sweep.launch(Ray(workers=1, num_cpus=2), {"kills": 1, "exit": 1}, {"exit": 2}, {}, {"seconds": 60}, {})
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert sweep.codes == {"0": 1, "1": 2, "2": 0, "3": 143}
    assert [len(sweep.starts(i)) for i in range(5)] == [2, 1, 1, 1, 0]
    assert sweep.log(3) == "started\nsaved\n"
    assert sweep.starts(1)[0]["NPROC"] == "2"


def test_ray_that_is_not_there_is_named(monkeypatch):
    from dlrun.sweep.launchers.ray import Ray

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert Ray(address=address).address == address
    for gone in (address, f"ray://{address}"):
        with pytest.raises(Unfit, match=f"^address={gone} must "):
            Ray(address=gone)


@pytest.mark.parametrize(("module", "name"), [("submitit", "Submitit"), ("ray", "Ray")])
def test_a_package_that_is_missing_is_named(monkeypatch, module, name):
    launcher = getattr(importlib.import_module(f"dlrun.sweep.launchers.{module}"), name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unfit, match=f"^name={module} must .*pip install 'dlrun.{module}.'$"):
        launcher()


def test_slurm_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unfit, match=r"^cluster=slurm must "):
        submitit(cluster="slurm")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    """Whether a process is there that isn't only a remainder."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def eventually(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never came"
        time.sleep(0.05)
