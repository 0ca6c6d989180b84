"""A resume that would train nothing leaves the record as it is, and says why; so does one that can't."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import QUICK
from tests.data.test_fingerprint import edit, files
from tests.digest import digest
from tests.sweeps import SMALL, statuses

WORDS = (*QUICK, "norm=none", "optim=sgd", "schedule=constant", "batch_size=256")
EARLY = ("early_stop.patience=2", "early_stop.min_delta=0.9", "epochs=8")
STEPS = 5  # an epoch


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A run that is complete, one that stopped early, and a sweep."""
    from dlrun.cli.main import main

    folder = tmp_path_factory.mktemp("there")
    assert main([*WORDS, "epochs=4", f"hydra.run.dir={folder}/done"]) == 0
    assert main([*WORDS, *EARLY, f"hydra.run.dir={folder}/early"]) == 0
    late = (*EARLY, "early_stop.patience=null", "epochs=4")
    assert main([*WORDS, *late, f"hydra.run.dir={folder}/late"]) == 0
    return folder


@pytest.fixture
def copied(there, own_folder):
    def copy(name, status=None):
        shutil.copytree(there / name, name)
        if status is not None:
            edit(Path(name, "run.json"), status=status)
            Path(name, "summary.json").unlink()
        return Path(name)

    return copy


REFUSED = {
    ("done", "epochs=2"): "epochs=2: not allowed: the state is of step 20, epoch 4; allowed: with epochs=5 or more",
    ("done", "steps=19"): "steps=19: not allowed: the state is of step 20, epoch 4; allowed: with steps=21 or more",
    ("done", "optim.lr=0.5"): "optim.lr=0.5: nothing would be trained: the run is already at its end, step 20; "
    "allowed: with epochs=5 or more",
    ("done", "eval.every=2epochs log.every=7"): "eval.every=2epochs log.every=7: nothing would be trained",
    ("done", "devices=1"): "devices=1: nothing would be trained",
    (
        "early",
        "optim.lr=0.5",
    ): "optim.lr=0.5: nothing would be trained: early stopping ended this run at step 15 of 40, "
    "2 evaluations without an improvement; allowed: with early_stop.patience=3 or more, or null",
    ("early", "epochs=30"): "epochs=30: nothing would be trained: early stopping",
    ("early", "early_stop.min_delta=0"): "early_stop.min_delta=0: nothing would be trained: early stopping",
    ("early", "epochs=2"): "epochs=2: not allowed: the state is of step 15, epoch 3; "
    "allowed: with epochs=4 or more and early_stop.patience=3 or more, or null",
    ("early", "early_stop.patience=1"): "early_stop.patience=1: nothing would be trained",
}


REMEDIES = {
    ("late", "epochs=8 early_stop.patience=2"): ["epochs=8", "early_stop.patience=4"],
    ("late", "steps=30 early_stop.patience=1"): ["steps=30", "early_stop.patience=4"],
    ("late", "early_stop.patience=2"): ["epochs=5", "early_stop.patience=4"],
    ("late", "epochs=3"): ["epochs=5"],
    ("late", "optim.lr=0.5 steps=17"): ["steps=21", "optim.lr=0.5"],
    ("early", "epochs=30"): ["epochs=30", "early_stop.patience=3"],
    ("early", "epochs=3"): ["epochs=4", "early_stop.patience=3"],
    ("early", "epochs=2"): ["epochs=4", "early_stop.patience=3"],
}
"""What is refused, and the least of what is allowed in its place. ``late`` has the patience of ``early`` null."""


@pytest.mark.parametrize(("name", "overrides"), list(REMEDIES))
def test_what_is_advised_is_allowed(name, overrides, copied, dlrun):
    run, remedy = copied(name), REMEDIES[name, overrides]
    before = files(run)
    done = dlrun("resume", str(run), *overrides.split())
    assert (done.code, files(run)) == (2, before)
    advice = done.err.partition("; allowed: with ")[2]
    told = [part.split()[0].rstrip(",") for part in advice.split(" and ")]
    assert told == [word for word in remedy if word != "optim.lr=0.5"], done.err
    assert ("early stopping ended this run" in done.err) <= (name == "early"), done.err
    step = 20 if name == "late" else 15
    done = dlrun("resume", str(run), *remedy)
    assert done.code == 0, done.err
    assert done.summary["step"] > step


@pytest.mark.parametrize(("name", "overrides"), list(REFUSED))
def test_what_would_train_nothing_is_refused(name, overrides, copied, dlrun):
    run = copied(name)
    before = files(run)
    done = dlrun("resume", str(run), *overrides.split())
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert done.err.startswith(f"error: {REFUSED[name, overrides]}")
    assert files(run) == before


@pytest.mark.parametrize(("name", "overrides"), [("done", ""), ("early", ""), ("done", "epochs=4 optim=sgd")])
def test_a_complete_run_is_left_as_it_is(name, overrides, copied, dlrun):
    run = copied(name)
    before = files(run)
    done = dlrun("resume", str(run), *overrides.split())
    assert (done.code, done.out) == (0, f"{run}\n")
    assert done.err == f"nothing to do: {run} is complete; more steps: epochs=... or steps=...\n"
    assert files(run) == before


