"""``dlrun prune``: what goes, what stays whatever happens, and how a run goes on from what is left."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dlrun.display.units import prefixed
from dlrun.runs import atomic, manifest, prune, rundir
from dlrun.runs.loading import load
from dlrun.runs.lock import locked
from tests.conftest import QUICK
from tests.digest import digest

STEPS = (10, 20, 30)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def made(name: str, *, status: str = "completed", steps=STEPS, best: int | None = 20, **fields) -> Path:
    """A run directory with states, as a run leaves it."""
    folder = Path("outputs") / name
    folder.mkdir(parents=True)
    end = None if status == "running" else "2026-01-02T10:00:00+0000"
    atomic.write_json(folder / rundir.RUN, {"format": 1, "status": status, "command": ["dlrun"], "end": end, **fields})
    (folder / rundir.METRICS).write_text('{"step": 10, "split": "val", "loss": 1.0}\n')
    if status == "completed":
        atomic.write_json(folder / rundir.SUMMARY, {"status": status, "metric": "val/loss", "best/step": best})
    for step in steps:
        saved(folder, step, best)
    return folder


def saved(run: Path, step: int, best: int | None) -> Path:
    folder = run / rundir.CHECKPOINTS / str(step)
    folder.mkdir(parents=True)
    save_file(
        {"state/step": np.full(100, step)}, folder / manifest.STATE, {manifest.LOOP: json.dumps({"best_step": best})}
    )
    (folder / manifest.MANIFEST).write_text(manifest.manifest(folder))
    return folder


def left(run: Path) -> list[int]:
    """The sound states of a run."""
    found = manifest.sound(run / rundir.CHECKPOINTS)
    assert found == manifest.steps(run / rundir.CHECKPOINTS)
    return found


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: what files hold, where links lead."""
    return {
        str(p): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
        if p.name != rundir.LOCK
    }


@pytest.mark.parametrize(
    ("keep", "stay"), [("best", [20]), ("last", [30]), ("best,last", [20, 30]), ("last,best", [20, 30]), ("none", [])]
)
def test_which_states_stay(keep: str, stay: list[int], dlrun):
    run = made("a")
    outcome = dlrun("prune", "--keep", keep, "--delete")
    assert (outcome.code, outcome.err) == (0, "")
    assert left(run) == stay
    assert os.listdir(run / rundir.CHECKPOINTS) == list(map(str, stay)) or len(stay) == 2
    outcome = dlrun("prune", "--keep", keep, "--delete")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "nothing to delete\n")


def test_a_look_tells_and_deletes_nothing(dlrun):
    made("a")
    made("b", steps=range(1, 9), best=8)
    made("c", steps=(7,), best=7)
    before = tree(Path("outputs"))
    size = {
        name: sum(
            file.stat().st_size for step in steps for file in Path(f"outputs/{name}/checkpoints/{step}").iterdir()
        )
        for name, steps in (("a", (10, 30)), ("b", range(1, 8)))
    }
    for words in ((), ("--dry-run",)):
        outcome = dlrun("prune", "--keep", "best", *words)
        assert (outcome.code, outcome.err) == (0, "")
        total = prefixed(size["a"] + size["b"], "B")
        assert [line.strip() for line in outcome.out.splitlines()] == [
            f"{prefixed(size['a'], 'B')}  outputs/a  deletes 10, 30; keeps 20 (best)",
            f"{prefixed(size['b'], 'B')}  outputs/b  deletes 1, 2 … 7 (7 states); keeps 8 (best)",
            f"{total}  9 states of 2 runs would be deleted; --delete deletes them",
        ]
    assert tree(Path("outputs")) == before
    assert not list(Path("outputs").rglob(rundir.LOCK))
    outcome = dlrun("prune", "--keep", "best", "--delete")
    assert outcome.out.splitlines()[-1].strip() == f"{total}  9 states of 2 runs deleted"
    assert not Path("outputs/c", rundir.LOCK).exists(), "where nothing goes, nothing is touched"


