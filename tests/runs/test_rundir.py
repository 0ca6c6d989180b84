"""Run directories: nobody's but one run's, whole at any time, and readable with nothing but their files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dlrun.runs import atomic, manifest, rundir
from tests.conftest import QUICK

MANY = """
import multiprocessing, sys
from dlrun.config import composition, directories

def start(barrier, cfg, hydra):
    barrier.wait()
    directories.run(hydra, cfg, lambda directory: (directory / "mine").touch(exist_ok=False))

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    hydra = composition.loader([])
    cfg, problems = composition.compose(hydra, [])
    assert not problems
    str(cfg.hydra.run.dir)  # all of them hold the same name from here on
    barrier = fork.Barrier(100)
    all = [fork.Process(target=start, args=(barrier, cfg, hydra)) for _ in range(100)]
    for p in all: p.start()
    for p in all: p.join()
    sys.exit(any(p.exitcode for p in all))
"""


@pytest.mark.slow
def test_100_simultaneous_starts_make_100_directories(own_folder):
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(list(own_folder.glob("outputs/*/*/mine"))) == 100
    assert len(list(own_folder.glob("outputs/*/*/.hydra/config.yaml"))) == 100


def test_what_a_run_leaves(dlrun):
    run = dlrun(*QUICK, "epochs=2", "log.plot=true", "log.every=10")
    assert run.code == 0
    there = {p.name for p in run.directory.iterdir()}
    assert there == {
        ".hydra", ".lock", "run.json", "metrics.jsonl", "summary.json", "curves.png", "confusion.png", "data.json",
        "log.txt", "checkpoints",
    }  # fmt: skip
    assert {p.name for p in (run.directory / ".hydra").iterdir()} == {"config.yaml", "overrides.yaml", "hydra.yaml"}
    told = run.run
    assert told["status"] == "completed"
    assert told["format"] == 1
    assert told["config"]["model"] == {"name": "mlp", "widths": [16], "width": None, "depth": None}
    assert told["parameters"] == 64 * 16 + 2 * 16 + 16 * 10 + 10
    assert told["rows"] == {"train": 1294, "val": 144, "test": 359}
    assert told["threads"] >= 1
    assert told["device"].startswith("cpu")
    assert told["peak_memory"] > 2**20
    assert told["steps_per_second"] > 0
    assert told["error"] is None
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy", "dlrun"} <= told["versions"].keys()
    assert [r["split"] for r in run.rows].count("val") == 2
    assert [r["step"] for r in run.rows if r["split"] == "train"] == [10, 20, 30, 40]
    assert run.rows[-1]["split"] == "test"
    summary = run.summary
    assert summary["best/val/accuracy"] == max(r["accuracy"] for r in run.rows if r["split"] == "val")
    assert summary["test/accuracy"] == run.rows[-1]["accuracy"]
    assert summary["val/loss"] == [r["loss"] for r in run.rows if r["split"] == "val"][-1]
    assert len(manifest.sound(run.directory / "checkpoints")) in (1, 2)


def test_git_state_is_told(dlrun, own_folder):
    assert dlrun(*QUICK).run["git"] is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (own_folder / "code.py").write_text("x = 1\n")
    subprocess.run([*git, "add", "code.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    clean = dlrun(*QUICK).run["git"]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert clean == {"commit": commit, "dirty": False}
    (own_folder / "code.py").write_text("x = 2\n")
    assert dlrun(*QUICK).run["git"] == {"commit": commit, "dirty": True}


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.floats() | st.integers() | st.none(), max_size=3), max_size=5),
    st.data(),
)
def test_torn_metrics_lose_the_last_row_only(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("m")
    metrics = rundir.Metrics(folder)
    for row in rows:
        metrics.write({**row, "step": 10, "split": "val"})
    metrics.close()
    whole = rundir.read_metrics(folder)
    assert len(whole) == len(rows)
    file = folder / rundir.METRICS
    raw = file.read_bytes()
    cut = data.draw(st.integers(0, len(raw)))
    file.write_bytes(raw[:cut])
    assert rundir.read_metrics(folder) == whole[: raw[:cut].count(b"\n")]


def test_a_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    atomic.write_json(file, {"a": 1, "nan": float("nan")})
    assert json.loads(file.read_text()) == {"a": 1, "nan": None}
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        atomic.write_json(file, {"a": 2})
    assert json.loads(file.read_text())["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@pytest.fixture
def small_disk(own_folder):
    """A file system of 6 MiB."""
    disk = own_folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_disk_full_is_told_and_the_last_good_state_kept(small_disk: Path, shell):
    run = shell(
        "model.widths=[300]",
        "epochs=30",
        "checkpoint.keep=100",
        "checkpoint.every=1epoch",
        "log.plot=false",
        f"hydra.run.dir={small_disk}/run",
    )
    assert run.code == 1
    assert "no space left" in run.err
    assert "Traceback" not in run.err
    kept = manifest.sound(small_disk / "run" / "checkpoints")
    assert kept
    assert f"the last good one, of step {kept[-1]}, is kept" in run.err
    told = json.loads((small_disk / "run" / "run.json").read_text())
    assert told["status"] in ("failed", "running")
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert shell("resume", str(small_disk / "run")).code == 0


def test_results_for_each_class_and_what_the_data_became(dlrun):
    run = dlrun(*QUICK, "epochs=2", "log.plot=true")
    confusion = np.array(run.summary["confusion"])
    assert confusion.shape == (10, 10)
    assert confusion.sum() == run.run["rows"]["test"]
    assert confusion.trace() / confusion.sum() == pytest.approx(run.summary["test/accuracy"])
    each = run.summary["per_class"]
    assert list(each["support"].values()) == confusion.sum(1).tolist()
    assert np.mean(list(each["f1"].values())) == pytest.approx(run.summary["test/macro_f1"])
    data = json.loads((run.directory / rundir.DATA).read_text())
    assert (data["kind"], data["task"], data["shape"]) == ("image", "classification", [8, 8, 1])
    assert data["classes"] == list(map(str, range(10)))
    assert 4 < data["input_mean"][0] < 6
    assert 5 < data["input_std"][0] < 7
    with Image.open(run.directory / rundir.CONFUSION) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert min(pixels.shape) > 300
    assert pixels.std() > 10, "something is drawn"
    text = (run.directory / rundir.SUMMARY).read_text()
    assert max(map(len, text.splitlines())) < 120, "a row of the table a line"
    assert text.count("\n") < 100
