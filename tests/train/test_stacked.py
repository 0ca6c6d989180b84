"""Runs that are trained side by side: each is what it would be alone, whatever becomes of the others."""

import json
import math
import re

import numpy as np
import pytest

from dlrun.runs import atomic, checkpoint
from dlrun.runs.live import Rows, live_state
from dlrun.runs.loading import load
from dlrun.train.pace import Pace
from tests.digest import digest
from tests.sweeps import SMALL, TINY, compilations, runs, statuses, summary, words

ALL = (
    "norm=batch", "dropout=0.2", "augment=noise", "ema=0.9", "clip_norm=1", "schedule=plateau", "schedule.patience=1",
    "schedule.factor=0.5", "early_stop.patience=2", "early_stop.min_delta=0.01", "log.every=7",
)  # fmt: skip


def test_stacked_one_by_one_equals_alone_to_the_bit(dlrun):
    """With all that a run has of its own: numbers, length, early stop, plateau, best state."""
    with compilations() as compiled:
        done = dlrun("-m", *TINY, *ALL, "epochs=3,40", "optim.lr=0.003,0.3", "seed=0,1")
    assert done.code == 0, done.err
    assert compiled == ["jit(train_all)"]
    assert statuses(done.directory) == ["completed"] * 8
    short, long = runs(done.directory)[:4], runs(done.directory)[4:]
    assert {summary(run)["step"] for run in short} == {60}
    ends = [summary(run)["step"] for run in long]
    assert len(set(ends)) > 1, "patience runs out at different steps"
    assert all(60 < end < 800 for end in ends)
    assert any(summary(run)["best/step"] < summary(run)["step"] for run in long)
    assert any(len({row["lr"] for row in rows(run) if "lr" in row}) > 1 for run in long), "the plateau schedule acts"
    for run in (short[3], long[0], long[2]):
        alone = dlrun(*words(run)).directory
        assert digest(run) == digest(alone), run
        best, other = (checkpoint.read(r / "checkpoints", summary(r)["best/step"])[0] for r in (run, alone))
        assert all(np.array_equal(best[path], other[path]) for path in best | other)


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def close(one, other, rel=2e-3):
    """Whether rows or summaries say the same but for rounding; a row's values in order."""
    assert one.keys() == other.keys()
    for key in one.keys() - {"time", "seconds"}:
        same = one[key] == other[key] or math.isclose(one[key], other[key], rel_tol=rel, abs_tol=1e-5)
        assert same, (key, one[key], other[key])


def test_stacked_all_at_once_equals_alone_but_for_rounding(dlrun):
    with compilations() as compiled:
        done = dlrun("-m", *SMALL, "launcher.vmap=true", "log.every=10", "optim.lr=1e30,0.02,0.05,0.1", "epochs=2")
    assert done.code == 1
    assert compiled == ["jit(train_all)"]
    assert statuses(done.directory) == ["diverged", "completed", "completed", "completed"]
    assert_close(runs(done.directory)[1:2], dlrun)


@pytest.mark.slow
def test_a_stack_that_is_half_empty_is_compiled_for_its_new_size(dlrun):
    """Runs end, diverge and leave the stack."""
    how = (*TINY, "norm=batch", "dropout=0.2", "ema=0.9", "schedule=plateau", "schedule.patience=1", "log.every=10")
    with compilations() as compiled:
        done = dlrun("-m", *how, "launcher.vmap=true", "optim=sgd", "optim.lr=1e30,0.02,0.05", "epochs=2,4")
    assert done.code == 1
    assert compiled == ["jit(train_all)"] * 2
    assert statuses(done.directory) == ["diverged"] * 2 + ["completed"] * 4
    assert_close(runs(done.directory)[2:], dlrun)


def assert_close(some, dlrun):
    """The rows of stacked runs are those of the runs alone, but for rounding."""
    for run in some:
        alone = dlrun(*words(run))
        for one, other in zip(rows(run), alone.rows, strict=True):
            close(one, other)


def test_a_diverged_run_leaves_the_others_as_they_are(dlrun):
    with compilations() as compiled:
        done = dlrun("-m", *SMALL, "log.every=5", "epochs=2", "optim.lr=0.1,1e30,0.2")
    assert done.code == 1
    assert compiled == ["jit(train_all)"]
    assert statuses(done.directory) == ["completed", "diverged", "completed"]
    one, gone, other = runs(done.directory)
    for run in (one, other):
        assert digest(run) == digest(dlrun(*words(run)).directory)
    error = json.loads((gone / "run.json").read_text())["error"]
    assert "optim.lr" in error or "not finite" in error
    lines = done.err.splitlines()
    told = [i for i, line in enumerate(lines) if re.match(r"job 1: optim\.lr=1e\+?30: diverged: ", line)]
    assert len(told) == 1
    assert told[0] < next(i for i, line in enumerate(lines) if line.startswith("job  status")), "when it happens"
    assert lines[told[0]].endswith(f"; see {gone / 'log.txt'}")
    assert lines[-1] == f"1 of 3 jobs failed: 1; see {gone / 'log.txt'}"
    assert error.splitlines()[0][:40] in (gone / "log.txt").read_text()
    alone = dlrun(*words(gone))
    assert (alone.code, alone.run["error"]) == (1, error)
    assert done.out == f"{done.directory}\n"