STATUSES = ("completed", "pruned", "diverged", "failed", "stopped", "running")


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ([], "completed pruned diverged"),
        (["--failed"], "diverged failed"),
        (["--unfinished"], "completed pruned diverged failed stopped running"),  # the last one was killed
        (["--where", "status in (completed, stopped)"], "completed"),
        (["--where", "status in (completed, stopped)", "--unfinished"], "completed stopped"),
        (["outputs/failed", "outputs/pruned"], "pruned"),
        (["--failed", "--where", "status=completed"], ""),
        (["--where", "status=completed", "--where", "status=diverged"], ""),
    ],
)
def test_which_runs(words: list[str], runs: str, dlrun):
    for status in STATUSES:
        made(status, status=status)
    outcome = dlrun("prune", "--keep", "none", "--delete", *words)
    assert outcome.code == 0
    assert [status for status in STATUSES if not left(Path("outputs") / status)] == [*runs.split()]
    may = "left alone, as they can still be resumed: 1 failed, 1 killed, 1 stopped (--unfinished includes them)\n"
    assert (may == outcome.err) == (words == [])


def test_older_ones(dlrun):
    def ago(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(time.time() - seconds))

    for name, seconds in (("minutes", 300), ("hours", 3 * 3600), ("days", 3 * 86400), ("weeks", 20 * 86400)):
        made(name, end=ago(seconds))
    killed = made("killed", status="running")
    for file in (rundir.RUN, rundir.METRICS):
        os.utime(killed / file, (time.time() - 86400,) * 2)
    made("strange", end=["never"])
    order = {}
    for age in ("2w", "2d", "20h", "1.5h", "200s", "4m", "0s"):
        outcome = dlrun("prune", "--keep", "none", "--unfinished", "--older-than", age)
        order[age] = {line.split()[2].removeprefix("outputs/") for line in outcome.out.splitlines()[:-1]}
    everything = {"weeks", "days", "killed", "hours", "minutes"}
    assert order == {
        "2w": {"weeks"}, "2d": {"weeks", "days"}, "20h": {"weeks", "days", "killed"},
        "1.5h": {"weeks", "days", "killed", "hours"}, "200s": everything, "4m": everything,
        "0s": {*everything, "strange"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--keep: missing; say which states to keep; allowed: best; last; best,last; none"),
        (["--failed"], "--keep: missing"),
        (
            ["--keep", "beste"],
            "--keep: beste: not allowed (did you mean 'best'?); allowed: best; last; best,",
        ),
        (["--keep", "none,best"], "--keep: none,best: not allowed"),
        (
            ["--keep", "best", "--older-than", "30"],
            "--older-than: 30: not allowed; allowed: a number and s, m",
        ),
        (["--keep", "best", "--older-than", "3 days"], "--older-than: 3 days: not allowed"),
        (["--keep", "best", "--delete", "--dry-run"], "--dry-run: not allowed with argument --delete"),
        (["--keep", "best", "--unfinished", "--failed"], "--failed: not allowed with argument --unfinished"),
        (["--keep", "best", "--delte"], "--delte: unknown flag (did you mean '--delete'?)"),
        (["--keep", "best", "nowhere"], "nowhere: no such folder"),
        (["--keep", "best", "--where", "lr<"], "where: lr: no such column"),
    ],
)
def test_wrong_words(words: list[str], said: str, dlrun):
    run = made("a")
    outcome = dlrun("prune", *words, *([] if "--dry-run" in words else ["--delete"] if "--keep" in words else []))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {said}")
    assert outcome.err.count("\n") == 1
    assert left(run) == list(STEPS)


def test_no_runs(dlrun):
    Path("outputs").mkdir()
    outcome = dlrun("prune", "--keep", "best")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no runs below outputs\n")


def test_a_run_in_use_is_left_alone(dlrun):
    runs = [made("resumed"), made("running", status="running"), made("other")]
    with locked(runs[0]), locked(runs[1]):
        outcome = dlrun("prune", "--keep", "none", "--delete", "--unfinished")
        assert outcome.err == "left alone: outputs/resumed: in use\nleft alone: outputs/running: in use\n"
        with pytest.raises(prune.LeftAlone, match="in use"):
            prune.delete(load()[1], (), {})
    assert outcome.code == 0
    assert list(map(left, runs)) == [list(STEPS), list(STEPS), []]


def test_a_run_that_went_on_meanwhile_is_left_alone():
    folder = made("a")
    (run,) = load()
    rundir.update_run(folder, status="stopped")
    with pytest.raises(prune.LeftAlone, match="changed meanwhile"):
        prune.delete(run, (), {})
    assert left(folder) == list(STEPS)


