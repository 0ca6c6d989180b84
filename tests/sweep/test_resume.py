"""A sweep that goes on: what is there stays, what is missing is trained, and it ends as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrun.sweep.launchers.base import TRAINS
from tests.data.test_fingerprint import files
from tests.digest import digest
from tests.sweeps import SMALL, contents, record, runs, statuses, words

KILLS = int(os.environ.get("DLRUN_TEST_KILLS", "3"))


def edit(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_only_what_is_missing_is_trained(dlrun):
    first = dlrun("-m", *SMALL, "epochs=2", "seed=range(0,2)")
    folder, command = first.directory, ("-m", *SMALL, "epochs=2")
    zero, one = (contents(run) for run in runs(folder))
    before = [digest(run) for run in runs(folder)]

    done = dlrun(*command, f"hydra.sweep.dir={folder}", "seed=range(0,2)")  # nothing
    assert (done.code, done.out) == (0, f"{folder}\n"), done.err
    assert [contents(run) for run in runs(folder)] == [zero, one]

    done = dlrun(*command, "seed=range(0,4)", f"hydra.sweep.dir={folder}")  # two more
    assert done.code == 0, done.err
    assert statuses(folder) == ["completed"] * 4
    assert [contents(run) for run in runs(folder)[:2]] == [zero, one]
    assert [words(run)[-2:] for run in runs(folder)] == [["epochs=2", f"seed={i}"] for i in range(4)]
    assert digest(runs(folder)[3]) == digest(dlrun(*words(runs(folder)[3])).directory)
    assert "4/4" not in done.err
    before += [digest(run) for run in runs(folder)[2:]]

    # Gone, failed, killed: these again, in place.
    shutil.rmtree(folder / "0")
    edit(folder / "1" / "run.json", status="failed")
    edit(folder / "2" / "run.json", status="running")
    shutil.rmtree(folder / "2" / "checkpoints")
    (folder / "2" / "summary.json").unlink()
    kept = contents(folder / "3")
    record_before = contents(folder)[folder / "sweep.json"][0]
    told = dlrun("-m", "--dry-run", *SMALL, "epochs=2", "seed=range(0,4)", f"hydra.sweep.dir={folder}")
    assert told.code == 0, told.err
    assert told.out.splitlines()[0] == "4 jobs, 1 of them done"
    assert (folder / "sweep.json").read_bytes() == record_before
    assert not (folder / "0").exists()
    done = dlrun("resume", str(folder))
    assert (done.code, done.out) == (0, f"{folder}\n"), done.err
    assert statuses(folder) == ["completed"] * 4
    assert [digest(run) for run in runs(folder)] == before
    assert contents(folder / "3") == kept

    # More seeds through resume; a run that is being trained elsewhere is not touched.
    done = dlrun("resume", str(folder), "seed=range(3,6)")
    assert done.code == 0, done.err
    assert statuses(folder) == ["completed"] * 6
    assert contents(folder / "3") == kept
    assert [json.loads((run / "run.json").read_text())["seed"] for run in runs(folder)] == list(range(6))


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A sweep that was made, and a run."""
    from dlrun.cli.main import main

    folder = tmp_path_factory.mktemp("there")
    assert main(["-m", *SMALL, "epochs=1", "seed=0,1", f"hydra.sweep.dir={folder}/sweep"]) == 0
    assert main([*SMALL, "epochs=1", f"hydra.run.dir={folder}/run"]) == 0
    return folder


