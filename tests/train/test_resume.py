"""A run that was stopped, killed or extended and then resumed equals one that never was."""

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

from dlrun.cli.main import main
from dlrun.runs import checkpoint, manifest, rundir
from dlrun.runs.lock import in_use
from tests.conftest import QUICK
from tests.data.test_fingerprint import files
from tests.digest import digest

MODELS = {
    "mlp": ("model=mlp", "dropout=0.2", "model.widths=[32,32]"),
    "resnet": ("model=resnet", "model.depth=8", "model.width=4", "dropout=0.1", "augment=flip_crop", "batch_size=128"),
    "transformer": ("model=transformer", "model.width=16", "model.depth=1", "dropout=0.1", "batch_size=128"),
}
KILLS = int(os.environ.get("DLRUN_TEST_KILLS", "4"))


def test_same_command_same_bits(dlrun):
    words = (*QUICK, "dropout=0.2")
    first, second, other = dlrun(*words), dlrun(*words), dlrun(*words, "seed=1")
    assert digest(first.directory) == digest(second.directory)
    assert digest(first.directory) != digest(other.directory)


def test_how_steps_are_dispatched_changes_nothing(dlrun, monkeypatch):
    words = (*QUICK, "dropout=0.2", "epochs=3")
    many = dlrun(*words)
    monkeypatch.setattr("dlrun.train.states.DISPATCH_SECONDS", 0.0)
    assert digest(many.directory) == digest(dlrun(*words).directory)


def test_extended_run_goes_on_and_ends_with_one_test_row(dlrun):
    words = (*QUICK, "schedule=constant", "dropout=0.2")
    short, long = dlrun(*words, "epochs=2"), dlrun(*words, "epochs=4")
    again = dlrun("resume", str(short.directory), "epochs=4")
    assert again.code == 0
    assert again.directory == short.directory
    assert digest(short.directory) == digest(long.directory)
    assert [r["split"] for r in short.rows].count("test") == 1
    assert short.run["config"]["epochs"] == 4
    assert short.run["resumed"][0]["overrides"] == ["epochs=4"]
    third = dlrun("resume", str(short.directory))  # of a finished run: nothing to train, the same result
    assert third.code == 0
    assert digest(short.directory) == digest(long.directory)


def test_early_stopping_survives_resume(dlrun):
    words = (*QUICK, "epochs=60", "schedule=constant", "early_stop.patience=2", "early_stop.min_delta=0.05")
    whole = dlrun(*words)
    assert whole.summary["step"] < 60 * whole.run["rows"]["train"] // 64, "patience ran out"
    other = dlrun(*words, "epochs=2")
    assert dlrun("resume", str(other.directory), "epochs=60").code == 0
    assert other.summary["step"] == whole.summary["step"]


def test_changed_number_takes_effect(dlrun, finished):
    first = finished(*QUICK, "schedule=constant")
    resumed = dlrun("resume", str(first.directory), "epochs=2", "optim.lr=0.5")
    assert resumed.code == 0
    assert [r["lr"] for r in resumed.rows if r["split"] == "train"][-1] == 0.5


def test_states_of_a_completed_run_need_not_stay(dlrun, finished):
    words = (*QUICK, "epochs=2", "dropout=0.1")
    kept = finished(*words)
    done = dlrun(*words, "checkpoint.keep=none")
    assert done.code == 0, done.err
    assert (kept.directory / "checkpoints").is_dir()
    assert not (done.directory / "checkpoints").exists()
    assert {**done.summary, "seconds": 0, "train/time": 0, "val/time": 0, "test/time": 0, "best/val/time": 0} == {
        **kept.summary, "seconds": 0, "train/time": 0, "val/time": 0, "test/time": 0, "best/val/time": 0
    }  # fmt: skip
    assert "its saved states are gone: start a new run" in dlrun("resume", str(done.directory), "epochs=3").err


def test_a_run_that_did_not_complete_keeps_its_states_whatever_is_asked(dlrun):
    words = (*QUICK, "optim=sgd", "norm=none", "schedule=constant", "checkpoint.keep=none", "checkpoint.every=5steps")
    failed = dlrun(*words, "optim.lr=1e4", "epochs=3")
    assert failed.run["status"] == "diverged"
    assert manifest.sound(failed.directory / "checkpoints")


