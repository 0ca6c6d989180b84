"""``dlrun ls``: newest first, quick, and unmoved by damage."""

import fcntl
import io
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlrun.cli import ls, watch
from dlrun.runs import atomic, live, rundir
from dlrun.runs.lock import in_use, locked

ROWS = [
    {"step": 1, "split": "val", "loss": 0.9, "accuracy": 0.5},
    {"step": 2, "split": "val", "loss": 0.4, "accuracy": 0.75},
    {"step": 3, "split": "val", "loss": 0.6, "accuracy": 0.625},
    {"step": 3, "split": "train", "loss": 0.1, "accuracy": 1.0},
]
SUMMARY = {"metric": "val/accuracy", "mode": "max", "step": 3, "val/accuracy": 0.625, "best/val/accuracy": 0.875}


def made(name: str, *, status: str = "completed", start: str = "2026-01-02T10:00:00+0000", **fields) -> Path:
    """A run directory as a run leaves it."""
    folder = Path("outputs") / name
    folder.mkdir(parents=True)
    atomic.write_json(
        folder / rundir.RUN, {"status": status, "start": start, "command": ["dlrun", "act=gelu"], **fields}
    )
    (folder / rundir.METRICS).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    if status == "completed":
        atomic.write_json(folder / rundir.SUMMARY, SUMMARY)
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


@pytest.mark.parametrize("columns", [30, 70, 75, 200])
def test_a_terminal_of_any_width_shows_whole_directories(columns: int, dlrun, monkeypatch):
    folders = [str(made(f"a-folder-with-a-long-name/{n}")) for n in (8, 19)]
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert {cells(line)[3] for line in listed(dlrun)} == set(folders)


def test_json_has_a_record_a_run(dlrun):
    made("a")
    made("b", status="stopped", start="2026-01-02T11:00:00+0000")
    made("c", start="2026-01-02T09:00:00+0000")
    Path("outputs/c/run.json").write_text("{")
    found = json.loads(dlrun("ls", "--format", "json").out)
    damaged, stopped, first = found
    assert [Path(run["directory"]).name for run in found] == ["c", "b", "a"], "newest first"
    assert datetime.fromisoformat(first.pop("start")) == datetime(2026, 1, 2, 10, tzinfo=UTC)
    assert first == {
        "directory": "outputs/a", "status": "completed", "damage": None, "metric": "val/accuracy", "best": 0.875,
        "command": "dlrun act=gelu",
    }  # fmt: skip
    assert (stopped["status"], stopped["best"]) == ("stopped", 0.75)
    assert (damaged["status"], damaged["damage"]) == ("damaged", "run.json is not valid JSON")
    assert len(json.loads(dlrun("ls", "--format", "json", "--limit", "1").out)) == 1
    assert json.loads(dlrun("ls", "--format", "json", "--where", "status=failed").out) == []
    assert dlrun("ls", "--format", "json", "--watch").code == 2


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
    with locked(running):
        found = {Path(cells(line)[3]).name: cells(line)[1] for line in listed(dlrun)}
        assert in_use(running)
    assert found == {"killed": "killed", "running": "running"}
    assert not (killed / rundir.LOCK).exists()
    assert not in_use(running)


def test_a_look_changes_nothing(dlrun):
    made("a", status="running")
    made("b")
    with locked(made("c", status="running")):
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
        assert not in_use(folder)
        process.communicate()


def test_no_runs(dlrun):
    outcome = dlrun("ls")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no runs below outputs\n")
    outcome = dlrun("ls", "nowhere", "neither")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: nowhere: no such folder\nerror: neither: no such folder\n"


def test_values_of_wrong_types(dlrun):
    made("a", command="dlrun", config=[])
    made("b", start=7, status=["running"], command=[1, {"x": 2}, "a\nb"])
    made("c", start="yesterday", status="stopped", config={"checkpoint": {"metric": 3, "mode": {}}})
    atomic.write_json(Path("outputs/a/summary.json"), {"metric": "val/loss", "best/val/loss": "small"})
    Path("outputs/c/metrics.jsonl").write_text(
        '[1]\n{"split": "val", "accuracy": null}\n{"split": "val", "accuracy": "x"}\n{"torn'
    )
    found = {Path(cells(line)[3]).name: cells(line) for line in listed(dlrun)}
    assert [found[k][1:3] for k in "abc"] == [["completed", "-"], ["damaged", "-"], ["stopped", "-"]]
    assert found["b"][4] == "run.json is not that of a run"


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
    outcome = dlrun("ls")
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 1)
    assert outcome.err == "skipped: outputs/b: permission denied\n"
    Path("outputs/b").chmod(0o755)


