"""A search as a sweep: its trials are runs like any other, the pruned ones cut short."""

import contextlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest
import yaml

from tests.digest import digest
from tests.sweeps import SMALL, compilations, contents, record, runs, statuses, words

SEARCH = (
    "-m", *SMALL, "hydra/sweeper=optuna", "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=8",
    "hydra.sweeper.batch=4", "optim.lr=tag(log,interval(1e-4,1))",
)  # fmt: skip
HALVING = ("hydra.sweeper.pruner=halving", "epochs=9")


def steps(run):
    """How far a run came."""
    return max(json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines())


def test_pruned_trials_are_cut_short_and_the_others_are_runs_alone(dlrun, own_folder):
    with compilations() as compiled:
        done = dlrun(*SEARCH, *HALVING)
    assert (done.code, done.out) == (0, f"{done.directory}\n"), done.err
    assert compiled == ["jit(train_all)"], "of both batches"
    found = statuses(done.directory)
    assert len(found) == 8
    assert set(found) == {"pruned", "completed"}
    ends = {steps(run) for run, status in zip(runs(done.directory), found, strict=True) if status == "pruned"}
    assert ends <= {20, 60}, "at rungs: evaluations 1 and 3"
    whole = [run for run, status in zip(runs(done.directory), found, strict=True) if status == "completed"]
    assert {steps(run) for run in whole} == {180}
    alone = dlrun(*words(whole[-1]))
    assert digest(whole[-1]) == digest(alone.directory)

    pruned = runs(done.directory)[found.index("pruned")]
    assert json.loads((pruned / "run.json").read_text())["error"].startswith("at step ")
    assert not (pruned / "summary.json").exists()
    assert "pruned: at" not in done.err

    best = yaml.safe_load((done.directory / "experiment" / "best.yaml").read_text())
    values = {run: json.loads((run / "summary.json").read_text())["best/val/accuracy"] for run in whole}
    rates = {run: json.loads((run / "run.json").read_text())["config"]["optim"]["lr"] for run in whole}
    assert best["optim"]["lr"] in [rates[run] for run in whole if values[run] == max(values.values())]
    again = dlrun("--config-dir", str(done.directory), "experiment=best", *SMALL, "epochs=1")
    assert again.code == 0, again.err
    assert again.run["config"]["optim"]["lr"] == best["optim"]["lr"]

    # Nothing more to do; then four trials more, and the eight there were stay.
    before = {run: contents(run) for run in runs(done.directory)}
    written = (done.directory / "sweep.json").read_bytes()
    same = dlrun("resume", str(done.directory))
    assert (done.directory / "sweep.json").read_bytes() == written
    assert (same.code, "go on with" in same.err) == (0, False), same.err
    assert {run: contents(run) for run in before} == before
    lines = same.err.splitlines()
    assert [line.split()[1] for line in lines[1:9]] == sorted(found), "the table of all, completed ones first"
    assert all(re.fullmatch(r"optim\.lr=[\d.e-]{1,9}", line.split()[-1]) for line in lines[1:9]), same.err
    assert lines[9].startswith("best: trial ")
    assert lines[10] == f"      in {done.directory}/experiment/best.yaml"
    assert len(lines) == 11
    more = dlrun("resume", str(done.directory), "hydra.sweeper.n_trials=12")
    assert more.code == 0, more.err
    assert len(statuses(done.directory)) == 12
    assert {run: contents(run) for run in before} == before


REFUSED = {
    "hydra.sweeper.n_trials=0": "n_trials",
    "hydra.sweeper.ntrials=9": "hydra.sweeper.ntrials: unknown key (did you mean 'n_trials'?); known to ",
    "hydra.sweeper.metric=val/nope": "val/nope",
    "hydra.sweeper.pruner=nope": "pruner",
    "hydra.sweeper.sampler=grid": "grid",
    "optim.lr=interval(1,0.1)": "optim.lr",
    "optim.lr=interval(-1,0.1)": "optim.lr=-1",
    "model.widths=[8] act=relu,nope": "act=nope",
    "hydra.sweeper.seeds=2 seed=0,1": "seed",
    "optim.lr=0.1": "",
}


