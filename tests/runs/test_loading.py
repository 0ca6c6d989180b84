"""Runs read from directories in any state; what differs between them; what is kept for a second look."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlrun.errors import InvalidConfig
from dlrun.runs import atomic, cache, loading, metric_names, rundir, runs
from dlrun.runs.loading import load
from dlrun.runs.lock import locked
from tests.conftest import QUICK

CONFIG = {
    "seed": 0, "epochs": 5, "checkpoint": {"metric": None, "mode": None}, "act": {"name": "relu"},
    "optim": {"name": "adamw", "lr": 0.01}, "log": {"every": 50, "sinks": []}, "model": {"name": "mlp", "widths": [16]},
}  # fmt: skip
SUMMARY = {
    "status": "completed", "metric": "val/accuracy", "mode": "max", "best/step": 20, "best/val/loss": 0.4,
    "best/val/accuracy": 0.75, "val/loss": 0.6, "val/accuracy": 0.625, "train/loss": 0.1, "test/accuracy": 0.7,
    "confusion": [[1, 0], [0, 1]], "per_class": {"f1": {"a": 1.0}},
}  # fmt: skip
ROWS = [
    {"step": 10, "split": "val", "time": 1.0, "loss": 0.9, "accuracy": 0.5},
    {"step": 15, "split": "train", "time": 1.5, "loss": 0.3},
    {"step": 20, "split": "val", "time": 2.0, "loss": 0.4, "accuracy": 0.75},
    {"step": 30, "split": "val", "time": 3.0, "loss": 0.6, "accuracy": 0.625},
    {"step": 30, "split": "train", "time": 3.0, "loss": 0.1},
    {"step": 20, "split": "test", "time": 3.0, "accuracy": 0.7},
]
DAMAGES = (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"status": 3}', b"[" * 100_000, b'{"status": "completed"')


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setattr(loading, "RECENT", -(10**18))  # young files are kept too


def made(name: str, *, status: str = "completed", rows=ROWS, summary=SUMMARY, **changes) -> Path:
    """A run directory as a run leaves it; ``changes`` are dotted keys of its configuration, __ for a dot."""
    folder = Path("outputs") / name
    folder.mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        *sections, last = key.split("__")
        section = config
        for s in sections:
            section = section.setdefault(s, {})
        section[last] = value
    run = {
        "format": 1,
        "status": status,
        "seed": config["seed"],
        "command": ["dlrun"],
        "config": config,
        "seconds": 5.0,
    }
    atomic.write_json(folder / rundir.RUN, {**run, "git": {"commit": "abc", "dirty": False}, "classes": ["a", "b"]})
    (folder / rundir.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    if status == "completed":
        atomic.write_json(folder / rundir.SUMMARY, summary)
    return folder


def names(found: runs.Runs) -> list[str]:
    return [run.directory.name for run in found]


def test_what_a_real_run_says(dlrun):
    outcome = dlrun(*QUICK, "epochs=2", "act=gelu")
    (run,) = load()
    assert run.directory == outcome.directory
    assert (run.status, run.seed, run.config["act.name"]) == ("completed", 0, "gelu")
    assert run.config["model.widths"] == [16]
    assert run.main == ("val/accuracy", "max")
    values = [row["accuracy"] for row in outcome.rows if row["split"] == "val"]
    for at, expected in (("best", max(values)), ("last", values[-1]), ("min", min(values)), (21, values[0])):
        assert run.metric("val/accuracy", at) == expected
    assert run.metric("test/accuracy") == outcome.summary["test/accuracy"]
    assert run.facts["steps_per_second"] == outcome.run["steps_per_second"]
    assert run.facts["versions.jax"] == outcome.run["versions"]["jax"]
    steps, seconds = run.time_to("val/accuracy", max(values)) or (0, -1)
    assert [(row["step"], row["time"]) for row in outcome.rows if row["split"] == "val" and row["step"] == steps] == [
        (steps, seconds)
    ]


def test_format_1_loads_for_ever():
    (run,) = load([Path(__file__).parents[1] / "goldens" / "runs"])
    assert (run.directory.name, run.status, run.seed, run.damage) == ("format1", "completed", 0, None)
    assert run.facts["command"] == "dlrun 'model.widths=[16]' epochs=2 log.plot=false log.every=20 seed=0"
    assert (run.facts["parameters"], run.facts["rows.train"], run.facts["end"]) == (
        1226,
        1294,
        "2026-11-23T05:22:40+0000",
    )
    assert len(run.config) == 59
    assert (run.config["optim.lr"], run.config["eval.every"], run.config["ema"]) == (0.001, "1epoch", None)
    assert run.main == ("val/accuracy", "max")
    assert run.metric("val/loss") == run.metric("val/loss", "last") == 2.3874151441786022
    assert run.metric("val/loss", "max") == run.metric("val/loss", 20) == 2.431142383151584
    assert run.metric("train/lr", 39) == 0.000582297274377197
    assert run.time_to("val/accuracy", 0.1) == (40, 0.004)


@pytest.mark.parametrize("status", ["completed", "stopped"])
def test_a_metric_at(status: str):
    made("a", status=status)
    (run,) = load()
    table = {
        ("val/accuracy", "best"): 0.75, ("val/loss", "best"): 0.4, ("train/loss", "best"): 0.3,
        ("val/accuracy", "last"): 0.625, ("train/loss", "last"): 0.1, ("train/loss",): 0.1, ("val/loss",): 0.4,
        ("val/loss", "max"): 0.9, ("val/loss", "min"): 0.4,
        ("val/loss", 10): 0.9, ("val/loss", 19): 0.9, ("val/loss", 30): 0.6, ("val/loss", 31): None,
        ("val/loss", 9): None, ("val/f1", "best"): None, ("val/f1", "min"): None, ("test/accuracy", "best"): 0.7,
        ("test/accuracy", "min"): 0.7,
    }  # fmt: skip
    assert {key: run.metric(*key) for key in table} == table  # type: ignore[arg-type]
    assert run.time_to("val/accuracy", 0.6) == (20, 2.0)
    assert run.time_to("val/loss", 0.9) == (10, 1.0)
    assert run.time_to("val/loss", 0.1) is None
    assert run.time_to("val/f1", 0.1) is None
    assert run.series("train/loss") == [(15, 1.5, 0.3), (30, 3.0, 0.1)]
    assert run.main == ("val/accuracy", "max")


def test_the_best_of_an_unfinished_run_goes_by_its_own_metric():
    made(
        "loss", status="stopped", checkpoint__metric="val/loss", rows=[*ROWS, {"step": 40, "split": "val", "loss": 0.1}]
    )
    made("least", status="diverged", checkpoint__metric="val/accuracy", checkpoint__mode="min")
    made(
        "regression",
        status="killed",
        rows=[{"step": 1, "split": "val", "loss": 2}, {"step": 2, "split": "val", "loss": 3}],
    )
    made("nothing", status="failed", rows=[])
    found = {run.directory.name: run for run in load()}
    assert found["loss"].metric("val/loss") == 0.1
    assert found["loss"].metric("val/accuracy") == 0.625  # at step 40: the latest by then
    assert found["least"].metric("val/loss") == 0.9
    assert found["least"].main == ("val/accuracy", "min")
    assert found["regression"].main == ("val/loss", "min")
    assert found["regression"].metric("val/loss") == 2
    assert found["nothing"].metric("val/loss") is None
    assert found["nothing"].metric("val/loss", 0) is None


def test_numbers_that_are_none():
    rows = [{"step": 1, "split": "val", "loss": None}, {"step": 2, "split": "val", "loss": "x", "accuracy": True}]
    rows += [{"split": ["val"], "loss": 1}, {"split": None, "loss": 1}, {"loss": 1}]
    rows += [{"step": 3, "split": "val", "loss": float("nan")}, {"step": "4", "split": "val", "loss": 10**400}]
    made("a", status="stopped", rows=rows)
    made("b", summary={**SUMMARY, "val/loss": None, "best/val/loss": "small"})
    first, second = load()
    assert [first.metric("val/loss", at) for at in ("best", "last", "min", "max", 1)] == [None] * 5
    assert [second.metric("val/loss", at) for at in ("best", "last")] == [None, None]


def test_a_summary_from_before_a_run_went_on_does_not_count():
    folder = made("a", status="stopped")
    atomic.write_json(folder / rundir.SUMMARY, {**SUMMARY, "best/val/accuracy": 0.1})
    assert load().metric("val/accuracy") == [0.75]


def test_a_killed_run_is_told_from_one_that_goes_on():
    made("a-killed", status="running")
    with locked(made("b-running", status="running")):
        assert [run.status for run in load()] == ["killed", "running"]
    assert [run.status for run in load()] == ["killed", "killed"]


def test_any_depth_in_order_and_each_once(tmp_path: Path):
    for name in ("2026/sweep/10", "2026/sweep/9", "2026/single", "deep/er/and/deeper"):
        made(name)
    made("2026/single/checkpoints/1/inner")
    made(".hidden")
    assert names(load()) == ["single", "9", "10", "deeper"]
    assert names(load(["outputs/2026/sweep", "outputs", Path("outputs/2026/sweep/10"), "./outputs/"])) == [
        "9", "10", "single", "deeper",
    ]  # fmt: skip
    assert load(["."])[0].path == "outputs/2026/single"
    assert load([str(tmp_path) + "/"])[0].path == f"{tmp_path}/outputs/2026/single"
    assert load([]).runs == []


def test_links_are_followed_once(tmp_path: Path):
    made("a")
    made("z/b")
    shutil.move("outputs/z", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", "outputs/0-elsewhere")
    os.symlink(tmp_path, "elsewhere/loop")
    os.symlink("a", "outputs/0-latest")
    os.symlink(".", "outputs/self")
    os.symlink("nowhere", "outputs/broken")
    os.symlink("circle", "outputs/circle")
    for _ in range(2):
        found = load()
        assert [run.path for run in found] == ["outputs/a", "outputs/0-elsewhere/b"]
        assert found.skipped == {}


def test_what_is_no_run_is_left_out_with_a_reason():
    made("sound")
    for number, damage in enumerate(DAMAGES):
        (made(f"damaged{number}") / rundir.RUN).write_bytes(damage)
    for name, version in (("newer", 2), ("odd", "x")):
        folder = made(name)
        rundir.update_run(folder, format=version)
    Path("outputs/empty").mkdir()
    Path("outputs/foreign/deep").mkdir(parents=True)
    Path("outputs/foreign/deep/run.json.txt").write_text("{}")
    (Path("outputs/folder") / rundir.RUN).mkdir(parents=True)
    Path("outputs/pipe").mkdir()
    os.mkfifo("outputs/pipe/run.json")
    for _ in range(2):
        found = load()
        assert names(found) == ["sound"]
        reasons = {Path(path).name: reason for path, reason in found.skipped.items()}
        assert reasons.pop("newer") == "format 2 is not known to this dlrun, which reads up to 1"
        assert reasons.pop("odd") == "format x is not known to this dlrun, which reads up to 1"
        assert reasons.pop("folder") == reasons.pop("pipe") == "run.json is not a regular file"
        assert len(reasons) == len(DAMAGES)
        assert set(reasons.values()) == {"run.json is not valid JSON", "run.json is not that of a run"}


@pytest.mark.parametrize("damage", [*DAMAGES[:5], None])
def test_a_run_without_a_sound_summary_is_known_from_its_rows(damage: bytes | None):
    file = made("a") / rundir.SUMMARY
    file.unlink() if damage is None else file.write_bytes(damage)
    os.mkfifo(made("b", status="stopped") / "summary.json")
    (Path("outputs/b") / rundir.METRICS).unlink()
    os.mkfifo("outputs/b/metrics.jsonl")
    a, b = load()
    assert a.metric("val/accuracy") == 0.75
    assert a.damage == ("no summary.json" if damage is None else "summary.json is damaged")
    assert b.metric("val/accuracy") is None


def test_torn_and_broken_rows_are_left_out():
    folder = made("a", status="stopped")
    text = (folder / rundir.METRICS).read_text()
    (folder / rundir.METRICS).write_text(
        "[1]\n" + "[" * 100_000 + "\n\xff\n" + text + '{"step": 40, "split": "val", "loss":'
    )
    assert load().metric("val/loss", "last") == [0.6]


@pytest.mark.parametrize(("rows", "said"), [
    ('{"step": 10, "split": "val", "loss": 0.5}\nx\n{"step": 11}\n', "2 of 3 rows of metrics.jsonl are damaged"),
    (None, "metrics.jsonl is not a regular file: its rows are not read"),
])  # fmt: skip
def test_rows_that_can_not_be_read_are_said(rows: str | None, said: str, dlrun):
    file = made("a", status="stopped") / rundir.METRICS
    made("b")
    if rows is None:
        file.unlink()
        os.mkfifo(file)
    else:
        file.write_text(rows)
    for _ in range(2):
        assert f"outputs/a: {said}" in dlrun("compare").err
        assert f"notice: outputs/a: {said}" in dlrun("ls").err
        assert f"notice: outputs/a: {said}" in dlrun("diff", "outputs/a", "outputs/b").err
        assert said in " ".join(dlrun("show-run", "outputs/a").out.split())
    assert dlrun("ls", "outputs/b").err == ""


def test_a_run_that_lost_its_record_is_not_forgotten(dlrun):
    (made("a") / rundir.RUN).unlink()
    assert dlrun("ls").err.startswith("skipped: outputs/a: no run.json, though there is a metrics.jsonl\n")


def test_an_older_format_has_its_configuration_from_hydra():
    folder = made("old")
    run = atomic.read_json(folder / rundir.RUN) or {}
    del run["config"], run["format"]
    atomic.write_json(folder / rundir.RUN, run)
    assert load()[0].config == {}
    (folder / ".hydra").mkdir()
    (folder / rundir.CONFIG).write_text("seed: 7\nact: {name: gelu}\nmodel:\n  widths: [8]\nday: 2026-01-01\n")
    rundir.update_run(folder, seconds=6)
    assert load()[0].config == {}, "a date is no value"
    (folder / rundir.CONFIG).write_text("seed: 7\nact: {name: gelu}\nmodel:\n  widths: [8]\n")
    rundir.update_run(folder, seconds=71)
    assert load()[0].config == {"seed": 7, "act.name": "gelu", "model.widths": [8]}


def test_folders_that_may_not_be_read():
    made("a")
    made("b").chmod(0)
    (made("c") / rundir.RUN).chmod(0)
    (made("d") / rundir.SUMMARY).chmod(0)
    root = os.geteuid() == 0  # who may read everything
    Path.cwd().chmod(0o755)
    try:
        if root:
            os.seteuid(65534)
        found = load()
        assert found.metric("val/loss") == [0.4, 0.4]
    finally:
        if root:
            os.seteuid(0)
        Path("outputs/b").chmod(0o755)
    assert names(found) == ["a", "d"]
    assert [run.damage for run in found] == [None, "summary.json is damaged"]
    assert found.skipped == {"outputs/b": "permission denied", "outputs/c": "run.json: permission denied"}


def test_an_error_of_the_system_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    made("a")
    made("b/c")
    real = os.scandir

    def scandir(path):
        if path == "outputs/b":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = load()
    assert (names(found), found.skipped) == (["a"], {"outputs/b": "permission denied"})


def test_runs_deleted_while_they_are_read(monkeypatch: pytest.MonkeyPatch):
    for i in range(4):
        made(str(i), status="stopped")
    real = loading.read

    def read(path: str):
        shutil.rmtree("outputs/1", ignore_errors=True)
        return real(path)

    monkeypatch.setattr(loading, "read", read)
    found = load()
    assert names(found) == ["0", "2", "3"]
    assert found.skipped == {"outputs/1": "deleted while it was read"}
    shutil.rmtree("outputs/2")
    assert found.metric("val/accuracy") == [0.75, None, 0.75]


def test_random_damage_stops_nothing():
    random.seed(0)
    made("sound")
    for i in range(120):
        folder = made(f"broken{i}", status=random.choice(["completed", "stopped", "running"]))
        for file in folder.iterdir():
            data = bytearray(file.read_bytes())
            for _ in range(random.randrange(4)):
                data[random.randrange(len(data))] = random.randrange(256)
            file.write_bytes(bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.3 else data))
    seen = []
    for _ in range(2):
        found = load()
        assert len(found) + len(found.skipped) == 121
        assert len(found.skipped) > 5
        found.groups()
        found.where("seed=0 and not act=gelu")
        seen.append([found.metric(m, at) for m in ("val/loss", "val/accuracy") for at in ("best", "last", "min", 20)])
        assert seen[-1][0][names(found).index("sound")] == 0.4
        assert found.records()
    assert seen[0] == seen[1]


def test_no_such_folder():
    Path("file").touch()
    with pytest.raises(InvalidConfig) as error:
        load(["nowhere", "file", "."])
    assert error.value.problems == ["nowhere: no such folder", "file: not a folder"]


# What differs


def test_differing_keys_and_groups():
    for act in ("relu", "gelu"):
        for seed in range(3):
            made(
                f"{act}{seed}",
                act__name=act,
                seed=seed,
                log__every=seed + 1,
                compile_cache=act,
                eval={"batch_size": seed},
            )
    found = load()
    assert found.differing == ["seed", "act.name", "log.every", "compile_cache", "eval.batch_size"]
    assert found.grouping == ["act.name"]
    assert {key: [run.seed for run in group] for key, group in found.groups().items()} == {
        ("gelu",): [0, 1, 2], ("relu",): [0, 1, 2],
    }  # fmt: skip
    assert set(found.groups(["seed", "act"])) == {(s, a) for s in range(3) for a in ("relu", "gelu")}
    assert set(found.groups(["model.widths"])) == {((16,),)}
    assert found[:1].differing == []
    assert list(found[:0].groups()) == []


def test_what_follows_from_a_choice_does_not_differ():
    made("a")
    made("b", model={"name": "resnet", "depth": 20})
    made("c", model={"name": "cnn", "depth": None, "widths": [8]})
    assert load().differing == ["model.name"]
    made("d", model={"name": "resnet", "depth": 8})
    assert load().differing == ["model.name", "model.depth"]


def test_a_key_that_later_versions_have_does_not_differ():
    made("a")
    made("b", new=True, optim={"name": "adamw", "lr": 0.01, "nesterov": False})
    made("c", new=True)
    assert load().differing == []
    made("d", new=False)
    assert load().differing == ["new"]


def test_direction():
    assert {metric_names.better(f"val/{m}") for m in ("loss", "rmse", "mae", "perplexity", "bits_per_character")} == {
        "min"
    }
    assert {metric_names.better(f"test/{m}") for m in ("accuracy", "top5", "macro_f1", "r2")} == {"max"}
    made("a", summary={**SUMMARY, "metric": "val/score", "mode": "min", "val/score": 1.0, "best/val/score": 0.5})
    made("b", summary={**SUMMARY, "metric": "val/score", "mode": "min", "val/score": 1.0, "best/val/score": 0.5})
    made("c")
    found = load()
    assert found.main() == ("val/score", "min")
    assert found.direction("val/score") == "min"
    assert found.direction("val/accuracy") == "max"
    assert found.direction("val/loss") == "min"
    assert load([]).main() is None


def test_columns_records_and_conditions():
    made("a")
    made("b", act__name="gelu", optim__lr=0.1)
    made("c", status="failed")
    found = load()
    assert [found.column(n) for n in ("act", "optim.lr", "accuracy", "status", "git.commit")] == [
        "act.name", "optim.lr", "val/accuracy", "status", "git.commit",
    ]  # fmt: skip
    with pytest.raises(InvalidConfig, match=r"optim\.lrr: no such column \(did you mean 'optim\.lr'\?\)"):
        found.column("optim.lrr")
    assert found.records(["directory", "act", "val/loss", "seconds"])[1] == {
        "directory": "outputs/b", "act": "gelu", "val/loss": 0.4, "seconds": 5.0,
    }  # fmt: skip
    assert {"directory", "status", "act.name", "optim.lr", "val/accuracy"} <= set(found.records()[0])
    assert names(found.where("act=relu and status=completed")) == ["a"]
    assert names(found.where("optim.lr>0.01 or not status=completed")) == ["b", "c"]
    assert names(found.where("accuracy>=0.75 and test/accuracy=0.7")) == ["a", "b", "c"]
    with pytest.raises(InvalidConfig, match="where: ac: no such column"):
        found.where("ac=relu")


def test_a_data_frame(monkeypatch: pytest.MonkeyPatch):
    made("a")
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=tuple))  # none of our dependencies
    assert load().to_pandas(["act", "accuracy"]) == ({"act": "relu", "accuracy": 0.75},)
    monkeypatch.setitem(sys.modules, "pandas", None)  # as where it is not installed
    with pytest.raises(ImportError, match="to_pandas needs pandas, which dlrun does not: pip install pandas"):
        load().to_pandas()


# The cache


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories of which run.json or metrics.jsonl were parsed."""
    seen: list[str] = []
    read, rows = loading.read, rundir.read_rows
    monkeypatch.setattr(loading, "read", lambda path: seen.append(Path(path).name) or read(path))
    monkeypatch.setattr(rundir, "read_rows", lambda folder: seen.append(f"rows {folder.name}") or rows(folder))
    return seen


