"""What a run writes outlasts a power cut in the right order, and goes nowhere once its directory is gone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrun.runs import checkpoint, manifest
from dlrun.runs.lock import Gone, locked
from dlrun.train.loop import Loop
from tests.conftest import QUICK
from tests.digest import digest
from tests.sweeps import SMALL, contents, record

SAVING = (*QUICK, "epochs=3", "checkpoint.keep=3", "checkpoint.every=1epoch", "log.every=5")


def test_rows_and_names_are_on_the_disk_before_a_state_counts(dlrun, monkeypatch):
    """What the system was told, in order: a state counts once its folder has its name, and can't lack its rows then."""
    told: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.replace

    def fsync(handle):
        path = os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"))
        path = re.sub(r"/\.([^/]+)\.\d+$", r"/\1", path)  # what will replace a file
        told.append(("sync", f"{path} {os.fstat(handle).st_size}" if path.endswith(".jsonl") else path))
        sync(handle)

    def replace(old, new):
        told.append(("name", os.path.relpath(new)))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    done = dlrun(*SAVING, "hydra.run.dir=there/run")
    assert done.code == 0
    rows = Path("there/run/metrics.jsonl").read_text().splitlines(keepends=True)
    steps = [json.loads(line)["step"] for line in rows]
    for step in (20, 40, 60):
        at = told.index(("name", f"there/run/checkpoints/{step}"))
        named = [
            i for i, (what, path) in enumerate(told[:at]) if what == "name" and re.search(r"checkpoints/\d+$", path)
        ]
        last = max(named, default=-1)
        before = [path for what, path in told[last + 1 : at] if what == "sync"]
        part = f"there/run/checkpoints/.saving-{step}"
        assert {part, f"{part}/state.safetensors", f"{part}/manifest.sha256", "there/run", "there", "."} <= {*before}
        whole = sum(len(row) for row, at in zip(rows, steps, strict=True) if at <= step and row != rows[-1])
        assert max(int(path.split()[1]) for path in before if "metrics.jsonl" in path) >= whole
        assert told[at + 1] == ("sync", "there/run/checkpoints")
    size = Path("there/run/metrics.jsonl").stat().st_size
    end = told.index(("name", "there/run/summary.json"))
    assert told.index(("sync", f"there/run/metrics.jsonl {size}")) < end
    assert ("sync", "there/run") in told[end:]


@pytest.mark.parametrize("lost", [0, 1, 5])
def test_rows_that_a_power_cut_took_are_told(lost, dlrun, finished):
    """And the best value is that of the state, whatever became of its row."""
    run = finished(*SAVING, "optim.lr=0.05")
    best, whole = run.summary, digest(run.directory)
    file, states = run.directory / "metrics.jsonl", run.directory / "checkpoints"
    (run.directory / "summary.json").unlink()
    shutil.rmtree(states / "60")
    rows = [row for row in file.read_text().splitlines(keepends=True) if json.loads(row)["step"] <= 40]
    kept = [row for row in rows if json.loads(row)["split"] != "test"]
    file.write_text("".join(kept[: len(kept) - lost]))
    again = dlrun("resume", str(run.directory))
    assert again.code == 0, again.err
    told = f"warning: metrics.jsonl lacks {lost} of the {len(kept)} rows up to step 40: they were lost"
    assert (told in again.err) == bool(lost)
    assert (digest(run.directory) == whole) == (not lost)
    assert run.summary["best/val/accuracy"] == best["best/val/accuracy"]
    more = dlrun("resume", str(run.directory), "epochs=4")
    assert "lacks" not in more.err, "it is told once"


def test_the_best_value_is_known_without_its_row(dlrun, finished):
    run = finished(*SAVING, "optim.lr=0.05")
    best = run.summary
    file, last = run.directory / "metrics.jsonl", best["best/step"]
    lost = [row for row in file.read_text().splitlines(keepends=True) if json.loads(row)["step"] != last]
    file.write_text("".join(lost))
    assert dlrun("resume", str(run.directory), "epochs=4", "optim.lr=1e-30").code == 0
    for key in ("best/step", "best/val/accuracy"):
        assert run.summary[key] == best[key] or run.summary["best/step"] > last