DAMAGE = {
    "torn": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "no jobs": lambda text: '{"format": 1, "overrides": []}',
    "a list": lambda text: "[]",
    "other jobs": lambda text: text.replace('"digest"', '"digestion"'),
    "a directory elsewhere": lambda text: text.replace('"directory": "1"', '"directory": "../../x"'),
    "the directory of another": lambda text: text.replace('"directory": "1"', '"directory": "0"'),
    "the number of another": lambda text: text.replace('"job": 1', '"job": 0'),
    "a number as text": lambda text: text.replace('"job": 1', '"job": "1"'),
    "no folders": lambda text: text.replace('"config_dirs": []', '"config_dirs": 5'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_refused(damage, there, dlrun, tmp_path):
    shutil.copytree(there / "sweep", tmp_path / "sweep")
    file = tmp_path / "sweep" / "sweep.json"
    file.write_text(DAMAGE[damage](file.read_text()))
    before = contents(tmp_path)
    for command in (["resume", str(tmp_path / "sweep")], ["-m", *SMALL, "seed=0,1", "hydra.sweep.dir=sweep"]):
        done = dlrun(*command)
        assert (done.code, done.out) == (2, "")
        assert len(done.err.splitlines()) == 1
        assert "sweep.json: can't be read: it is not the record of a sweep" in done.err
    assert contents(tmp_path) == before


OTHERS = {
    "sweep": ["seed=7,8"],
    "run": ["seed=0,1"],
    "run/checkpoints": ["seed=0,1"],
}


@pytest.mark.parametrize("folder", OTHERS)
def test_the_folder_of_something_else_is_refused(folder, there, dlrun):
    before = contents(there)
    done = dlrun("-m", *SMALL, "epochs=1", f"hydra.sweep.dir={there}/{folder}", *OTHERS[folder])
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"error: hydra.sweep.dir={there}/{folder}"[:60])
    assert contents(there) == before


def lose_record(run):
    (run / "run.json").unlink()


def tear_record(run):
    (run / "run.json").write_text("{")


def lose_summary(run):
    """As of a process that was killed between run.json and summary.json."""
    (run / "summary.json").unlink()


@pytest.mark.parametrize("lose", [lose_record, tear_record, lose_summary])
@pytest.mark.parametrize("how", [(), ("launcher.workers=1",)], ids=["here", "workers"])
def test_what_a_run_lost_is_made_again(lose, how, there, dlrun, own_folder, monkeypatch):
    shutil.copytree(there / "sweep", own_folder / "sweep")
    before = digest(own_folder / "sweep" / "0")
    lose(own_folder / "sweep" / "0")
    if how:  # what a worker does, here
        monkeypatch.setattr("dlrun.sweep.launchers.base.Launcher.launch", trained_here)
    done = dlrun("resume", "sweep", *how)
    assert done.code == 0, done.err
    assert statuses(own_folder / "sweep") == ["completed"] * 2
    assert digest(own_folder / "sweep" / "0") == before
    made = json.loads((own_folder / "sweep" / "0" / "run.json").read_text())
    assert made["command"] == ["dlrun", *words(own_folder / "sweep" / "0")]
    assert made["start"] <= made["end"]


def trained_here(self, units, *, done, **how):
    from dlrun.sweep.worker import main

    for unit in units:
        done(unit, main(str(unit)))


@pytest.mark.parametrize("how", [(), ("seed=0",), ("launcher.workers=1",)])
def test_a_complete_sweep_is_left_as_it_is(how, there, dlrun, own_folder):
    shutil.copytree(there / "sweep", own_folder / "sweep")
    before = files(own_folder / "sweep")
    done = dlrun("resume", "sweep", *how)
    assert (done.code, done.out) == (0, "sweep\n"), done.err
    assert done.err.endswith("nothing to do: all jobs of sweep are done\n")
    assert files(own_folder / "sweep") == before
    edit(own_folder / "sweep" / "sweep.json", status="running")  # killed once all runs were done
    assert dlrun("resume", "sweep").code == 0
    assert record(own_folder / "sweep")["status"] == "completed"


def test_a_run_that_was_changed_by_itself_is_told(there, dlrun, own_folder):
    shutil.copytree(there / "sweep", own_folder / "sweep")
    assert dlrun("resume", "sweep/0", "epochs=2").code == 0
    kept = contents(own_folder / "sweep" / "0")
    done = dlrun("resume", "sweep")
    assert done.code == 0, done.err
    assert done.err.startswith("warning: job 0: seed=0: sweep/0 was resumed by itself with epochs=2\n")
    assert done.err.count("warning") == 1
    assert contents(own_folder / "sweep" / "0") == kept


def test_the_record_keeps_what_made_the_sweep(there, dlrun, own_folder, monkeypatch):
    shutil.copytree(there / "sweep", own_folder / "sweep")
    edit(own_folder / "sweep" / "sweep.json", command=["dlrun", "-m", "x"])
    for seeds in ("0,1,2", "0,1,2,3"):
        monkeypatch.setattr(sys, "argv", ["dlrun", "resume", "sweep", f"seed={seeds}"])
        assert dlrun(*sys.argv[1:]).code == 0
    found = record(own_folder / "sweep")
    assert found["command"] == ["dlrun", "-m", "x"]
    assert [again["command"][-1] for again in found["resumed"]] == ["seed=0,1,2", "seed=0,1,2,3"]
    assert found["start"] <= found["resumed"][0]["time"] <= found["resumed"][1]["time"] <= found["end"]
    assert found["swept"] == {"seed": [0, 1, 2, 3]}


def test_a_job_is_followed_by_what_it_writes(tmp_path):
    from dlrun.sweep.display import SweepDisplay
    from dlrun.sweep.folder import Entry, Folder
    from dlrun.sweep.launchers.local import Local
    from dlrun.sweep.request import SweepRequest
    from dlrun.sweep.trainer import Trainer

    folder, display = Folder(tmp_path, {"command": []}), SweepDisplay("val/accuracy", "max")
    folder.entries[0] = Entry(0, "0", ["seed=0"], "")
    rows = [{"split": "train", "step": 10, "loss": 1.0}, {"split": "val", "step": 20, "accuracy": 0.5}]
    (tmp_path / "0").mkdir()
    file = tmp_path / "0" / "metrics.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "0" / "run.json").write_text('{"status": "stopped"}')
    trainer = Trainer(SweepRequest(None, [], [], ()), folder, Local(workers=2), display, None)
    assert trainer.show([0]) == set()
    assert (display.steps[0], display.best, display.seconds_left()) == ((20, 20, 0), {0: 0.5}, None), (
        "of the time before"
    )
    for step, accuracy in ((40, 0.7), (60, 0.6)):
        with file.open("a") as f:
            f.write(json.dumps({"split": "val", "step": step, "accuracy": accuracy}) + "\n")
        trainer.follow(0)
        assert (display.steps[0][1], display.best) == (step, {0: 0.7})


def test_a_folder_that_may_not_be_written_to_is_named(there, dlrun, monkeypatch):
    real = os.open

    def refused(path, flags, *more):
        if flags & os.O_RDWR and str(path).endswith(".lock"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more)

    before = contents(there)
    monkeypatch.setattr(os, "open", refused)
    done = dlrun("resume", str(there / "sweep"))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {there}/sweep: can't be written to: Permission denied\n"
    assert contents(there) == before


def test_what_may_not_change_in_a_sweep(there, dlrun):
    before = contents(there)
    for override in ("model.widths=[9]", "epochs=0", "nope=1", "seed=x"):
        done = dlrun("resume", str(there / "sweep"), override)
        assert (done.code, done.out) == (2, ""), override
        assert len(done.err.splitlines()) == 1, done.err
        assert contents(there) == before


def test_a_sweep_that_another_process_trains_is_refused(there, dlrun):
    from dlrun.runs.lock import in_use

    hold = "import pathlib,sys,time; from dlrun.runs import lock\n"
    hold += "with lock.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(there / "sweep")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        assert in_use(there / "sweep")
        before = contents(there / "sweep")
        done = dlrun("resume", str(there / "sweep"), "seed=0,1,2")
        assert (done.code, done.out) == (2, "")
        assert "in use by another dlrun" in done.err
        assert contents(there / "sweep") == before
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("given", [("-m", "seed=0,1,2"), ("seed=0",)], ids=["sweep", "run"])
def test_a_signal_just_before_the_next_steps_leaves_no_trace(given, dlrun, monkeypatch):
    from dlrun.train.loop import Loop

    words, asked = (*given, *SMALL, "epochs=3", "log.every=10"), Loop.stop_if_asked

    def then_signal(self):
        asked(self)
        if any(run.at.step == 10 for run in self.active):
            self.stop.signum = signal.SIGTERM

    def found(directory):
        return [digest(run) for run in (runs(directory) if given[0] == "-m" else [directory])]

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "stop_if_asked", then_signal)
        done = dlrun(*words)
    assert done.code == 143
    assert dlrun("resume", str(done.directory)).code == 0
    assert found(done.directory) == found(dlrun(*words).directory)