def test_some_of_them(dlrun):
    for i in range(5):
        made(str(i), status="stopped" if i % 2 else "completed", start=f"2026-01-02T10:0{i}:00+0000")
    (Path("outputs") / "2" / rundir.RUN).write_text("{")
    assert [Path(cells(line)[3]).name for line in listed(dlrun, "--where", "status=completed")] == ["4", "0"]
    assert [Path(cells(line)[3]).name for line in listed(dlrun, "--limit", "2")] == ["2", "4"], "a damaged one is young"
    assert [Path(cells(line)[3]).name for line in listed(dlrun, "--limit=9", "outputs/3")] == ["3"]
    outcome = dlrun("ls", "--where", "status=failed")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines() == [
        "skipped: outputs/2: run.json is not valid JSON",
        "no runs below outputs for which status=failed holds",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "0"], "--limit: 0: not allowed; allowed: a whole number >= 1"),
        (["--limit", "1e3"], "--limit: 1e3: not allowed; allowed: a whole number >= 1"),
        (["--watch=0"], "--watch: 0: not allowed; allowed: 0.1 to 86400 seconds"),
        (["--watch=soon"], "--watch: soon: not allowed; allowed: 0.1 to 86400 seconds"),
        (["--watch", "nowhere"], "nowhere: no such folder"),
        (["--watch", "--where", "stauts=failed"], "where: stauts: no such column (did you mean 'status'?)"),
        (["--wach"], "--wach: unknown flag (did you mean '--watch'?)"),
    ],
)
def test_wrong_words(words: list[str], said: str, dlrun):
    made("a")
    outcome = dlrun("ls", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {said}")
    assert outcome.err.count("\n") == 1


def test_a_thousand_runs_take_a_moment(dlrun):
    first = made(
        "0", status="stopped", config={"checkpoint": {"metric": None, "mode": None}, "model": {"widths": [128] * 100}}
    )
    for i in range(1, 1000):
        shutil.copytree(first, Path("outputs") / str(i))
    began = time.process_time()
    assert len(listed(dlrun)) == 1000
    assert time.process_time() - began < 2  # 0.2 s on an idle core


# Watching


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list:
    """What happens between the looks of a watch, in order; then Ctrl-C."""
    left: list = []

    def sleep(seconds: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(watch.time, "sleep", sleep)
    return left


def add(folder: Path, *rows: dict, torn: str = "") -> None:
    with (folder / rundir.METRICS).open("a") as f:
        f.write("".join(json.dumps(row) + "\n" for row in rows) + torn)


def val(step: int, accuracy: float) -> dict:
    return {"step": step, "epoch": step / 10, "split": "val", "time": step / 20, "accuracy": accuracy, "loss": 0.1}


PLAN = {"config": {"epochs": 8, "batch_size": 64}, "rows": {"train": 650}}


def test_a_line_for_all_that_is_new(dlrun, moments: list):
    run = made("old", status="stopped")
    new = Path("outputs/new")
    with ExitStack() as working:

        def starts() -> None:
            made("new", status="running", start="2026-01-02T11:00:00+0000", **PLAN)
            (new / rundir.METRICS).write_text("")
            working.enter_context(locked(new))

        moments += [
            lambda: None,
            starts,
            lambda: add(new, {"step": 5, "split": "train", "loss": 1.0}, torn='{"step": 10, "epoch": 1.0, "split": "v'),
            lambda: add(new, torn='al", "time": 0.5, "accuracy": 0.75}\n'),
            lambda: add(new, val(20, 0.5), val(30, 0.625)),
            working.close,  # the process is gone
            lambda: shutil.rmtree(run),
        ]
        outcome = dlrun("ls", "--watch")
    assert outcome.code == 0
    assert [line.partition("  ")[2] for line in outcome.out.splitlines()] == [
        "outputs/old  stopped  step 3  val/accuracy 0.6250  best 0.7500",
        "outputs/new  running",
        "outputs/new  running  step 10/80  epoch 1/8  val/accuracy 0.7500  best 0.7500  20 steps/s  0:04 left",
        "outputs/new  running  step 30/80  epoch 3/8  val/accuracy 0.6250  best 0.7500  20 steps/s  0:02 left",
        "outputs/new  killed  step 30/80  epoch 3/8  val/accuracy 0.6250  best 0.7500  20 steps/s",
    ]


def test_the_end_of_a_run_is_told(dlrun, moments: list):
    folder = made("a", status="running", **PLAN)

    def ends() -> None:
        atomic.write_json(folder / rundir.SUMMARY, {**SUMMARY, "step": 80, "epoch": 8.0})
        rundir.update_run(folder, status="completed", steps_per_second=1234.5)

    moments.append(ends)
    with locked(folder):
        outcome = dlrun("ls", "--watch", "0.5", "outputs")
    assert outcome.out.splitlines()[-1].partition("  ")[2] == (
        "outputs/a  completed  step 80/80  epoch 8/8  val/accuracy 0.6250  best 0.8750  1,234 steps/s"
    )


def test_a_watch_begins_before_the_first_run_and_goes_on_after_the_last(dlrun, moments: list):
    moments += [lambda: made("a"), lambda: shutil.rmtree("outputs"), lambda: made("b"), lambda: made("c")]
    outcome = dlrun("ls", "--watch", "--where", "status=completed", "--limit", "1")
    assert [line.split()[1] for line in outcome.out.splitlines()] == ["outputs/a", "outputs/b"]
    assert (outcome.code, outcome.err) == (0, "")


def test_rows_are_followed_through_a_resumed_run():
    folder = made("a", status="stopped")
    rows = live.Rows(folder)
    assert rows.read().furthest("step") == 3
    add(folder, val(10, 0.9))
    assert (rows.read().furthest("step"), rows.most["val/accuracy"]) == (10, 0.9)
    rundir.keep_rows(folder, lambda row: row["step"] <= 2)  # as a run does that goes on from step 2
    add(folder, val(3, 0.8), torn="{")
    assert (rows.read().furthest("step"), rows.most["val/accuracy"], rows.last("val/loss")) == (3, 0.8, 0.1)
    (folder / rundir.METRICS).unlink()
    assert rows.read().furthest("step") == 3
    os.mkfifo(folder / rundir.METRICS)
    assert rows.read().furthest("step") == 3


def test_a_look_reads_what_changed(monkeypatch: pytest.MonkeyPatch):
    folders = [made(str(i), status="stopped") for i in range(3)]
    watched = watch.Watched(ls.parser().read(["outputs"]))
    runs = watched.look()
    monkeypatch.setattr(watch, "look", lambda args: pytest.fail("nothing changed"))
    assert watched.look() == runs
    add(folders[0], val(4, 0.9))
    assert watched.look() == runs, "rows are no business of a look"
    with monkeypatch.context() as patch:
        patch.setattr(live.Rows, "take", lambda rows, row: taken.append(row["step"]))
        taken: list[int] = []
        for more in ((), (val(5, 0.9), val(6, 0.9)), ()):
            add(folders[0], *more)
            for run in runs:
                watched.live_state(run)
            taken.append(0)
    assert taken == [1, 2, 3, 3, 4, *[1, 2, 3, 3] * 2, 0, 5, 6, 0, 0]


def shown(width: int, height: int = 20, hint: str = "") -> list[str]:
    from rich.console import Console

    watched = watch.Watched(ls.parser().read([]))
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    return watch.picture(watched, console, hint).plain.split("\n")


def test_the_table_has_what_the_screen_has_room_for():
    for i in range(30):
        status = "completed" if i % 3 else "stopped"
        made(f"2026-01-02/{i}", status=status, start=f"2026-01-02T10:{i:02}:00+0000", steps_per_second=99, **PLAN)
    with locked(made("2026-01-01/running", status="running", start="2026-01-01T10:00:00+0000", **PLAN)):
        add(Path("outputs/2026-01-01/running"), val(60, 0.9))
        lines = shown(140, 12, "Ctrl-C ends")
        assert lines[0].split() == ["status", "outputs/", "step", "epoch", "val/accuracy", "best", "steps/s", "left"]
        assert lines[1].split() == [
            "running", "2026-01-01/running", "60/80", "6/8", "0.9000", "0.9000", "20", "0:01", "act=gelu"
        ]  # fmt: skip
        assert [line.split()[1] for line in lines[2:10]] == [f"2026-01-02/{i}" for i in range(29, 21, -1)]
        assert lines[10:] == ["9 of 31 runs  20 completed, 10 stopped, 1 running  Ctrl-C ends"]
        for width in range(20, 160):
            assert max(map(len, shown(width))) <= width
        narrow = shown(50)
        assert narrow[0].split() == ["status", "outputs/", "step", "best", "left"]
        assert len({line.index("0.") for line in narrow[1:-1]}) == 1, "columns are straight"


def test_on_a_terminal():
    """A table that moves, and that Ctrl-C leaves on the screen; as a process of its own."""
    folder = made("a", status="running", **PLAN)
    with locked(folder):
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 90, 0, 0))
        command = [sys.executable, "-m", "dlrun", "ls", "--watch", "0.1"]
        env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}  # a shell does not export them
        env |= {"TERM": "xterm", "NO_COLOR": "1"}
        with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env) as process:
            os.close(its)
            seen = read_until(ours, b"Ctrl-C ends")
            add(folder, val(70, 0.9876))
            seen += read_until(ours, b"0.9876")
            process.send_signal(signal.SIGINT)
            seen += read_until(ours, None)
        os.close(ours)
    assert process.returncode == 0
    text = seen.decode()
    before, last = text.rsplit("\x1b[?1049l", 1)  # the screen as it was is back
    assert "3/80" in before
    lines = [line.split() for line in re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", last).splitlines() if line.strip()]
    assert lines == [
        ["status", "run", "step", "epoch", "val/accuracy", "best", "steps/s", "left"],
        ["running", "outputs/a", "70/80", "7/8", "0.9876", "0.9876", "20", "0:00", "act=gelu"],
        ["1", "running"],
    ]


def read_until(handle: int, end: bytes | None) -> bytes:
    """What is written to a terminal until ``end``, or until it is closed."""
    seen, began = b"", time.monotonic()
    while end is None or end not in seen:
        assert time.monotonic() - began < 60, seen
        try:
            new = os.read(handle, 1 << 16) if select.select([handle], [], [], 1)[0] else None
        except OSError:  # closed
            new = b""
        if new == b"":
            break
        seen += new or b""
    return seen
