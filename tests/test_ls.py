"""``dlrun ls``: newest first, quick, and unmoved by damage."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlrun import rundir

ROWS = [
    {"step": 1, "split": "val", "loss": 0.9, "accuracy": 0.5},
    {"step": 2, "split": "val", "loss": 0.4, "accuracy": 0.75},
    {"step": 3, "split": "val", "loss": 0.6, "accuracy": 0.625},
    {"step": 3, "split": "train", "loss": 0.1, "accuracy": 1.0},
]


def made(name: str, *, status: str = "completed", start: str = "2026-01-02T10:00:00+0000", **fields) -> Path:
    """A run directory as a run leaves it."""
    folder = Path("outputs") / name
    folder.mkdir(parents=True)
    rundir.write_json(
        folder / rundir.RUN, {"status": status, "start": start, "command": ["dlrun", "act=gelu"], **fields}
    )
    (folder / rundir.METRICS).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    if status == "completed":
        rundir.write_json(folder / rundir.SUMMARY, {"metric": "val/accuracy", "best/val/accuracy": 0.875})
    return folder


def listed(dlrun, *words: str) -> list[list[str]]:
    outcome = dlrun("ls", *words)
    assert outcome.code == 0
    return [line.split("  ") for line in outcome.out.splitlines()]


def cells(line: list[str]) -> list[str]:
    return [cell.strip() for cell in line if cell.strip()]


def test_a_line_tells_start_status_metric_directory_and_choices(dlrun):
    folder = made("a")
    here = datetime(2026, 1, 2, 10, tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    assert cells(listed(dlrun)[0]) == [here, "completed", "val/accuracy 0.8750", str(folder), "act=gelu"]


def test_newest_first_across_time_zones_and_folders(dlrun):
    made("x/old", start="2026-01-02T10:00:00+0000")
    made("y/new", start="2026-01-02T10:30:00+0000")
    made("y/newest", start="2026-01-02T09:31:00-0100")
    made("z/7/oldest", start="2026-01-02T12:00:00+0400")
    order = ["newest", "new", "old", "oldest"]
    assert [Path(cells(line)[3]).name for line in listed(dlrun)] == order
    assert [Path(cells(line)[3]).name for line in listed(dlrun, "outputs/y", "outputs/x", "outputs/y/new")] == order[:3]


@pytest.mark.parametrize("status", ["failed", "stopped", "diverged"])
def test_a_run_without_summary_shows_its_best_row(status: str, dlrun):
    made("a", status=status)
    assert cells(listed(dlrun)[0])[1:3] == [status, "val/accuracy 0.7500"]


@pytest.mark.parametrize(
    ("metric", "mode", "shown"), [("val/loss", None, "val/loss 0.4000"), ("val/accuracy", "min", "val/accuracy 0.5000")]
)
def test_a_run_without_summary_goes_by_its_own_metric(metric: str, mode: str | None, shown: str, dlrun):
    made("a", status="stopped", config={"checkpoint": {"metric": metric, "mode": mode}})
    assert cells(listed(dlrun)[0])[2] == shown


def test_a_killed_run_is_told_from_one_that_goes_on(dlrun):
    killed, running = made("killed", status="running"), made("running", status="running")
    with rundir.locked(running):
        found = {Path(cells(line)[3]).name: cells(line)[1] for line in listed(dlrun)}
        assert rundir.in_use(running)
    assert found == {"killed": "killed", "running": "running"}
    assert not (killed / rundir.LOCK).exists()
    assert not rundir.in_use(running)


def test_a_look_changes_nothing(dlrun):
    made("a", status="running")
    made("b")
    with rundir.locked(made("c", status="running")):
        pass
    before = {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")}
    listed(dlrun)
    assert {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")} == before


def test_a_look_does_not_keep_others_from_looking(dlrun):
    folder = made("a", status="running")
    (folder / rundir.LOCK).touch()
    other = (
        "import fcntl, os, sys; h = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(h, fcntl.LOCK_SH);"
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", other, str(folder / rundir.LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert not rundir.in_use(folder)
        process.communicate()


def test_no_runs(dlrun):
    outcome = dlrun("ls")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no runs below outputs\n")
    outcome = dlrun("ls", "nowhere", "neither")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: ls: nowhere: no such folder\nerror: ls: neither: no such folder\n"


def test_values_of_wrong_types(dlrun):
    made("a", command="dlrun", config=[])
    made("b", start=7, status=["running"], command=[1, {"x": 2}, "a\nb"])
    made("c", start="yesterday", status="stopped", config={"checkpoint": {"metric": 3, "mode": {}}})
    rundir.write_json(Path("outputs/a/summary.json"), {"metric": "val/loss", "best/val/loss": "small"})
    Path("outputs/c/metrics.jsonl").write_text(
        '[1]\n{"split": "val", "accuracy": null}\n{"split": "val", "accuracy": "x"}\n{"torn'
    )
    found = {Path(cells(line)[3]).name: cells(line) for line in listed(dlrun)}
    assert [found[k][1:3] for k in "abc"] == [["completed", "-"], ["damaged", "val/accuracy 0.7500"], ["stopped", "-"]]


def test_damaged_files_don_t_stop_the_list(dlrun):
    random.seed(0)
    sound = made("sound")
    for i in range(60):
        folder = made(f"broken{i}", status=random.choice(["completed", "stopped", "running"]))
        for file in folder.iterdir():
            data = bytearray(file.read_bytes())
            for _ in range(random.randrange(4)):
                data[random.randrange(len(data))] = random.randrange(256)
            file.write_bytes(bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.3 else data))
    Path("outputs/empty").mkdir()
    (Path("outputs/folder") / rundir.RUN).mkdir(parents=True)
    lines = listed(dlrun)
    assert len(lines) == 61
    assert sum("damaged" in line for lines_ in lines for line in lines_) >= 5
    assert any(str(sound) in " ".join(line) for line in lines)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read(dlrun):
    made("a")
    made("b").chmod(0)
    assert len(listed(dlrun)) == 1
    Path("outputs/b").chmod(0o755)


def test_a_thousand_runs_take_a_moment(dlrun):
    first = made(
        "0", status="stopped", config={"checkpoint": {"metric": None, "mode": None}, "model": {"widths": [128] * 100}}
    )
    for i in range(1, 1000):
        shutil.copytree(first, Path("outputs") / str(i))
    began = time.process_time()
    assert len(listed(dlrun)) == 1000
    assert time.process_time() - began < 2  # 0.2 s on an idle core