def record(run):
    return json.loads((run / "run.json").read_text())


def test_a_run_has_its_own_pace_and_its_stack_one_beside_it(dlrun):
    done = dlrun("-m", *SMALL, "epochs=6", "optim.lr=0.1,1e30,0.2,0.3", "log.every=60")
    assert statuses(done.directory) == ["completed", "diverged", "completed", "completed"]
    for run in (runs(done.directory)[i] for i in (0, 2, 3)):
        made, last = record(run), [row for row in rows(run) if row["split"] == "train"][-1]
        own, all_of_them = made["steps_per_second"], made["stack_steps_per_second"]
        assert made["stack"] == 4
        assert 3 * own < all_of_them < 4 * own, "one of four left early"
        # The share that the rows tell adds up over the runs; the pace is by the clock.
        assert 3 * own < last["step"] / last["time"] < 4.5 * own
    again = dlrun("resume", str(runs(done.directory)[0]), "epochs=8")
    assert again.run["stack"] == 1
    assert again.run["steps_per_second"] == again.run["stack_steps_per_second"] > 0
    alone = dlrun(*SMALL, "epochs=6").run
    assert (alone["stack"], alone["steps_per_second"]) == (1, alone["stack_steps_per_second"])


def test_the_time_that_is_left_is_by_the_runs_own_pace(tmp_path):
    """Rows tell a run's share of the time."""
    facts = {"status": "running", "stack": 4, "config": {"steps": 100}}
    atomic.write_json(tmp_path / "run.json", {"format": 1, **facts})
    (tmp_path / "metrics.jsonl").write_text('{"step": 60, "epoch": 3, "split": "train", "loss": 1, "time": 3.0}\n')
    (run,) = load([tmp_path])
    at = live_state(run, Rows(tmp_path))
    assert (at.speed, at.left) == (5.0, 8.0)


def test_pace_by_hand():
    pace = Pace(4)
    assert pace.facts == {"stack": 4, "steps_per_second": None, "stack_steps_per_second": None}
    pace.add(10, 2.0, 4)
    pace.add(30, 3.0, 2)
    assert pace.facts == {"stack": 4, "steps_per_second": 8.0, "stack_steps_per_second": 20.0}
    for _ in range(30):  # a window of so many seconds
        pace.add(2, 1.0, 1)
    assert pace.facts == {"stack": 4, "steps_per_second": 2.0, "stack_steps_per_second": 2.0}
    assert pace.steps == 100


@pytest.mark.slow
def test_convolutions_on_cpu_train_one_after_the_other(dlrun):
    with compilations() as compiled:
        done = dlrun("-m", "model=cnn", "model.channels=[3]", "model.width=5", "dropout=0.1", "log.plot=false",
                     "epochs=1", "seed=0,1", "optim.lr=0.01,0.02")  # fmt: skip
    assert done.code == 0, done.err
    assert compiled == ["jit(train_steps)"]
    last = runs(done.directory)[-1]
    assert digest(last) == digest(dlrun(*words(last)).directory)


@pytest.mark.slow
@pytest.mark.parametrize(
    "of",
    [
        ("precision=float16", "epochs=3"),
        ("accumulate=2", "augment=mixup", "epochs=2"),
        ("data=diabetes", "epochs=3"),
        ("model=lstm", "model.width=6", "dropout=0.1", "epochs=2"),
        ("model=transformer", "model.width=8", "model.heads=2", "model.depth=1", "dropout=0.1", "epochs=2"),
        ("optim=lamb", "schedule=one_cycle", "epochs=2"),
        ("eval.every=7steps", "checkpoint.every=5steps", "checkpoint.keep=2", "epochs=2"),
        ("norm=batch", "launcher.vmap=false", "epochs=1"),
    ],
    ids=" ".join,
)
def test_other_programs_too(of, dlrun):
    given = of if any(word.startswith("model=") for word in of) else (*of, "model.widths=[8]")
    done = dlrun("-m", *given, "log.plot=false", "seed=0,1", "optim.lr=0.003,0.01")
    assert done.code == 0, done.err
    for run in (runs(done.directory)[1], runs(done.directory)[2]):
        assert digest(run) == digest(dlrun(*words(run)).directory)


@pytest.mark.slow
def test_chunks_are_the_same_program(dlrun):
    with compilations() as compiled:
        done = dlrun("-m", *TINY, "epochs=2", "dropout=0.1", "seed=range(0,9)", "launcher.chunk=4")
    assert done.code == 0
    assert len(compiled) == 1
    whole = dlrun("-m", *TINY, "epochs=2", "dropout=0.1", "seed=range(0,9)")
    assert list(map(digest, runs(done.directory))) == list(map(digest, runs(whole.directory)))