def test_nothing_but_states_is_touched(dlrun):
    run = made("a")
    states_of = run / rundir.CHECKPOINTS
    for name in ("007", "notes", ".hidden"):
        shutil.copytree(states_of / "20", states_of / name)
    (states_of / "50").write_text("a file")
    elsewhere = Path("elsewhere")
    shutil.copytree(states_of / "20", elsewhere / "60")
    (states_of / "60").symlink_to((elsewhere / "60").absolute())
    (states_of / ".unsound-60").symlink_to((elsewhere / "60").absolute())
    (states_of / "10" / "link").symlink_to(elsewhere.absolute())
    shutil.copytree(states_of / "20", states_of / ".unsound-70")
    shutil.copytree(states_of / "20", states_of / ".saving-80")
    before = tree(Path())
    assert dlrun("prune", "--keep", "best", "--delete").code == 0
    gone = before.keys() - tree(Path()).keys()
    assert {Path(p).relative_to(states_of).parts[0] for p in gone} == {"10", "30", ".unsound-70", ".saving-80"}
    assert tree(Path()).items() <= before.items()


def test_links_are_not_followed(dlrun):
    run, linked = made("a"), made("b")
    shutil.move(linked / rundir.CHECKPOINTS, "moved")
    (linked / rundir.CHECKPOINTS).symlink_to(Path("moved").absolute())
    made("../elsewhere/c")
    Path("outputs/c").symlink_to(Path("elsewhere/c").absolute())
    before = tree(Path("elsewhere")), tree(Path("moved"))
    outcome = dlrun("prune", "--keep", "none", "--delete")
    assert outcome.err.splitlines() == [
        "left alone: outputs/b: its checkpoints/ is a link", "left alone: outputs/c: it is reached through a link"
    ]  # fmt: skip
    assert (tree(Path("elsewhere")), tree(Path("moved")), left(run)) == (*before, [])
    assert dlrun("prune", "--keep", "none", "--delete", "outputs/c").code == 0, "by its name it is meant"
    assert left(Path("elsewhere/c")) == []


class Killed(BaseException):
    """The process is gone: no more of it runs."""


@pytest.mark.parametrize("keep", ["best", "none"])
def test_cut_off_at_any_moment_every_state_is_whole_or_gone(keep: str, dlrun, monkeypatch: pytest.MonkeyPatch):
    budget = 0  # changes to the disk before the end

    def limited(change):
        def call(*args, **how):
            nonlocal budget
            budget -= 1
            if budget < 0:
                raise Killed
            return change(*args, **how)

        return call

    for moment in range(100):
        run = made(str(moment))
        (run / rundir.CHECKPOINTS / ".unsound-10" / "state").mkdir(parents=True)  # as of one cut off before
        budget, words = moment, ("prune", str(run), "--keep", keep, "--delete")
        with monkeypatch.context() as patch:
            for name in ("rename", "unlink", "rmdir"):
                patch.setattr(os, name, limited(getattr(os, name)))
            try:
                dlrun(*words)
            except Killed:
                assert budget < 0
        found = left(run)
        assert set(found) <= set(STEPS)
        assert keep == "none" or 20 in found
        whole = budget >= 0
        budget = 100
        assert dlrun(*words).code == 0
        assert os.listdir(run / rundir.CHECKPOINTS) == ["20"] * (keep == "best")
        if whole:
            break
    assert 9 < moment < 100


def test_what_is_to_stay_must_be_there(dlrun):
    kept = made("pruned", steps=(10, 30))  # its best is gone
    damaged = made("damaged")
    (damaged / "checkpoints/20/state.safetensors").write_text("x")
    torn = made("torn")
    for step in STEPS:
        (torn / f"checkpoints/{step}" / manifest.MANIFEST).unlink()
    outcome = dlrun("prune", "--keep", "best", "--delete")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines() == [
        "left alone: outputs/damaged: its state of step 20, which would be kept, is damaged",
        "left alone: outputs/pruned: its best state, of step 20, is missing",
        "left alone: outputs/torn: none of its states is complete",
        "nothing to delete",
    ]
    assert left(kept) == [10, 30]
    assert manifest.steps(torn / "checkpoints") == manifest.steps(damaged / "checkpoints") == list(STEPS)
    assert dlrun("prune", "--keep", "none", "--delete").code == 0
    assert not any(os.listdir(run / "checkpoints") for run in (kept, damaged, torn))