def everything(found: runs.Runs) -> list:
    of = [(run.path, run.status, run.damage, run.facts, run.config, run.summary) for run in found]
    return [of, found.metric("val/loss", "max"), found.metric("train/loss", "best"), found.time_to("val/loss", 0.5)]


def test_a_second_look_parses_nothing_and_says_the_same(reads: list[str]):
    made("a")
    made("b", status="stopped")
    first = everything(load())
    assert reads == ["a", "b", "rows a", "rows b", "rows a", "rows a", "rows b"], (
        "the best of b comes with its extremes"
    )
    reads.clear()
    assert everything(load()) == first
    assert everything(load([Path("outputs").resolve()]))[1:] == first[1:]
    assert reads == []


def test_what_changed_is_read_again(reads: list[str]):
    a, b = made("a"), made("b", status="running")
    load().metric("val/loss", "max")
    reads.clear()
    with (b / rundir.METRICS).open("a") as file:
        file.write('{"step": 40, "split": "val", "loss": 9}\n')
    assert load().metric("val/loss", "max") == [0.9, 9]
    assert reads == ["rows b"]
    atomic.write_json(a / rundir.SUMMARY, {**SUMMARY, "best/val/loss": 0.123})
    reads.clear()
    assert load().metric("val/loss") == [0.123, 0.4]
    assert reads == ["a"]
    shutil.rmtree(a)
    assert names(load()) == ["b"]
    with sqlite3.connect(cache.file()) as database:
        assert [Path(os.fsdecode(path)).name for (path,) in database.execute("SELECT path FROM runs")] == ["b"]
    database.close()