def test_rows_that_were_due_are_kept_though_others_would_be_due_now(dlrun, finished):
    run = finished(*QUICK, "epochs=2", "log.every=15", "schedule=constant")
    assert [r["step"] for r in run.rows if r["split"] == "train"] == [15, 30, 40]
    before = [r for r in run.rows if r["split"] == "train" and r["step"] <= 30]
    resumed = dlrun("resume", str(run.directory), "epochs=3", "log.every=20")
    assert resumed.code == 0, resumed.err
    trained = [r for r in resumed.rows if r["split"] == "train"]
    assert trained[:2] == before
    assert [r["step"] for r in trained] == [15, 30, 60], "the row that the end cut short is completed"


def test_rows_beyond_the_resumed_step_are_dropped(dlrun, finished):
    run = finished(*QUICK, "epochs=3", "log.every=5", "checkpoint.keep=3", "checkpoint.every=1epoch")
    whole = digest(run.directory)
    last = manifest.steps(run.directory / "checkpoints")[-1]
    with (run.directory / "metrics.jsonl").open("a") as f:
        f.write('{"step": 9999, "epoch": 99, "split": "train", "loss": 1.0}\n{"step": 60, "ep')
    shutil.rmtree(run.directory / "checkpoints" / str(last))
    assert dlrun("resume", str(run.directory)).code == 0
    assert digest(run.directory) == whole


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "no manifest", "extra file", "empty folder"])
def test_damaged_newest_state_falls_back_to_the_one_before(dlrun, finished, damage):
    run = finished(*QUICK, "epochs=3", "checkpoint.keep=3", "checkpoint.every=1epoch", "dropout=0.1")
    whole = digest(run.directory)
    newest = run.directory / "checkpoints" / str(manifest.steps(run.directory / "checkpoints")[-1])
    file = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    match damage:
        case "flip":
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
        case "truncate":
            file.write_bytes(data[:-1])
        case "delete":
            file.unlink()
        case "no manifest":
            (newest / manifest.MANIFEST).unlink()
        case "extra file":
            (newest / "extra").write_text("x")
        case "empty folder":
            shutil.rmtree(newest)
            newest.mkdir()
    resumed = dlrun("resume", str(run.directory))
    assert resumed.code == 0
    assert f"state of step {newest.name} is incomplete or damaged" in resumed.err
    assert digest(run.directory) == whole


@pytest.mark.parametrize("status", ["running", "failed", "diverged"])
def test_one_that_ended_before_its_first_state_starts_over(status, dlrun, finished):
    run = finished(*QUICK)
    whole = digest(run.directory)
    shutil.rmtree(run.directory / "checkpoints")
    (run.directory / "summary.json").unlink()
    rundir.update_run(run.directory, status=status)
    again = dlrun("resume", str(run.directory))
    assert again.code == 0, again.err
    assert f"warning: {run.directory} has no saved state: starting over from the first step" in again.err
    assert digest(run.directory) == whole


def without_states(run: Path) -> None:
    assert main(["prune", str(run), "--keep", "none", "--delete"]) == 0


def damaged_states(run: Path) -> None:
    for file in run.glob("checkpoints/*/manifest.sha256"):
        file.unlink()


@pytest.mark.parametrize("lose", [without_states, damaged_states])
@pytest.mark.parametrize("status", ["completed", "stopped", "pruned", "resumed", "no record"])
def test_a_run_that_ended_is_not_replaced_where_its_states_are_lost(status, lose, dlrun, finished, capsys):
    finished(*QUICK, "epochs=2", "hydra.run.dir=run")
    lose(Path("run"))
    capsys.readouterr()
    if status in ("stopped", "pruned"):
        Path("run/summary.json").unlink()
    if status == "no record":
        Path("run/run.json").unlink()
    else:  # one that was completed, resumed and killed still has its first summary
        rundir.update_run(Path("run"), status="running" if status == "resumed" else status)
    before = files(Path("run"))
    for more in ((), ("epochs=1", "optim.lr=0.5"), ("epochs=4",)):
        done = dlrun("resume", "run", *more)
        assert (done.code, done.out, files(Path("run"))) == (2, "", before)
        shown = status if status in ("stopped", "pruned") else "completed"
        how = "gone" if lose is without_states else "damaged"
        assert done.err == f"error: run: it is {shown}, and its saved states are {how}: start a new run\n"