@pytest.mark.parametrize("given", REFUSED)
def test_a_wrong_search_makes_nothing(given, dlrun, own_folder):
    command = [w for w in SEARCH if w.partition("=")[0] not in {g.partition("=")[0] for g in given.split()}]
    done = dlrun(*command, *given.split())
    assert (done.code, done.out) == (2, ""), done.err
    assert all(line.startswith("error: ") for line in done.err.splitlines())
    assert len(done.err.splitlines()) == 1
    assert REFUSED[given] in done.err
    assert list(own_folder.iterdir()) == []


def test_dry_run_tells_the_space_and_makes_nothing(dlrun, own_folder):
    done = dlrun(*SEARCH, *HALVING, "--dry-run")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "8 trials of 1 run each, 4 at a time; searched:"
    assert done.out.splitlines()[1].split()[0] == "optim.lr"
    assert re.fullmatch(
        r"about .* of training and .* MB of memory, .* \(estimated from 1 group\)", done.out.splitlines()[2]
    )
    grid = dlrun(
        "-m", "--dry-run", *SMALL, "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "act=relu,gelu", "seed=0,1"
    )
    assert grid.out.splitlines()[0] == "4 trials of 1 run each, 8 at a time; searched:"
    assert list(own_folder.iterdir()) == []


def test_the_runs_of_another_sweep_are_never_taken_for_trials(dlrun, own_folder):
    search = (*SEARCH, "epochs=1", "hydra.sweeper.n_trials=2", "hydra.sweeper.batch=2")
    assert dlrun("-m", *SMALL, "epochs=1", "seed=0,1", "hydra.sweep.dir=grid").code == 0
    assert dlrun(*search, "hydra.sweep.dir=search").code == 0
    shutil.copytree("search", "lost")
    os.remove("lost/study.db")
    before = contents(own_folder)
    grid = ("-m", *SMALL, "epochs=1", "seed=0,1", "hydra.sweep.dir=search")
    refused = {
        (*search, "hydra.sweep.dir=grid"): "hydra.sweep.dir=grid: the sweep of another command, without study.db",
        ("resume", "lost"): "hydra.sweep.dir=lost: the sweep of another command, without study.db",
        grid: "hydra.sweep.dir=search: the folder of a search",
    }
    for command, says in refused.items():
        done = dlrun(*command)
        assert (done.code, done.out) == (2, ""), done.err
        assert len(done.err.splitlines()) == 1
        assert done.err.startswith(f"error: {says}")
        assert contents(own_folder) == before

    # Nor those of another configuration, whatever the study says.
    shutil.copyfile("grid/sweep.json", "search/sweep.json")
    file = own_folder / "search" / "sweep.json"
    file.write_text(file.read_text().replace('"seed=0,1"', ", ".join(json.dumps(w) for w in search[len(SMALL) + 1 :])))
    study = own_folder / "search" / "study.db"
    with contextlib.closing(sqlite3.connect(study)) as db:
        db.execute("UPDATE trials SET state = 'RUNNING'")
        db.commit()
    done = dlrun("resume", "search")
    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.splitlines()[-1].startswith("error: search/0: a run of another configuration; allowed: another")
    assert record(own_folder / "search")["status"] == "failed"


LOST = {
    "gone": shutil.rmtree,
    "killed": lambda run: (run / "summary.json").unlink(),
    "damaged": lambda run: (run / "run.json").write_text("{"),
}


@pytest.mark.parametrize(("lose", "more"), [*((lose, ()) for lose in [*LOST, "failed"]), ("gone", HALVING[:1])])
def test_what_a_search_lost_is_trained_again(lose, more, finished, dlrun):
    """As by a plain sweep; and then the search is what it was."""
    done = finished(*SEARCH, *HALVING[1:], *more)
    best = (done.directory / "experiment" / "best.yaml").read_text()
    before, was = [*map(end, runs(done.directory))], statuses(done.directory)
    lost = [0, 5]
    for number in lost:
        if lose == "failed":
            failed(done.directory, number)
        else:
            LOST[lose](runs(done.directory)[number])
    kept = {run: contents(run) for n, run in enumerate(runs(done.directory)) if n not in lost}
    again = dlrun("resume", str(done.directory))
    assert again.code == 0, again.err
    assert "2 trials to train again: 0, 5: a run of each is gone, failed or incomplete\n" in again.err
    assert {run: contents(run) for run in kept} == kept
    assert record(done.directory)["status"] == "completed"
    if not more:  # what a pruner decides depends on what it knows by then
        assert ([*map(end, runs(done.directory))], statuses(done.directory)) == (before, was)
        assert (done.directory / "experiment" / "best.yaml").read_text() == best
    whole = contents(done.directory)
    assert "again" not in dlrun("resume", str(done.directory)).err
    assert {**contents(done.directory), done.directory / ".lock": None} == {**whole, done.directory / ".lock": None}