def test_a_state_that_is_not_whole_is_no_last_one(dlrun):
    run = made("a")
    (run / "checkpoints/30" / manifest.MANIFEST).unlink()
    dlrun("prune", "--keep", "last", "--delete")
    assert left(run) == [20]


def test_the_best_of_a_run_without_summary(dlrun):
    made("stopped", status="stopped", best=10)
    made("diverged", status="diverged", best=None)  # before the first evaluation
    (made("damaged", best=10) / rundir.SUMMARY).write_text("{")
    odd = made("odd", status="diverged") / "checkpoints/30"
    (odd / manifest.STATE).write_text("[")
    (odd / manifest.MANIFEST).write_text(manifest.manifest(odd))
    outcome = dlrun("prune", "--keep", "best", "--unfinished", "--delete")
    assert outcome.code == 0
    assert outcome.err == "left alone: outputs/odd: its state of step 30 does not say which one is the best\n"
    assert [left(Path("outputs", name)) for name in ("stopped", "diverged", "damaged")] == [[10], [30], [10]]


def test_an_error_of_one_run_does_not_stop_the_others(dlrun, monkeypatch: pytest.MonkeyPatch):
    runs = [made(name) for name in "abc"]
    real = os.rename

    def rename(old, new):
        if "outputs/b" in str(old):
            raise PermissionError(13, "Permission denied", str(old))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    outcome = dlrun("prune", "--keep", "best", "--delete")
    assert outcome.code == 1
    assert outcome.err == "error: outputs/b: permission denied: outputs/b/checkpoints/10\n"
    assert list(map(left, runs)) == [[20], list(STEPS), [20]]
    assert outcome.out.splitlines()[-1].endswith("4 states of 2 runs deleted")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
@pytest.mark.parametrize("which", ["", "checkpoints", "checkpoints/10"])
def test_folders_that_may_not_be_changed(which: str, dlrun):
    run = made("a")
    (run / which).chmod(0o555)
    outcome = dlrun("prune", "--keep", "best", "--delete")
    for folder in (run / which, run / "checkpoints/.unsound-10"):
        if folder.is_dir():
            folder.chmod(0o755)
    assert outcome.code == 1
    assert outcome.err.startswith("error: outputs/a: permission denied: ")
    assert 20 in left(run)


def student(name: str, **how) -> Path:
    config = {"loss": {"name": "distillation", "teacher": "outputs/teacher"}}
    return made(name, config=config, teacher={"step": 20, "sha256": "x"}, steps=(), **how)


def test_states_that_others_learnt_from(dlrun):
    made("teacher")
    student("student")
    assert dlrun("prune", "--keep", "best").err == ""
    said = "outputs/student learnt from its state of step 20 and can't be resumed without it"
    assert dlrun("prune", "--keep", "last").err == f"notice: outputs/teacher: {said}\n"


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
@pytest.mark.parametrize("folders", [(), ("outputs/teacher",)])
def test_a_state_that_a_run_still_learns_from_stays(status: str, folders: tuple[str, ...], dlrun):
    teacher = made("teacher")
    student("done")
    student("student", status=status)
    outcome = dlrun("prune", "--keep", "last", "--delete", *folders)
    assert outcome.code == 0
    assert "outputs/teacher  deletes 10; keeps 30 (last), 20 (outputs/student learns from it)" in outcome.out
    assert left(teacher) == [20, 30]
    atomic.write_json(Path("outputs/student/run.json"), {"format": 1, "status": "completed", "command": ["dlrun"]})
    assert dlrun("prune", "--keep", "last", "--delete").code == 0
    assert left(teacher) == [30]


@pytest.mark.parametrize("folders", ["project/outputs", "project/outputs/teacher"])
@pytest.mark.parametrize("teacher", ["outputs/teacher", "../project/outputs/teacher", "${oc.env:HOME}/teacher"])
@pytest.mark.parametrize("damage", [None, "lost", "damaged"])
def test_a_student_is_found_from_any_folder(folders: str, teacher: str, damage: str | None, dlrun):
    made("teacher")
    config = {"loss": {"name": "distillation", "teacher": teacher}}
    run = made("day/student", status="stopped", config=config, teacher={"step": 20, "sha256": "x"}, steps=())
    damaged(run, config, damage)
    Path("project").mkdir()
    Path("outputs").rename("project/outputs")
    outcome = dlrun("prune", folders, "--keep", "none", "--delete")
    assert outcome.code == 0
    assert left(Path("project/outputs/teacher")) == ([20] if damage is None else [10, 20, 30])
    assert "project/outputs/day/student learns from it" in outcome.out + outcome.err


