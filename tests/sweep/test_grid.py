"""A sweep is what its runs are, each by itself: directories, records, what is told, what is refused."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dlrun.compare.plot import panels
from dlrun.config import composition
from dlrun.sweep.display import SweepDisplay
from dlrun.sweep.launchers.base import Launcher
from tests.digest import digest
from tests.sweeps import SMALL, TINY, record, runs, statuses, words


def test_directories_are_those_of_runs_alone(dlrun, own_folder):
    sweep = dlrun("-m", *SMALL, "optim.lr=0.1,0.2", "seed=0,1", "epochs=2")
    assert sweep.code == 0, sweep.err
    assert sweep.out == f"{sweep.directory}\n"
    assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-[0-9a-f]{6}", str(sweep.directory))
    assert {p.name for p in sweep.directory.iterdir()} == {"sweep.json", ".lock", "0", "1", "2", "3"}

    found = record(sweep.directory)
    given = [*SMALL, "optim.lr=0.1,0.2", "seed=0,1", "epochs=2"]
    assert (found["format"], found["status"], found["overrides"]) == (1, "completed", given)
    assert found["swept"] == {"optim.lr": [0.1, 0.2], "seed": [0, 1]}
    assert found["command"][0] == "dlrun"
    assert found["start"] <= found["end"]
    assert statuses(sweep.directory) == ["completed"] * 4
    text = (sweep.directory / "sweep.json").read_text()
    assert [json.loads(line.strip(", ")) for line in text.splitlines() if '"job": ' in line] == found["jobs"]
    assert len({job["digest"] for job in found["jobs"]}) == 4

    run = sweep.directory / "3"
    made = json.loads((run / "run.json").read_text())
    assert made["command"] == ["dlrun", *words(run)]
    assert found["jobs"][3]["overrides"] == words(run)
    alone = dlrun(*made["command"][1:])
    assert digest(run) == digest(alone.directory)
    assert {p.name for p in run.iterdir()} == {p.name for p in alone.directory.iterdir()}
    for name in ("config.yaml", "overrides.yaml"):
        assert (run / ".hydra" / name).read_text() == (alone.directory / ".hydra" / name).read_text()
    hydra, other = (OmegaConf.load(r / ".hydra" / "hydra.yaml").hydra for r in (run, alone.directory))
    assert (hydra.job.num, hydra.job.id, hydra.mode) == (3, "3", "MULTIRUN")
    assert hydra.runtime.output_dir == str(run.absolute())
    assert hydra.overrides.task == other.overrides.task
    same = {"runtime", "overrides", "job", "mode", "sweep", "run"}
    one, other = (OmegaConf.to_container(h, resolve=False) for h in (hydra, other))
    assert {k: v for k, v in one.items() if k not in same} == {k: v for k, v in other.items() if k not in same}
    assert "epochs=2" in words(run)
    assert "steps=null" not in words(run), "which goes without saying"
    assert (run / "data.json").read_bytes() == (alone.directory / "data.json").read_bytes()
    assert made.keys() == alone.run.keys()
    times = {"start", "end", "seconds", "steps_per_second", "stack", "stack_steps_per_second", "peak_memory"}
    assert {k: v for k, v in made.items() if k not in times} == {
        k: v for k, v in {**alone.run, "command": made["command"]}.items() if k not in times
    }


def test_a_job_that_crashes_is_told_and_the_others_go_on(dlrun, monkeypatch):
    from dlrun.train.training_run import TrainingRun

    take = TrainingRun.take

    def crash(self, found):
        if self.settings.seed == 1 and self.at.step > 30:
            raise RuntimeError("no more\nof this")
        return take(self, found)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "take", crash)
        done = dlrun("-m", *SMALL, "seed=0,1,2", "epochs=2")
        assert done.code == 1
        assert statuses(done.directory) == ["completed", "failed", "completed"]
        assert record(done.directory)["status"] == "failed"
        log = done.directory / "1" / "log.txt"
        assert f"job 1: seed=1: failed: RuntimeError: no more; see {log}\n" in done.err
        assert "Traceback" in log.read_text()
        assert f"1 of 3 jobs failed: 1; see {log}" in done.err
        assert f"go on with: dlrun resume {done.directory}" in done.err
        assert "Traceback" not in done.err
        assert "Traceback" not in (done.directory / "0" / "log.txt").read_text()

        stopped = dlrun("-m", *SMALL, "seed=1,2,3", "epochs=2", "launcher.fail_fast=true", "launcher.chunk=1")
        assert stopped.code == 1
        assert statuses(stopped.directory) == ["failed", "pending", "pending"]
    for run in (done.directory / "0", done.directory / "2"):
        assert digest(run) == digest(dlrun(*words(run)).directory)
    before = digest(done.directory / "0")
    again = dlrun("resume", str(done.directory))
    assert (again.code, again.directory) == (0, done.directory), again.err
    assert statuses(done.directory) == ["completed"] * 3
    assert digest(done.directory / "0") == before
    assert digest(done.directory / "1") == digest(dlrun(*words(done.directory / "1")).directory)


def test_directories_are_named_as_asked(dlrun, own_folder):
    how = ("-m", *SMALL, "epochs=1", "hydra.sweep.dir=there", "hydra.sweep.subdir=lr${optim.lr}")
    clash = dlrun(*how, "optim.lr=0.1", "seed=0,1")
    assert (clash.code, clash.out) == (2, "")
    assert (
        clash.err == "error: hydra.sweep.subdir=lr${optim.lr}: the same for several runs; allowed: ${hydra.job.num}\n"
    )
    assert list(own_folder.iterdir()) == []
    done = dlrun(*how, "optim.lr=0.1,0.2")
    assert (done.code, done.out) == (0, "there\n"), done.err
    assert [run.name for run in runs(done.directory)] == ["lr0.1", "lr0.2"]
    assert statuses(done.directory) == ["completed"] * 2


REFUSED = {
    "seed=1,x act=relu,nope": ["seed=x: ", "act=nope: "],
    "model.widths=[8],[0]": ["model.widths"],
    "batch_size=64,100000": ["batch_size=100000: "],
    "model=mlp,cnn model.widths=[8]": ["model.widths: "],
    "launcher.workers=0": ["launcher.workers=0: "],
    "launcher=local,submitit": ["launcher: several values; allowed: one"],
    "launcher.vmap=true,false": ["launcher"],
    "launcher=nope": ["launcher=nope: "],
    "launcher.worker=2": ["launcher.worker: unknown key (did you mean 'workers'?)"],
    "seed=range(0,200) optim.lr=range(0.001,0.1,0.001)": ["20000 jobs; allowed: at most launcher.max_jobs=10000"],
    "seed=0,1,2 launcher.max_jobs=2": ["launcher.max_jobs"],
    "seed=range(3,3)": ["seed=range(3,3)"],
    "optim.lr=interval(0,1)": ["optim.lr=interval(0,1)"],
    "optim.lr=-1,0.1 dropout=2": ["optim.lr=-1: ", "dropout=2: "],
    "hydra.sweep.subdir=${nope}": ["hydra.sweep.subdir=${nope}: "],
    "data=diabetes,digits loss=cross_entropy": ["loss"],
    "act=relu,gelu act=tanh": ["act: chosen 2 times"],
    "seed=0,": ["seed=0,: can't be read as key=value: it ends too early"],
    "seed=0,1 hydra.sweep.dri=x": ["hydra.sweep.dri: unknown key (did you mean 'dir'?); known: dir, subdir"],
    "seed=0,1 hydra.sweeep.dir=x": ["hydra.sweeep: unknown key (did you mean 'sweep'?); known: "],
    "seed=0,1 hydra.sweeper.n_trials=3": ["hydra.sweeper.n_trials: unknown key; known to hydra/sweeper=basic: "],
    "seed=0 hydra.sweep.subdir=.": [
        "hydra.sweep.subdir=.: '.' does not give each run a folder of its own; allowed: ${hydra.job.num}"
    ],
    "seed=0 hydra.sweep.subdir=..": ["hydra.sweep.subdir=..: '..' does not give each run a folder of its own"],
    "seed=0,1 hydra.sweep.subdir=../${hydra.job.num}": ["'../0' does not give each run a folder of its own"],
    "seed=0,1 hydra.sweep.subdir=/tmp/${hydra.job.num}": ["'/tmp/0' does not give each run a folder of its own"],
    "seed=0 hydra.sweep.subdir=sweep.json": ["'sweep.json' does not give each run a folder of its own"],
    "log.project=a,a/b hydra.sweep.subdir=${log.project}": ["one run would be inside another"],
    "seed=0,1 hydra.sweep.subdir=x": ["hydra.sweep.subdir=x: the same for several runs"],
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_is_wrong_with_any_job_is_told_before_anything_is_made(given, dlrun, own_folder):
    done = dlrun("-m", *TINY, *given.split())
    assert (done.code, done.out) == (2, ""), done.err
    lines = done.err.splitlines()
    assert all(line.startswith("error: ") for line in lines), done.err
    for says in REFUSED[given]:
        assert sum(says in line for line in lines) == 1, done.err
    assert len(lines) == len(REFUSED[given]) or len(lines) == 1
    assert list(own_folder.iterdir()) == []


def test_values_that_are_given_twice_are_trained_once_and_told(dlrun):
    done = dlrun("-m", *SMALL, "epochs=1", "seed=0,0,1")
    assert done.code == 0, done.err
    assert "notice: seed=0,0,1: 0 appears more than once, and is trained once\n" in done.err
    assert statuses(done.directory) == ["completed"] * 2


def test_a_directory_that_cannot_be_made_fails_its_job_alone(dlrun):
    done = dlrun("-m", *SMALL, "epochs=1", "seed=0,1")
    shutil.rmtree(done.directory / "0")
    (done.directory / "0").touch()
    for how in ((), ("launcher.workers=1",)):
        again = dlrun("resume", str(done.directory), *how)
        assert (again.code, again.out) == (1, f"{done.directory}\n")
        assert f"job 0: seed=0: failed: {done.directory}/0/.hydra: Not a directory\n" in again.err
        assert statuses(done.directory)[1] == "completed"
    (done.directory / "0").unlink()
    assert dlrun("resume", str(done.directory)).code == 0
    assert statuses(done.directory) == ["completed"] * 2


def display(*jobs: str, mode: str = "max") -> SweepDisplay:
    made = SweepDisplay("val/accuracy", mode)
    made.add({i: text.split() for i, text in enumerate(jobs)}, {})
    return made


def test_jobs_are_named_by_what_distinguishes_all_of_them():
    found = display("act=relu optim.lr=0.010559683697676198 seed=0", "act=relu optim.lr=1.2345678e-05 seed=0")
    assert [found.name(i) for i in (0, 1)] == ["job 0: optim.lr=0.01056", "job 1: optim.lr=1.235e-05"]
    found.add({2: ["act=gelu", "optim.lr=0.5", "seed=0"]}, {})
    assert [found.name(i) for i in (0, 2)] == ["job 0: act=relu optim.lr=0.01056", "job 2: act=gelu optim.lr=0.5"]


def test_the_table_has_failures_then_the_best_then_what_was_given_up():
    found = display("seed=0", "seed=1", "seed=2", "seed=3", "seed=4")
    for job, (came_to, value) in enumerate(
        [("completed", 0.5), ("pruned", 0.9), ("completed", 0.7), ("failed", 0.8), ("pruned", 0.1)]
    ):
        found.value(job, value)
        found.came_to(job, came_to)
    assert [line.split()[0] for line in found.table(lambda job: None).splitlines()] == ["job", "3", "2", "0", "1", "4"]


@pytest.mark.parametrize(("bad", "good", "shown"), [(100, 100, (20, 20)), (5, 100, (5, 35)), (100, 3, (37, 3))])
def test_a_long_table_is_cut_where_it_says_least(bad, good, shown):
    found = display(*(f"seed={i}" for i in range(bad + good)))
    for job in range(bad + good):
        found.value(job, job / 1000)
        found.came_to(job, "diverged" if job < bad else "completed")
    _, *rows, last = found.table(lambda job: None).splitlines()
    assert last == f"... 40 of {bad + good} jobs; sweep.json has all"
    states = [row.split()[1] for row in rows]
    assert states == ["diverged"] * shown[0] + ["completed"] * shown[1]
    assert int(rows[-shown[1]].split()[0]) == bad + good - 1, "the best"


def test_time_left_counts_no_compiling_and_what_a_search_will_choose(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    found = display("seed=0", "seed=1")
    found.expected = 4
    for job in (0, 1):
        found.steps[job] = (0, 0, 100)
    assert found.seconds_left() is None
    now = 50.0  # it was compiled
    for job in (0, 1):
        found.advance(job, 10)
    now = 60.0
    for job in (0, 1):
        found.advance(job, 60)
    found.came_to(0, "pruned")
    assert found.steps[0] == (0, 60, 60)
    # 110 steps took 10 s. Left are 40 of job 1, and 80 of each of the two jobs to come: these jobs' mean
    assert found.seconds_left() == pytest.approx(18.18, abs=0.01)
    assert found.parts()[0] == (0, "1/4 jobs done")


def test_a_sweep_says_that_it_compiles_until_a_job_of_the_group_moves():
    found = display("seed=0", "seed=1")
    told = [text for _, text in found.parts()]
    assert "compiling" not in told, "nothing runs yet"
    for job in (0, 1):
        found.started(job, 5, 100)
    assert [text for _, text in found.parts()] == ["0/2 jobs done", "2 running", "compiling"]
    found.advance(0, 6)
    assert "compiling" not in [text for _, text in found.parts()]


def test_dry_run_tells_and_makes_nothing(dlrun, own_folder):
    done = dlrun("--dry-run", "-m", *SMALL, "act=relu,gelu", "seed=0,1", "epochs=1")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "4 jobs"
    assert [line for line in lines if line.startswith("group")] == [f"group {i}: 2 jobs, 1 stack of 2" for i in (0, 1)]
    jobs = [line for line in lines if line.startswith("  ")]
    assert [line.split()[0] for line in jobs] == list("0123")
    assert all(f"seed={i % 2}" in line for i, line in enumerate(jobs))
    assert "2 groups, 2 compilations of the training step" in lines
    assert re.fullmatch(
        r"about \d+:\d\d of training and \d+:\d\d of compilation, if all groups run one after the other; "
        r"[1-9][\d,]* MB of memory, \d MB of it for states and data \(estimated from 2 groups\)",
        lines[-1],
    )
    alone = dlrun("--dry-run", *SMALL)
    assert (alone.code, alone.err) == (2, "error: --dry-run: not allowed here; allowed: dlrun -m ... --dry-run\n")
    foreign = dlrun("-m", "--dry-run", "hydra/launcher=joblib", "seed=0,1")
    assert (foreign.code, len(foreign.err.splitlines())) == (2, 1)
    assert list(own_folder.iterdir()) == []


@pytest.mark.slow
def test_a_thousand_jobs_start_at_once(dlrun, monkeypatch):
    began, started = time.perf_counter(), []
    for seed in range(3):
        composition.compose(composition.loader([]), [*SMALL, f"seed={seed}"])
    one = (time.perf_counter() - began) / 3
    monkeypatch.setattr("dlrun.sweep.train_jobs.train", lambda *_, **__: started.append(time.perf_counter()) or {})
    began = time.perf_counter()
    done = dlrun("-m", *SMALL, "seed=range(0,100)", "optim.lr=range(0.01,0.105,0.01)", "hydra.sweep.dir=many")
    assert len(record(done.directory)["jobs"]) == 1000
    assert len(started) == 1, "of one group"
    assert started[0] - began < 60 * one, (started[0] - began, one)


@pytest.mark.slow
def test_one_picture_for_all(dlrun, monkeypatch):
    figures, save = [], panels.save
    monkeypatch.setattr(panels, "save", lambda figure, *a, **how: (figures.append(figure), save(figure, *a, **how)))
    done = dlrun("-m", *SMALL, "log.plot=true", "act=relu,gelu", "seed=0,1,2", "epochs=2")
    assert done.code == 0, done.err
    (panel,) = figures[0].axes
    assert sorted(text.get_text() for text in panel.texts) == ["gelu  n=3", "relu  n=3"]
    assert min(text.get_position()[0] for text in panel.texts) > 1, "beside the panel"
    assert [p.name for p in done.directory.rglob("*.png")] == ["curves.png"]
    assert (done.directory / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_workers_come_to_the_same(dlrun, shell, monkeypatch):
    monkeypatch.setenv("NPROC", "1")
    how = ("-m", *SMALL, "act=relu,gelu", "seed=0,1", "optim.lr=0.1,1e30", "epochs=2", "log.every=5")
    done = shell(*how, "launcher.workers=2")
    assert done.code == 1
    assert done.out == f"{done.directory}\n"
    assert statuses(done.directory) == ["completed", "diverged"] * 4
    assert "Traceback" not in done.err
    assert re.search(r"^4 of 8 jobs failed: 1, 3, 5, 7; see .*/1/log.txt$", done.err, re.M)
    for job in (1, 3, 5, 7):
        told = rf"^job {job}: act=\w+ seed=\d optim.lr=1e[+]?30: diverged: .*; see .*/{job}/log.txt$"
        assert len(re.findall(told, done.err, re.M)) == 1
    here = shell(*how)
    for one, other in zip(runs(done.directory)[::2], runs(here.directory)[::2], strict=True):
        assert digest(one) == digest(other)
        assert words(one) == words(other)


def test_a_sweep_by_hydra_itself_comes_to_the_same(dlrun, own_folder, monkeypatch):
    """Hydra's own launchers don't know of groups; its basic one, which dlrun takes the place of, stands for them."""
    how = ("-m", *SMALL, "steps=2", "hydra.sweep.dir=there")
    with monkeypatch.context() as patched:
        patched.setattr("dlrun.sweep.by_hydra.chosen", lambda cfg: True)
        clash = dlrun(*how, "hydra.sweep.subdir=lr${optim.lr}", "seed=0,1")
        assert (clash.code, clash.out) == (2, "")
        assert clash.err.startswith("error: hydra.sweep.subdir=lr${optim.lr}: the same for several runs; allowed: ")
        assert list(own_folder.iterdir()) == []
        done = dlrun(*how, "hydra.sweep.subdir=lr${optim.lr}", "optim.lr=0.1,0.2")
        assert (done.code, done.out) == (0, "there\n"), done.err
    assert not (done.directory / "sweep.json").exists()
    found = sorted(run.parent for run in done.directory.glob("*/run.json"))
    assert [run.name for run in found] == ["lr0.1", "lr0.2"]
    assert digest(found[1]) == digest(dlrun(*SMALL, "steps=2", "optim.lr=0.2").directory)


def test_progress_lines_where_there_is_no_terminal(dlrun, monkeypatch):
    monkeypatch.setattr("dlrun.sweep.display.SILENCE", 0.0)
    done = dlrun("-m", *SMALL, "seed=0,1,2", "epochs=2")
    assert re.search(r"^\d/3 jobs done  .*best accuracy 0\.\d+ +\(job \d: seed=\d\)$", done.err, re.M), done.err
    table = done.err.splitlines()[-4:]
    assert table[0].split() == ["job", "status", "val/accuracy", "time"]
    assert sorted(line.split()[0] for line in table[1:]) == ["0", "1", "2"]
    values = [float(line.split()[2]) for line in table[1:]]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("says", ["", "no such library\n"])
def test_a_failed_sweep_names_logs_that_are_there(dlrun, monkeypatch, says):
    """Of a process that died before its run had a directory's files: its own output, if there was any."""
    code = f"import sys; sys.stderr.write({says!r}); sys.exit(3)"
    monkeypatch.setitem(Launcher.launch.__kwdefaults__, "command", (sys.executable, "-c", code))
    done = dlrun("-m", *TINY, "launcher.workers=1", "launcher.retries=0", "seed=0,1")
    assert done.code == 1
    named = [Path(line.rpartition("; see ")[2]) for line in done.err.splitlines() if "; see " in line]
    assert all(file.is_file() and file.read_text() == says for file in named)
    assert len(named) == (2 if says else 0), done.err
    assert re.search(r"^2 of 2 jobs failed: 0, 1", done.err, re.M)


@pytest.mark.slow
def test_where_few_files_may_be_open_stacks_are_smaller(own_folder):
    """40 runs side by side would take 200."""
    words = ("-m", *SMALL, "epochs=1", "seed=range(0,40)", "log.sinks=[csv]", "hydra.sweep.dir=sweep")
    limited = 'ulimit -n 100; exec "$0" -m dlrun "$@"'
    done = subprocess.run(["bash", "-c", limited, sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert statuses(Path("sweep")) == ["completed"] * 40
    assert all(1 < json.loads((run / "run.json").read_text())["stack"] < 15 for run in runs(Path("sweep")))