@pytest.mark.slow
def test_what_failed_before_may_be_done_now(dlrun):
    """Workers are told apart from what their jobs came to the last time."""
    done = dlrun("-m", *SMALL, "epochs=1", "seed=0,1,2")
    before = [digest(run) for run in runs(done.directory)]
    for run, status in zip(runs(done.directory), ("failed", "stopped", "running"), strict=True):
        edit(run / "run.json", status=status, error="of last time")
        (run / "summary.json").unlink()
        if status != "stopped":  # its state is saved
            shutil.rmtree(run / "checkpoints")
    again = dlrun("resume", str(done.directory), "launcher.workers=1")
    assert again.code == 0, again.err
    assert statuses(done.directory) == ["completed"] * 3
    assert [digest(run) for run in runs(done.directory)] == before
    assert "of last time" not in again.err
    assert [line.split()[1] for line in again.err.splitlines()[-3:]] == ["completed"] * 3


# Real processes that are stopped and killed.

SWEEP = (
    *SMALL, "seed=range(0,4)", "optim.lr=0.05,0.1", "epochs=150", "eval.every=2epochs", "checkpoint.every=5epochs",
    "log.every=50", "early_stop.patience=null",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the runs of the sweep come to, and how long it takes once it is compiled."""
    folder, env = tmp_path_factory.mktemp("undisturbed"), {**os.environ, "NPROC": "1"}
    for name in ("cold", "warm"):
        began = time.monotonic()
        subprocess.run([*DLRUN, "-m", *SWEEP, f"hydra.sweep.dir={folder}/{name}"], check=True, env=env, cwd=folder)
        seconds = time.monotonic() - began
    return list(map(digest, runs(folder / "warm"))), seconds


DLRUN = (sys.executable, "-m", "dlrun")


def start(folder: Path, *more: str) -> "subprocess.Popen[str]":
    """The sweep in a process, or its resumption."""
    words = ["resume", str(folder)] if (folder / "sweep.json").exists() else ["-m", *SWEEP, f"hydra.sweep.dir={folder}"]
    if folder.exists() and words[0] == "-m":
        shutil.rmtree(folder)  # killed before it was a sweep's
    return subprocess.Popen(
        [*DLRUN, *words, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "NPROC": "1"},
    )  # fmt: skip


def running(folder: Path, jobs: int = 1) -> bool:
    """Whether so many jobs took some steps."""
    return sum((run / "checkpoints").exists() for run in folder.glob("*/")) >= jobs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "code", "more"),
    [
        (signal.SIGTERM, 143, ()),
        (signal.SIGINT, 130, ()),
        (signal.SIGTERM, 143, ("launcher.workers=2",)),
        (signal.SIGINT, 130, ("launcher.vmap=false",)),
    ],
)
def test_a_signal_saves_all_runs_and_the_sweep_goes_on(signum, code, more, undisturbed, own_folder):
    folder = own_folder / "sweep"
    process = start(folder, *more)
    while not running(folder):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signum)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, f"{folder}\n"), err
    assert "Traceback" not in err
    assert f"go on with: dlrun resume {folder}" in err
    assert record(folder)["status"] == "stopped"
    found = statuses(folder)
    assert set(found) <= {"stopped", "pending", "completed"}, found
    assert found.count("stopped") >= (1 if more else 8), found
    again = start(folder)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert statuses(folder) == ["completed"] * 8
    assert list(map(digest, runs(folder))) == undisturbed[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_times_equals_never_killed(undisturbed, own_folder):
    folder, rng, killed = own_folder / "sweep", random.Random(0), 0
    while True:
        process = start(folder)
        try:
            _, err = process.communicate(timeout=rng.uniform(0.3, 1) * undisturbed[1] if killed < KILLS else 600)
            assert process.returncode == 0, err
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            continue
        assert statuses(folder) == ["completed"] * 8
        assert list(map(digest, runs(folder))) == undisturbed[0]
        if killed >= KILLS:
            return
        shutil.rmtree(folder)


def workers(of: int) -> list[int]:
    """The processes that train for a process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == of and TRAINS.encode() in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except (OSError, IndexError):  # it ended
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_killed_at_random_harm_nobody(undisturbed, own_folder):
    """Once a worker is killed more often than it is started again, its jobs count as failed, until a resume."""
    folder, rng, killed = own_folder / "sweep", random.Random(1), 0
    while killed < KILLS:
        shutil.rmtree(folder, ignore_errors=True)
        process, done = start(folder, "launcher.workers=2", "launcher.retries=1"), {}
        while process.poll() is None:
            time.sleep(rng.uniform(0, undisturbed[1] / 4))
            if found := workers(process.pid) if killed < KILLS else []:
                os.kill(rng.choice(found), signal.SIGKILL)
                killed += 1
        _, err = process.communicate(timeout=600)
        assert "Traceback" not in err
        for run, status in zip(runs(folder), statuses(folder), strict=True):
            if status == "completed":
                done[run] = contents(run)
        if process.returncode:
            assert "its process ended with code 137" in err
            assert len(done) < 8
            again = start(folder)
            _, err = again.communicate(timeout=600)
            assert again.returncode == 0, err
        assert statuses(folder) == ["completed"] * 8
        assert {run: contents(run) for run in done} == done
        assert list(map(digest, runs(folder))) == undisturbed[0]