def test_a_state_of_before_rows_were_counted_is_taken_up(dlrun, finished):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    run = finished(*SAVING)
    folder = run.directory / "checkpoints" / "60"
    arrays, loop = checkpoint.read(folder.parent, 60)
    assert loop.pop("rows") == 15, "twelve of training and three evaluations"
    save_file(arrays, folder / "state.safetensors", {"loop": json.dumps(loop)})
    (folder / "manifest.sha256").write_text(manifest.manifest(folder))
    (run.directory / "metrics.jsonl").unlink()
    again = dlrun("resume", str(run.directory), "epochs=4")
    assert (again.code, "lacks" in again.err) == (0, False)
    with safe_open(run.directory / "checkpoints" / "80" / "state.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["loop"])["rows"] == 5


HOW = {
    "moved": lambda: os.rename("made", "moved"),
    "deleted": lambda: shutil.rmtree("made"),
    "replaced": lambda: (os.rename("made", "moved"), os.mkdir("made")),
    "another's": lambda: (os.rename("made", "moved"), shutil.copytree("moved", "made")),
}
GONE = "is no longer there: it was moved or deleted meanwhile, so nothing more is written"


@pytest.mark.parametrize("how", HOW)
def test_a_lock_that_is_no_longer_there(how):
    Path("made").mkdir()
    with locked(Path("made")) as lock:
        assert lock.is_there
        lock.require()
        HOW[how]()
        assert not lock.is_there
        with pytest.raises(Gone, match=f"made {GONE}"):
            lock.require()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("words", [QUICK, ("-m", *SMALL, "seed=0,1")], ids=["run", "sweep"])
def test_a_directory_that_goes_while_a_run_is_trained(words, how, dlrun, monkeypatch):
    prune, left = Loop.prune, []

    def then_gone(self, pruner):
        prune(self, pruner)
        if not left and any(run.at.step == 20 for run in self.active):
            HOW[how]()
            left.append(contents(Path("made")))

    key = "sweep" if "-m" in words else "run"
    with monkeypatch.context() as patched:
        patched.setattr(Loop, "prune", then_gone)
        done = dlrun(*words, "epochs=3", "log.sinks=[csv]", f"hydra.{key}.dir=made")
    assert (done.code, done.out) == (1, "made\n"), done.err
    assert done.err.splitlines()[-1] == f"failed: made {GONE}"
    assert [contents(Path("made"))] == left, "nothing was made anew"
    assert Path("made").exists() == (how not in ("moved", "deleted"))
    if how == "moved":  # what was saved is there
        again = dlrun("resume", "moved")
        assert again.code == 0, again.err
        assert dlrun(*words, "epochs=3", f"hydra.{key}.dir=whole").code == 0
        for name in ("0", "1") if key == "sweep" else (".",):
            assert digest(Path("moved", name)) == digest(Path("whole", name))


def test_a_run_of_a_sweep_whose_directory_goes_alone(dlrun, monkeypatch):
    prune = Loop.prune

    def then_gone(self, pruner):
        prune(self, pruner)
        for run in self.active:
            if run.at.step == 20 and run.number == 1:
                shutil.rmtree(run.directory)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "prune", then_gone)
        done = dlrun("-m", *SMALL, "seed=0,1,2", "epochs=2", "hydra.sweep.dir=made")
    assert done.code == 1
    assert f"job 1: seed=1: failed: made/1 {GONE}\n" in done.err
    assert "1 of 3 jobs failed: 1" in done.err
    assert not Path("made/1").exists()
    assert [job["status"] for job in record(Path("made"))["jobs"]] == ["completed", "pending", "completed"]
    assert record(Path("made"))["status"] == "failed"
    assert dlrun("resume", "made").code == 0
    assert [job["status"] for job in record(Path("made"))["jobs"]] == ["completed"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
@pytest.mark.parametrize("more", [(), ("-m", "seed=0,1"), ("-m", "seed=0,1", "launcher.workers=2")])
def test_a_directory_that_goes_under_real_processes(how, more):
    words = [*SMALL, "epochs=20000", "log.every=100", *more, f"hydra.{'sweep' if more else 'run'}.dir=made"]
    with open("err", "wb") as err:
        process = subprocess.Popen([sys.executable, "-m", "dlrun", *words], stdout=err, stderr=err)
    try:
        while not [*Path("made").glob("**/manifest.sha256")]:
            assert process.poll() is None
            time.sleep(0.05)
        HOW[how]()
        before = {*contents(Path("made"))}
        assert process.wait(timeout=30) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    told = Path("err").read_text().splitlines()
    assert told[-2:] == [f"failed: made {GONE}", "made"]
    assert "Traceback" not in "".join(told)
    assert {*contents(Path("made"))} == before
    assert not re.search(r"go on with", told[-3])
