"""What a person sees of a run: lines in a file, a moving line on a terminal, curves."""

import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dlrun.display import figures, progress
from dlrun.display.terminal import TerminalProgress
from dlrun.display.units import clock, counted, fitted, number


def val(step: int, accuracy: float = 0.5, loss: float = 0.25) -> dict:
    return {"step": step, "epoch": step / 20, "split": "val", "accuracy": accuracy, "loss": loss, "time": 1.0}


def train(step: int, loss: float = 0.125) -> dict:
    return {"step": step, "epoch": step / 20, "split": "train", "accuracy": 0.5, "loss": loss, "lr": 0.1, "time": 1.0}


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""  # stdout carries results only
    return captured.err.splitlines()


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its one element; tests move it."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_plain_lines(capsys: pytest.CaptureFixture[str], clockwork: list[float]):
    with TerminalProgress("val/accuracy") as p:
        p.start(0, 60)
        clockwork[0] += 9  # compiling
        for step in range(10, 70, 10):
            p.steps_per_second = None if step == 10 else 5.0 * step / 2
            p.advance(step, epoch=step / 20)
            clockwork[0] += 0.1
            if step % 20 == 0:
                p.row(val(step))
            if step == 50:
                p.row(train(step))
        test = {"loss": 0.1857, "accuracy": 0.9612, "macro_f1": 0.9598, "top5": 1.0}
        p.row({"step": 20, "epoch": 1.0, "split": "test", **test, "time": 1.0})
    assert told(capsys) == [
        "step 20/60  epoch 1     val accuracy 0.5000  loss 0.2500  50 steps/s",
        "step 40/60  epoch 2     val accuracy 0.5000  loss 0.2500  100 steps/s",
        "step 60/60  epoch 3     val accuracy 0.5000  loss 0.2500  train loss 0.1250  150 steps/s",
        "test  accuracy 0.9612  macro_f1 0.9598  top5 1.0000  loss 0.1857  (best state, step 20)",
    ]


def test_a_long_run_does_not_flood_a_log_file(capsys: pytest.CaptureFixture[str]):
    with TerminalProgress("val/accuracy") as p:
        p.start(0, 100_000)
        for step in range(10, 100_010, 10):
            p.advance(step, epoch=step / 1000)
            p.row(val(step))
            if step % 50 == 0:
                p.row(train(step))
        p.row({**val(500), "split": "test"})
    lines = told(capsys)
    assert 90 <= len(lines) <= 105
    assert lines[0].startswith("step     10/100000")
    assert any(line.startswith("step 100000/100000") for line in lines)


def test_a_slow_run_gives_signs_of_life(capsys: pytest.CaptureFixture[str], clockwork: list[float]):
    with TerminalProgress("val/accuracy") as p:
        p.start(0, 100_000)
        for step in range(1, 10_000):  # a week, an evaluation every 2,000 minutes
            p.advance(step, epoch=step / 1000)
            clockwork[0] += 60
            p.row(val(step) if step % 2000 == 0 else train(step))
    lines = told(capsys)
    assert 50 <= len(lines) <= 800
    assert lines[0].startswith("step      1/100000")
    gaps = np.diff([int(re.findall(r"step +(\d+)", line)[0]) for line in lines])
    assert gaps.max() <= 101  # never silent for more than a hundredth of the time so far
    assert gaps[:50].max() <= 1


def test_the_last_evaluation_and_an_early_stop_are_told(capsys: pytest.CaptureFixture[str]):
    with TerminalProgress("val/loss") as p:
        p.start(0, 1_000_000)
        p.advance(30, epoch=1.0)
        for step in (10, 20, 30):
            p.row(val(step, loss=step / 100))
        p.row({**val(10), "split": "test"})
    lines = told(capsys)
    assert [line.split("  epoch")[0] for line in lines[:2]] == ["step      10/1000000", "step      30/1000000"]
    assert lines[2] == "stopped early at step 30 of 1000000: no improvement in val/loss"
    assert lines[3] == "test  loss 0.2500  accuracy 0.5000  (best state, step 10)"


def rendered(p: TerminalProgress, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, height=10, force_terminal=True, color_system=None)
    console.print(p, end="")
    return console.file.getvalue()  # pyright: ignore