def test_runs_elsewhere_stay_known(reads: list[str]):
    made("a/1")
    made("ab/1")
    load(["outputs/a"])
    load(["outputs/ab"])
    load(["outputs/a"])
    assert reads == ["1", "1"]


def test_young_files_are_not_kept(reads: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "RECENT", 10**9)
    folder = made("a")
    load().metric("val/loss", "max")
    load()
    assert reads == ["a", "rows a", "a"]
    for file in folder.iterdir():
        os.utime(file, ns=(0, time.time_ns() - 2 * 10**9))
    load()
    load()
    assert reads == ["a", "rows a", "a", "a"]


def test_no_damage_of_the_cache_changes_an_answer(reads: list[str]):
    for i in range(20):
        made(str(i), status=("completed", "stopped")[i % 2], seed=i)
    first = everything(load())
    sound = cache.file().read_bytes()
    random.seed(0)
    for kind in range(40):
        data = bytearray(sound)
        if kind % 4 == 0:
            del data[random.randrange(len(data)) :]
        elif kind % 4 == 1:
            data[: random.randrange(200)] = b"not a database"
        else:
            for _ in range(10 ** (kind % 4 - 1)):
                data[random.randrange(len(data))] = random.randrange(256)
        cache.file().write_bytes(data)
        assert everything(load()) == first
    load()
    reads.clear()
    load()
    assert reads == [], "it has recovered"