def test_patience_that_is_raised_goes_on(copied, dlrun):
    done = dlrun("resume", str(copied("early")), "early_stop.patience=3", "optim.lr=0.5")
    assert done.code == 0, done.err
    assert done.summary["step"] == 20
    assert done.run["config"]["optim"]["lr"] == 0.5


def test_a_run_that_was_killed_while_it_was_tested_is_ended(there, copied, dlrun):
    run = copied("done", "running")
    before = files(run)
    refused = dlrun("resume", str(run), "optim.lr=0.5")
    assert (refused.code, refused.out) == (2, "")
    assert "optim.lr=0.5: nothing would be trained: the run is already at its end" in refused.err
    assert files(run) == before
    done = dlrun("resume", str(run), "devices=1")
    assert done.code == 0, done.err
    assert digest(run) == digest(there / "done")


@pytest.mark.parametrize("status", ["stopped", "failed", "diverged", "pruned", "running"])
def test_one_that_did_not_end_may_be_ended_where_it_stands(status, copied, dlrun):
    """Shortened to its last state: that is what was asked for. What it would not come back to is refused."""
    run = copied("early", status)
    before = files(run)
    refused = dlrun("resume", str(run), "epochs=2")
    assert (refused.code, files(run)) == (2, before)
    done = dlrun("resume", str(run), "epochs=3")
    assert done.code == 0, done.err
    assert (done.summary["status"], done.summary["step"], done.run["config"]["epochs"]) == ("completed", 15, 3)


@pytest.mark.parametrize("status", ["stopped", "failed", "diverged", "pruned", "running"])
def test_one_that_did_not_end_goes_on(status, copied, dlrun):
    done = dlrun("resume", str(copied("early", status)), "early_stop.patience=null", "epochs=4")
    assert done.code == 0, done.err
    assert done.summary["step"] == 20


def misfit(run: Path) -> None:
    """Sound, but another model's."""
    from dlrun.runs import checkpoint, manifest

    for step in manifest.steps(run / "checkpoints"):
        arrays, loop = checkpoint.read(run / "checkpoints", step)
        arrays["else"] = arrays.pop("state/params/hidden/0/linear/kernel")
        shutil.rmtree(run / "checkpoints" / str(step))
        states = checkpoint.Checkpoints(run / "checkpoints", keep=9)
        states.save(step, arrays, loop, None)
        states.close()


def test_a_state_that_does_not_fit_leaves_all_as_it_was(copied, dlrun):
    run = copied("done")
    misfit(run)
    (run / "checkpoints" / "77").mkdir()  # would be moved aside
    before = files(run), sorted(run.rglob("*"))
    done = dlrun("resume", str(run), "epochs=5")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert "done: the saved state does not fit: only the checkpoint has else" in done.err
    assert (files(run), sorted(run.rglob("*"))) == before


def test_a_state_of_another_version_is_told(copied, dlrun):
    from dlrun.runs import checkpoint, manifest

    run = copied("done")
    (step,) = manifest.steps(run / "checkpoints")[-1:]
    arrays, loop = checkpoint.read(run / "checkpoints", step)
    shutil.rmtree(run / "checkpoints" / str(step))
    states = checkpoint.Checkpoints(run / "checkpoints", keep=9)
    states.save(step, arrays, {**loop, "later": 1}, None)
    states.close()
    before = files(run)
    done = dlrun("resume", str(run), "epochs=5")
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert "done: the state of step 20 can't be used" in done.err
    assert files(run) == before


@pytest.mark.parametrize("launcher", [(), ("launcher.vmap=false",)], ids=["stacked", "alone"])
def test_a_run_of_a_sweep_that_can_not_go_on_leaves_the_others(launcher, dlrun, own_folder):
    done = dlrun("-m", *SMALL, "epochs=1", "seed=0,1,2", *launcher, "hydra.sweep.dir=sweep")
    assert done.code == 0, done.err
    kept = digest(Path("sweep/2"))
    assert dlrun("resume", "sweep/1", "epochs=2").code == 0
    for job in (0, 1, 2):
        edit(Path(f"sweep/{job}/run.json"), status="stopped")
        Path(f"sweep/{job}/summary.json").unlink()
    misfit(Path("sweep/0"))
    before = [files(Path("sweep") / job) for job in "01"]
    done = dlrun("resume", "sweep")
    assert done.code == 1
    assert "sweep/0: the saved state does not fit" in done.err
    assert "epochs=1: not allowed: the state is of step 40, epoch 2; allowed: epochs>=2" in done.err
    assert [files(Path("sweep") / job) for job in "01"] == before
    assert statuses(Path("sweep")) == ["stopped", "stopped", "completed"]
    assert digest(Path("sweep/2")) == kept
    assert json.loads(Path("sweep/sweep.json").read_text())["status"] == "failed"