def end(run):
    """What became of a run, whether it was pruned or not."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def failed(sweep, number):
    """A trial fails, as for want of memory: so say its run and the study."""
    run = runs(sweep)[number]
    shutil.rmtree(run / "checkpoints")
    (run / "summary.json").unlink(missing_ok=True)
    (run / "run.json").write_text(json.dumps({**json.loads((run / "run.json").read_text()), "status": "failed"}))
    with contextlib.closing(sqlite3.connect(sweep / "study.db")) as db:
        db.execute("UPDATE trials SET state = 'FAIL' WHERE number = ?", [number])
        db.commit()


@pytest.mark.parametrize("there", ["of another trial", "missing"])
def test_a_search_killed_before_it_wrote_the_best(there, finished, dlrun):
    done = finished(*SEARCH, *HALVING[1:])
    file = done.directory / "experiment" / "best.yaml"
    best = file.read_text()
    file.unlink()
    if there != "missing":
        file.write_text(best.replace("lr", "rl"))
    (done.directory / "experiment" / "best-1.yaml").write_text("")
    edited = {**record(done.directory), "status": "running"}
    (done.directory / "sweep.json").write_text(json.dumps(edited))
    again = dlrun("resume", str(done.directory))
    assert again.code == 0, again.err
    assert [(path.name, path.read_text()) for path in file.parent.iterdir()] == [("best.yaml", best)]
    assert record(done.directory)["status"] == "completed"
    assert dlrun("--config-dir", str(done.directory), "experiment=best", "--cfg", "job").code == 0


def chosen(sweep):
    """What was searched for, by job: all there is to a trial."""
    return {job["job"]: job["overrides"] for job in record(sweep)["jobs"]}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("more", [("hydra.sweeper.sampler=tpe",), HALVING[:1]], ids=" ".join)
def test_a_killed_search_goes_on_without_repeating(more, own_folder):
    """Without pruning to the same trials and results; with it, whatever was decided stays."""
    dlrun, env = [sys.executable, "-m", "dlrun"], {**os.environ, "NPROC": "1"}
    given = [*SEARCH, *more, "epochs=300", "checkpoint.every=10epochs", "log.every=100"]
    given = [w for w in given if w.partition("=")[0] != more[0].partition("=")[0] or w == more[0]]
    seconds = 0.0
    for name in ("cold", "warm"):
        began = time.monotonic()
        subprocess.run([*dlrun, *given, f"hydra.sweep.dir={name}"], check=True, env=env, capture_output=True)
        seconds = time.monotonic() - began
    killed, rng, over, folder = 0, random.Random(0), {}, own_folder / "killed"
    while True:
        command = ["resume", str(folder)]
        if not (folder / "sweep.json").exists():
            command = [*given, f"hydra.sweep.dir={folder}"]
            shutil.rmtree(folder, ignore_errors=True)
        process = subprocess.Popen(
            [*dlrun, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        try:
            _, err = process.communicate(timeout=rng.uniform(0.3, 0.9) * seconds if killed < 3 else 600)
            assert process.returncode == 0, err
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            found = {run: decided(run) for run in (runs(folder) if (folder / "sweep.json").exists() else [])}
            assert {run: found[run] for run in over} == over
            over = {run: files for run, files in found.items() if files is not None}
            continue
        assert len(statuses(folder)) == 8
        assert {run: decided(run) for run in over} == over
        if "tpe" in more[0]:
            assert chosen(folder) == chosen(own_folder / "warm")
            assert list(map(digest, runs(folder))) == list(map(digest, runs(own_folder / "warm")))
        else:
            assert set(statuses(folder)) == {"completed", "pruned"}
        assert (folder / "experiment" / "best.yaml").exists()
        if killed >= 3:
            return
        shutil.rmtree(folder)
        over = {}


def decided(run):
    """What is in the directory of a trial that is over."""
    record = run / "run.json"
    status = json.loads(record.read_text())["status"] if record.exists() else "pending"
    return contents(run) if status in ("completed", "pruned") else None