HOLD = """
import pathlib, sys, time
from dlrun.runs import lock
with lock.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_process_on_a_directory_is_refused_and_a_stale_lock_is_not_in_the_way(dlrun, finished):
    run = finished(*QUICK)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.directory)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        assert in_use(run.directory)
        before = (run.directory / "run.json").read_bytes()
        refused = dlrun("resume", str(run.directory), "epochs=2")
        assert refused.code == 2
        assert "in use" in refused.err
        assert str(holder.pid) in refused.err
        assert (run.directory / "run.json").read_bytes() == before
    finally:
        holder.kill()
        holder.communicate()
    assert (run.directory / ".lock").exists(), "the dead process left its lock"
    assert dlrun("resume", str(run.directory), "epochs=2").code == 0


@pytest.mark.parametrize(("overrides", "names"), [
    (["model.widths=[8]"], "model.widths"),
    (["batch_size=32"], "batch_size"),
    (["seed=3"], "seed"),
    (["epoch=3"], "epoch"),
    (["epochs=0"], "epochs"),
    (["epochs=x", "optim.lr=-1"], "optim.lr"),
])  # fmt: skip
def test_what_may_not_change(dlrun, finished, overrides, names):
    run = finished(*QUICK)
    before = {p: p.read_bytes() for p in run.directory.rglob("*") if p.is_file()}
    refused = dlrun("resume", str(run.directory), *overrides)
    assert refused.code == 2
    assert names in refused.err
    assert {p: p.read_bytes() for p in run.directory.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_no_run_directory(dlrun, where):
    refused = dlrun("resume", where)
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", MODELS)
def test_killed_at_random_times_equals_never_killed(model, shell, own_folder):
    words = (
        *MODELS[model],
        "epochs=40",
        "log.every=7",
        "checkpoint.every=11steps",
        "checkpoint.keep=2",
        "log.plot=false",
    )
    assert shell(*words).code == 0  # fills the compilation cache
    began = time.monotonic()
    whole = digest(shell(*words).directory)
    seconds = time.monotonic() - began
    killed, rng = 0, random.Random(model)
    for chain in range(10 * KILLS):
        directory = own_folder / f"killed{chain}"
        command = [*words, f"hydra.run.dir={directory}"]
        while True:
            process = subprocess.Popen(
                [sys.executable, "-m", "dlrun", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            try:
                _, err = process.communicate(timeout=rng.uniform(0.3, 1.0) * seconds if killed < KILLS else 600)
                assert process.returncode == 0, err
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
            if (directory / ".hydra" / "config.yaml").is_file():
                command = ["resume", str(directory)]
            else:
                shutil.rmtree(directory, ignore_errors=True)
        assert digest(directory) == whole
        assert json.loads((directory / "run.json").read_text())["status"] == "completed"
        if killed >= KILLS:
            return
    raise AssertionError(f"only {killed} of {KILLS} kills came in time")


def test_killed_while_saving_leaves_the_state_before(dlrun, own_folder):
    """A save that got no further than a temporary folder, or lost its manifest, does not exist."""
    run = dlrun(*QUICK, "epochs=2", "checkpoint.keep=2", "checkpoint.every=1epoch")
    whole = digest(run.directory)
    folder = run.directory / "checkpoints"
    first, last = manifest.sound(folder)
    shutil.copytree(folder / str(last), folder / f"{manifest.PART}{last}")
    (folder / str(last) / manifest.MANIFEST).unlink()
    assert manifest.sound(folder) == [first]
    assert dlrun("resume", str(run.directory)).code == 0
    assert digest(run.directory) == whole
    assert not list(Path(folder).glob(f"{manifest.PART}*"))


def test_frequent_evaluations_save_seldom_and_lose_no_best_state(dlrun, monkeypatch):
    """The best state is kept in memory meanwhile: the result is that of saving at each evaluation."""
    words = (*QUICK, "epochs=6", "optim.lr=0.05", "schedule=constant", "dropout=0.2")
    seldom = dlrun(*words)
    monkeypatch.setattr("dlrun.train.keeper.SAVE_SECONDS", -1.0)
    always = dlrun(*words)
    assert digest(seldom.directory) == digest(always.directory)
    best = seldom.summary["best/step"]
    assert best < seldom.summary["step"], "a best state before the last one"
    for run in (seldom, always):
        assert best in manifest.sound(run.directory / "checkpoints")
    one, other = (checkpoint.read(run.directory / "checkpoints", best)[0] for run in (seldom, always))
    assert all((one[k] == other[k]).all() for k in other)