def damaged(run: Path, config: dict, how: str | None) -> None:
    """Loses or damages a run.json, though not what Hydra wrote."""
    (run / rundir.CONFIG).parent.mkdir()
    (run / rundir.CONFIG).write_text(json.dumps(config))
    if how == "damaged":
        (run / rundir.RUN).write_text("{")
    elif how == "lost":
        (run / rundir.RUN).unlink()


def test_a_teacher_that_was_moved_is_known_by_its_state(dlrun):
    moved = made("moved")
    sha256 = manifest.identity(moved / rundir.CHECKPOINTS / "10")
    config = {"loss": {"name": "distillation", "teacher": "/elsewhere/teacher"}}
    made("student", status="stopped", config=config, teacher={"step": 10, "sha256": sha256}, steps=())
    assert dlrun("prune", "--keep", "last", "--delete").code == 0
    assert left(moved) == [10, 30]


def test_a_student_whose_teacher_nobody_knows_is_told_of(dlrun):
    run = made("student", status="stopped")
    damaged(run, {}, "damaged")
    (run / rundir.CONFIG).write_text("{")
    made("teacher")
    outcome = dlrun("prune", "--keep", "last")
    said = "warning: outputs/student: .hydra/config.yaml can't be read either, so states that it learns from may be"
    assert f"{said} deleted\n" in outcome.err


def test_why_the_only_state_stays_is_told(dlrun):
    made("teacher", steps=(20,))
    student("student", status="stopped")
    outcome = dlrun("prune", "outputs/teacher", "--keep", "none", "--delete")
    said = "left alone: outputs/teacher: keeps 20 (outputs/student learns from it)\nnothing to delete\n"
    assert (outcome.code, outcome.out, outcome.err) == (0, "", said)


WORDS = (*QUICK, "epochs=3", "dropout=0.2", "checkpoint.metric=val/loss", "checkpoint.mode=max", "schedule=constant")


def test_a_run_goes_on_from_what_is_left(dlrun):
    run = dlrun(*WORDS).directory
    whole, states_of = digest(run), run / rundir.CHECKPOINTS
    best = json.loads((run / rundir.SUMMARY).read_text())["best/step"]
    assert manifest.sound(states_of) == [best, 60]
    assert best < 60
    assert dlrun("prune", "--keep", "best", "--delete").code == 0
    assert manifest.sound(states_of) == [best]
    assert dlrun("resume", str(run)).code == 0
    assert manifest.sound(states_of) == [best, 60]
    assert digest(run) == whole
    assert dlrun("prune", "--keep", "none", "--delete").code == 0
    assert manifest.sound(states_of) == []
    refused = dlrun("resume", str(run))
    assert (refused.code, refused.out) == (2, "")
    assert "its saved states are gone: start a new run" in refused.err


@pytest.mark.parametrize("delete", [False, True])
def test_json_tells_what_is_deleted_and_what_stays(dlrun, delete: bool):
    run = made("a")
    made("b", steps=(20,))
    flags = ("--keep", "best", "--format", "json", *(["--delete"] if delete else []))
    found = json.loads(dlrun("prune", *flags).out)
    (one,) = found["runs"]
    assert (found["deleted"], found["bytes"], one["bytes"]) == (
        delete,
        one["bytes"],
        sum(s["bytes"] for s in one["deletes"]),
    )
    assert one["directory"] == "outputs/a"
    assert [state["step"] for state in one["deletes"]] == [10, 30]
    assert one["keeps"] == [{"step": 20, "why": "best"}]
    assert left(run) == ([20] if delete else [10, 20, 30])
    nothing = {"deleted": False, "bytes": 0, "runs": []}
    Path("empty").mkdir()
    assert json.loads(dlrun("prune", "empty", "--keep", "best", "--format", "json").out) == nothing