@pytest.mark.parametrize("table", ["runs (a, b)", "other (a)", "runs (path, stamp, record, rows_stamp, answers)"])
def test_a_cache_of_another_shape(table: str, reads: list[str]):
    cache.file().parent.mkdir(parents=True)
    database = sqlite3.connect(cache.file())
    database.execute(f"CREATE TABLE {table}")
    if table.count(",") == 4:
        database.execute("INSERT INTO runs VALUES (?, 1, NULL, x'00', 5)", (os.fsencode(Path("outputs/a").resolve()),))
    database.commit()
    database.close()
    made("a")
    for _ in range(3):
        assert load().metric("val/loss", "max") == [0.9]
    assert len(reads) <= 5


def test_no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch):
    made("a")
    Path("file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("file").resolve()))
    assert load().metric("val/loss", "max") == [0.9]
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("place").resolve()))
    cache.file().mkdir(parents=True)
    assert load().metric("val/loss", "max") == [0.9]


def test_a_cache_that_another_process_writes(reads: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "WAIT", 0.01)
    made("a")
    load()
    other = sqlite3.connect(cache.file(), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert load().metric("val/loss", "max") == [0.9]
    other.execute("ROLLBACK")
    other.close()
    reads.clear()
    load()
    assert reads == []


def test_many_look_at_once():
    for i in range(30):
        made(str(i), seed=i)
    expected = everything(load())
    cache.file().unlink()
    found: list = []
    threads = [threading.Thread(target=lambda: found.append(everything(load()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6
    assert len(cache.read([str(Path("outputs").resolve())])) == 30


def test_names_that_are_not_text(reads: list[str]):
    os.rename(made("a"), b"outputs/\xff\xfe")
    for _ in range(2):
        assert load().metric("val/loss", "max") == [0.9]
    assert len(reads) == 2


def test_a_run_whose_files_come_back_while_it_is_read(monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    made("a")
    with monkeypatch.context() as patch:
        patch.setattr(loading, "stamp", lambda file: "-")
        assert load().metric("val/loss", "max") == [0.9]
    load()
    assert reads == ["a", "rows a", "a"], "what is not of known files is not kept"


def test_nothing_is_written_beside_the_cache():
    made("a", status="running")
    made("b")
    before = {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")}
    everything(load())
    assert {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")} == before


def test_only_light_modules_are_imported():
    heavy = "{'jax', 'hydra', 'omegaconf', 'numpy', 'scipy', 'pandas', 'matplotlib', 'pydantic', 'yaml'}"
    code = f"import sys, dlrun.runs.loading; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_thousand_runs_take_a_moment():
    first = made("0")
    for i in range(1, 1000):
        shutil.copytree(first, Path("outputs") / str(i))
    for limit in (3, 1):  # 0.2 and 0.06 s on an idle core
        began = time.process_time()
        assert len(load().groups()) == 1
        assert time.process_time() - began < limit