@given(
    width=st.integers(20, 220),
    total=st.integers(1, 10**9),
    share=st.floats(0, 1),
    loss=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    speed=st.floats(1e-6, 1e6),
)
def test_the_moving_line_is_one_line_at_any_width(
    width: int, total: int, share: float, loss: float | None, speed: float
):
    p = TerminalProgress("val/accuracy")
    p.total, p.step, p.steps_per_second = total, int(total * share), speed
    p.timed = (0, time.perf_counter() - p.step / speed)
    p.rows = {"train": {"split": "train", "loss": loss}, "val": val(3)}
    (line,) = rendered(p, width).splitlines()
    assert len(line.rstrip()) <= width - 3 or width < 25


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_moving_line_tells_steps_speed_loss_metric_and_time_left(width: int, clockwork: list[float]):
    p = TerminalProgress("val/accuracy")
    p.total, p.step, p.timed = 400, 101, (1, 990.0)
    p.rows = {"train": train(100), "val": val(100)}
    p.steps_per_second = 25.0  # of training alone; what is left takes evaluations too
    assert "101/400  25 steps/s  train loss 0.1250  val accuracy 0.5000  0:30 left" in rendered(p, width)
    assert ("━" in rendered(p, width)) == (width > 80)


def test_before_the_first_step_the_line_says_compiling():
    p = TerminalProgress()
    p.total = 10
    assert "compiling" in rendered(p, 80)


@given(
    parts=st.lists(st.tuples(st.integers(0, 5), st.text("ab", min_size=1, max_size=9)), min_size=1),
    width=st.integers(1, 80),
)
def test_what_does_not_fit_is_left_out_by_rank(parts: list[tuple[int, str]], width: int):
    text = fitted(parts, width)
    assert len(text) <= width
    assert fitted(parts, None) == "  ".join(word for _, word in parts)
    if len(text.split()) > 1:
        kept = [rank for rank, word in parts if word in text.split()]
        assert min(kept) == min(rank for rank, _ in parts)


def test_counts_are_whole_numbers_of_things(capsys: pytest.CaptureFixture[str]):
    assert [counted(n, what) for n, what in ((1, "step"), (0, "row"), (1294, "row"), (1, "class"), (10, "class"))] == [
        "1 step", "0 rows", "1,294 rows", "1 class", "10 classes",
    ]  # fmt: skip
    p = TerminalProgress("val/accuracy")
    p.start(4, 4)
    metrics = {"accuracy": 0.5, "macro_f1": float("nan"), "nonfinite": 1, "loss": float("nan")}
    p.row({"step": 4, "epoch": 1.0, "split": "test", **metrics, "time": 1.0})
    assert told(capsys) == ["test  accuracy 0.5000  macro_f1 nan  nonfinite 1  loss nan  (best state, step 4)"]


def test_numbers_and_times():
    assert [number(v) for v in (0.0, 0.96125, 12.5, 1e-5, 123456.0, None)] == [
        "0.0000",
        "0.9613",
        "12.5000",
        "1.000e-05",
        "1.235e+05",
        "-",
    ]
    assert [number(v) for v in (0, 1, 12345, True, float("nan"))] == ["0", "1", "12345", "1.0000", "nan"]
    assert [clock(s) for s in (0.4, 5, 754, 3723, 183_845)] == ["0:00", "0:05", "12:34", "1:02:03", "2d 03:04"]


SCRIPT = """
import os, sys, time
from dlrun.display.terminal import TerminalProgress
with TerminalProgress("val/accuracy") as p:
    p.start(0, 100)
    for step in range(1, 41):
        p.advance(step, step / 10)
        if step % 10 == 0:
            p.row({"step": step, "epoch": step / 10, "split": "val", "accuracy": 0.5, "loss": 0.25})
        time.sleep(0.02)
    if "kill" in sys.argv:
        os._exit(130)  # as a second Ctrl-C does
print("outputs/x")
"""


def on_terminal(columns: int, *arguments: str, term: str = "xterm") -> str:
    """All that a terminal of this width receives from SCRIPT."""
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": term}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    received, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            received += data
            if not data:
                break
    process.wait(timeout=30)
    os.close(ours)
    return received.decode()


@pytest.mark.parametrize("end", ["done", "kill"])
def test_a_terminal_keeps_its_cursor_and_the_lines_that_stay(end: str):
    text = on_terminal(100, end)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0  # shown after it was hidden
    assert text.count("\x1b[?25l") == 1
    # What a reader sees: control sequences away, each line as it was last written.
    lines = [
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part.rstrip("\r").split("\r")[-1]).rstrip() for part in text.split("\n")
    ]
    stay = [line for line in lines if line.startswith("step")]
    assert [line.split("  epoch")[0] for line in stay] == [
        "step  10/100",
        "step  20/100",
        "step  30/100",
        "step  40/100",
    ], ascii(text)
    if end == "done":
        assert lines[-2:] == ["outputs/x", ""]  # in place of the moving line


def test_a_dumb_terminal_gets_plain_lines():
    assert "\x1b" not in on_terminal(100, term="dumb")


# curves.png


def rows(n: int, first: float = 2.3) -> list[dict]:
    made = []
    for i in range(1, n + 1):
        loss = first if i == 1 else 1 / i
        made += [{**train(10 * i, loss), "lr": 0.1 / i}, val(10 * i, accuracy=1 - 1 / (i + 1), loss=loss)]
    return [*made, {**val(10 * n), "split": "test"}]


@pytest.mark.parametrize("n", [1, 2, 50, 10_000])
def test_curves_are_drawn_quickly_for_runs_of_any_length(n: int):
    figures.draw(rows(2), Path("warm.png"))  # finds the fonts
    began = time.process_time()
    figures.draw(rows(n), Path("curves.png"))
    assert time.process_time() - began < 1.5  # 0.2 s on an idle core
    picture = matplotlib.image.imread("curves.png")
    assert picture.shape[1] > 2 * picture.shape[0]
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20
    assert [p.name for p in Path().iterdir() if p.name.startswith(".")] == []


def panels(monkeypatch: pytest.MonkeyPatch, rows: list[dict], scheduled: Any = None) -> list:
    """The panels that are drawn for these rows."""
    drawn = []
    save = figures.Figure.savefig
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))[1])
    figures.draw(rows, Path("curves.png"), scheduled)
    return drawn[0].axes if drawn else []


def test_a_panel_a_metric_and_a_small_one_for_the_learning_rate(monkeypatch: pytest.MonkeyPatch):
    found = panels(monkeypatch, rows(5))
    assert [p.get_title() for p in found] == ["loss", "accuracy", "learning rate"]
    widths = [p.get_position().width for p in found]
    assert widths[2] < 0.7 * widths[0]
    lines = {line.get_label(): line.get_ydata() for line in found[0].lines}
    assert set(lines) == {"train", "val", "test"}
    assert list(lines["train"]) == [2.3, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert list(found[2].lines[0].get_ydata()) == [0.1 / i for i in range(1, 6)]


def test_the_learning_rate_is_drawn_as_scheduled_where_the_rows_agree(monkeypatch: pytest.MonkeyPatch):
    steps = np.arange(100)
    rates = np.where(steps < 7, (steps + 1) / 7, 1 - steps / 100)  # a warm-up that no row has
    made = [{**train(step), "lr": float(rates[step - 1])} for step in (20, 40, 60)]

    def drawn(rows: list[dict], scheduled: Any) -> tuple[list[float], list[float]]:
        line = panels(monkeypatch, rows, scheduled)[-1].lines[0]
        return [*line.get_xdata()], [*line.get_ydata()]

    assert drawn(made, (steps, rates)) == ([*range(1, 61)], [*rates[:60]]), "up to the last row"
    few = steps[::7]  # of a long run it has only some steps
    assert drawn(made, (few, rates[few]))[0] == [*(few[few < 60] + 1)]
    logged = ([20, 40, 60], [row["lr"] for row in made])
    assert drawn(made, (steps, rates / 2)) == logged, "resumed with another rate, or lowered on a plateau"
    assert drawn(made, None) == logged


@pytest.mark.parametrize(
    ("first", "scale"),
    [(1e7, "log"), (21.0, "log"), (2.3, "linear"), (float("nan"), "linear"), (float("inf"), "linear")],
)
def test_the_loss_axis_is_logarithmic_beyond_two_decades(first: float, scale: str, monkeypatch: pytest.MonkeyPatch):
    found = panels(monkeypatch, rows(5, first))
    assert [p.get_yscale() for p in found] == [scale, "linear", "linear"]


def test_an_accuracy_never_gets_a_logarithmic_axis(monkeypatch: pytest.MonkeyPatch):
    found = panels(monkeypatch, [val(1, accuracy=0.001), val(2, accuracy=0.9)])
    assert {p.get_title(): p.get_yscale() for p in found} == {"loss": "linear", "accuracy": "linear"}


def test_rows_without_metrics_draw_nothing(monkeypatch: pytest.MonkeyPatch):
    for odd in (
        [],
        [{"step": 1, "split": "val", "loss": None}],
        [{"step": 1}],
        [{"step": 1, "split": "val", "loss": "x"}],
    ):
        assert panels(monkeypatch, odd) == []
        assert not Path("curves.png").exists()


def test_the_runner_reaches_matplotlib_through_curves_alone():
    code = "import sys, dlrun.train.run; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
