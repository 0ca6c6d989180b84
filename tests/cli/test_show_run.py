"""``dlrun show-run``: a run at a glance, whatever state it is in."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from dlrun.display import learning_curves
from dlrun.runs import atomic, rundir
from dlrun.runs.lock import locked
from dlrun.runs.overview import chosen
from dlrun.runs.rundir import size
from tests.cli.test_diff import run
from tests.conftest import QUICK
from tests.runs.test_loading import DAMAGES, ROWS, SUMMARY, made

GOLDEN = Path(__file__).parents[1] / "goldens" / "runs" / "format1"


def local(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def sections(text: str) -> dict[str, str]:
    """The lines of each section, by its title."""
    first, *others = text.split("\n\n")
    return {"": first} | {title: body for title, _, body in (other.partition("\n") for other in others)}


def test_a_real_run(dlrun, monkeypatch: pytest.MonkeyPatch):
    words = (*QUICK, "epochs=2", "act=gelu", "log.every=50")
    monkeypatch.setattr(sys, "argv", ["dlrun", *words])
    made_run = dlrun(*words)
    outcome = dlrun("show-run", str(made_run.directory))
    assert (outcome.code, outcome.err) == (0, "")
    told = sections(outcome.out)
    assert told[""].splitlines()[:2] == [f"run            {made_run.directory}", "status         completed"]
    assert told[""].splitlines()[-1] == f"progress       step {made_run.summary['step']}, epoch 2 of 2"
    assert "act            *gelu  approximate=false" in told["configuration (*: chosen on the command line)"]
    assert f"jax {made_run.run['versions']['jax']}, " in told["environment"]
    best = made_run.summary["best/step"]
    assert f"step {best} (best) " in told["files"]
    assert f"metrics.jsonl {(made_run.directory / 'metrics.jsonl').stat().st_size} bytes" in told["files"]
    as_json = json.loads(dlrun("show-run", str(made_run.directory), "--format", "json").out)
    assert as_json["metrics"]["test/accuracy"] == made_run.summary["test/accuracy"]
    assert [state["step"] for state in as_json["checkpoints"] if state["best"]] == [best]
    assert all(state["whole"] and state["bytes"] > 1000 for state in as_json["checkpoints"])


def test_the_golden_run(dlrun):
    outcome = dlrun("show-run", str(GOLDEN))
    assert outcome.code == 0
    told = sections(outcome.out)
    assert (
        told[""]
        == f"""\
run            {GOLDEN}
status         completed
command        dlrun 'model.widths=[16]' epochs=2 log.plot=false log.every=20 seed=0
time           {local("2026-11-23T05:22:39+0000")}, 0.9 s, 10,000 steps/s, 302.0 MB of memory
progress       step 40, epoch 2 of 2"""
    )
    lines = told["configuration (*: chosen on the command line)"].splitlines()
    assert lines[0].startswith(f"{'':15}*seed=0  *epochs=2  steps=null  batch_size=64  precision=float32  ")
    assert lines[1] == "model          mlp  *widths=[16]  width=null  depth=null"
    assert lines[2:4] == ["act            relu", "norm           batch  momentum=0.9  epsilon=1e-05"]
    assert lines[-2] == "log            *every=20  *plot=false  sinks=[]  project=dlrun"
    assert (
        told["metrics"]
        == """\
               val, best (step 40)  val, last  train, last    test
accuracy                    0.1250     0.1250       0.1008  0.1309
loss                        2.3874     2.3874       2.3458  2.3051
grad_norm                                           0.9384
lr                                               1.708e-06
macro_f1                    0.0799     0.0799               0.0822"""
    )
    assert (
        told["environment"]
        == """\
code           dlrun 0.1.0
packages       python 3.11.7, jax 0.10.2, jaxlib 0.10.2, flax 0.12.8, optax 0.2.8, orbax-checkpoint 0.12.8, \
hydra-core 1.3.8, numpy 2.4.6, pillow 13.0.0
machine        somewhere, Linux-6.1.0-x86_64-with-glibc2.36
device         cpu: cpu, 1 device, 1 process, 2 threads
size           1,226 parameters, 1294 train, 144 val, 359 test rows"""
    )
    assert told["files"].startswith("checkpoints    none\nfiles          metrics.jsonl 783 bytes, run.json 2.6 kB, ")


def test_curves(dlrun, monkeypatch: pytest.MonkeyPatch):
    drawn = {}
    real = learning_curves.chart
    monkeypatch.setattr(learning_curves, "chart", lambda name, splits: drawn.setdefault(name, real(name, splits)))
    made("a", status="stopped")
    heads = dlrun("show-run", "outputs/a").out.split("\n\ncurves\n")[1].splitlines()
    assert heads[0].split() == ["loss", "accuracy"], "side by side"
    assert drawn["loss"].x.tolist() == [10, 15, 20, 30]
    assert drawn["loss"].curves["val"].tolist() == [0.9, 0.65, 0.4, 0.6]
    train = drawn["loss"].curves["train"]
    assert train[1:].tolist() == pytest.approx([0.3, 0.3 - 0.2 / 3, 0.1])
    assert not train[0] >= 0, "not before its first row"
    assert drawn["accuracy"].curves.keys() == {"val"}
    monkeypatch.setenv("COLUMNS", "60")
    lines = dlrun("show-run", "outputs/a").out.splitlines()
    assert {"loss", "accuracy"} <= set(lines), "one below the other"
    assert "⠒⠒⠒ val    ⠒ ⠒ train" in "\n".join(lines)


def test_long_noisy_and_strange_curves(dlrun):
    random.seed(0)
    rows = [{"step": s, "split": "train", "loss": random.gauss(1, 0.1)} for s in range(0, 100_000, 10)]
    made("long", status="running", rows=[*rows, {"step": 10**400, "split": "train", "loss": 1}])
    assert "curves" in dlrun("show-run", "outputs/long").out
    chart = learning_curves.chart("loss", {"train": {row["step"]: row["loss"] for row in rows}})
    assert len(chart.x) == learning_curves.MANY
    assert abs(chart.curves["train"] - 1).max() < 0.1, "means, not single rows"
    for i, values in enumerate(
        [
            (1e300, -1e300),
            (5e-324, 0),
            (1, 1),
            (1e12, 1e12 + 1),
            (None, 1),
            (float("nan"), 2, 3),
            (True, "x"),
            (0, -0.0),
        ]
    ):
        made(f"{i}", status="diverged", rows=[{"step": j, "split": "val", "loss": v} for j, v in enumerate(values)])
        outcome = dlrun("show-run", f"outputs/{i}")
        assert outcome.code == 0
        assert max(map(len, outcome.out.splitlines())) < 300


def test_no_curve_of_one_point(dlrun):
    made("a", status="running", rows=ROWS[:2])
    out = dlrun("show-run", "outputs/a").out
    assert "curves" not in out
    assert "val, best (step 10)  val, last  train, last\naccuracy                    0.5000     0.5000" in out
    made("b", status="running", rows=[])
    assert "metrics\nnone yet\n" in dlrun("show-run", "outputs/b").out


def test_what_went_wrong(dlrun):
    folder = run("a", status="failed", facts={"error": "ValueError: no"}, rows=ROWS[:3])
    (folder / rundir.LOG).write_text("".join(f"line {i}\x1b[2J\n" for i in range(5000)) + "ValueError:\tno")
    told = sections(dlrun("show-run", "outputs/a").out)[""].splitlines()
    assert told[1:3] == ["status         failed", "error          ValueError: no"]
    assert told[-12:-1] == [f"{'':15}line {i}\\x1b[2J" for i in range(4989, 5000)]
    assert told[-1].split() == ["ValueError:", "no"]
    (folder / rundir.LOG).unlink()
    os.mkfifo(folder / rundir.LOG)
    assert dlrun("show-run", "outputs/a").code == 0
    completed = run("b")
    (completed / rundir.LOG).write_text("a warning\n")
    assert "a warning" not in dlrun("show-run", "outputs/b").out


def test_a_run_that_goes_on(dlrun):
    folder = run("a", status="running", rows=ROWS[:3], epochs=5, facts={
        "seconds": 99.0, "resumed": [{"time": "2026-01-02T11:00:00+0000", "overrides": ["optim.lr=0.02"]}, 3, {}],
    })  # fmt: skip
    os.utime(folder / rundir.METRICS, (0, datetime.fromisoformat("2026-01-02T11:05:00+0000").timestamp()))
    rundir.update_run(folder, steps_per_second=5.0)
    with locked(folder):
        told = sections(dlrun("show-run", "outputs/a").out)
    assert (
        told[""]
        == f"""\
run            outputs/a
status         running
command        dlrun
resumed        {local("2026-01-02T11:00:00+0000")}, optim.lr=0.02
resumed        null
time           {local("2026-01-02T10:00:00+0000")}, last row at {local("2026-01-02T11:05:00+0000")}
progress       step 20"""
    )
    assert "optim          adamw  *lr=0.01" in told["configuration (*: chosen on the command line)"]
    assert "status         killed" in dlrun("show-run", "outputs/a").out


def test_what_was_chosen():
    config = {"seed": 0, "act.name": "relu", "act.slope": 1, "optim.lr": 0.1, "model.name": "mlp", "ema": None}
    words = ["dlrun", "-m", "act=relu", "+ema=null", "optim.lr=0.1", "seed=1,2", "experiment=x", "act=relu", "data.x=1"]
    assert chosen(words, config) == ["act.name", "ema", "optim.lr", "seed"]


def test_saved_states(dlrun):
    folder = run("a")
    for step, files in ((10, ("state",)), (20, ("state", "manifest.sha256")), (30, ("manifest.sha256",))):
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        for file in files:
            (folder / "checkpoints" / str(step) / file).write_bytes(bytes(1500))
    (folder / "checkpoints" / ".saving-30").mkdir()
    (folder / "checkpoints" / "40").touch()
    told = sections(dlrun("show-run", "outputs/a").out)["files"]
    assert told.splitlines()[0] == ("checkpoints    step 10 (incomplete) 1.5 kB, step 20 (best) 3.0 kB, step 30 1.5 kB")
    assert "checkpoints/ 6.0 kB" in told


def test_sizes_follow_no_links():
    Path("big").write_bytes(bytes(1000))
    Path("folder/below").mkdir(parents=True)
    Path("folder/below/small").write_bytes(bytes(10))
    Path("folder/link").symlink_to(Path("big").resolve())
    Path("folder/loop").symlink_to(Path("folder").resolve())
    assert size("folder/below") == size("folder/below/small") == 10
    assert size("folder") < 400
    assert (size("nowhere"), size("big")) == (0, 1000)


def test_what_is_no_run(dlrun):
    shutil.copytree(run("a"), "outputs/sweep/3")
    Path("outputs/sweep/sweep.json").write_text("{}")
    assert dlrun("show-run", "outputs/sweep").err == ("error: outputs/sweep: a sweep; name its run, outputs/sweep/3\n")
    assert dlrun("show-run", "nowhere").err == "error: nowhere: no such folder\n"
    assert dlrun("show-run").err == "error: show-run: one run directory is needed, not 0: dlrun show-run DIR\n"
    atomic.write_json(Path("outputs/a/run.json"), {"status": "completed", "format": 99})
    outcome = dlrun("show-run", "outputs/a")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: outputs/a: format 99 is not known to this dlrun, which reads up to 1\n"


@pytest.mark.parametrize("damage", [*DAMAGES, None])
def test_a_damaged_run_json(damage: bytes | None, dlrun):
    folder = run("a")
    (folder / rundir.CONFIG).parent.mkdir()
    (folder / rundir.CONFIG).write_text("seed: 7\nact: {name: gelu}\n")
    (folder / rundir.RUN).unlink()
    os.mkfifo(folder / rundir.RUN) if damage is None else (folder / rundir.RUN).write_bytes(damage)
    outcome = dlrun("show-run", "outputs/a")
    if damage == b'{"status": 3}':
        assert (outcome.code, outcome.err) == (2, "error: outputs/a: run.json is not that of a run\n")
        return
    assert outcome.code == 0
    told = sections(outcome.out)
    assert told[""].splitlines()[1] == "status         damaged"
    assert "damage         run.json is not " in told[""]
    assert told["configuration"] == f"{'':15}seed=7\nact            gelu"
    assert "accuracy                    0.7500     0.6250" in told["metrics"]
    for file in (rundir.METRICS, rundir.CONFIG):
        (folder / file).unlink()
    assert dlrun("show-run", "outputs/a").code == 2, "nothing is left to be shown"


def test_a_damaged_summary(dlrun):
    (run("a") / rundir.SUMMARY).write_text("{")
    out = dlrun("show-run", "outputs/a").out
    assert "damage         summary.json is damaged\n" in out
    assert "0.7500" in out


def test_random_damage(dlrun):
    random.seed(0)
    sound = run("sound", facts={"resumed": [{"time": "2026-01-02T11:00:00+0000", "overrides": ["epochs=9"]}]})
    (sound / rundir.CONFIG).parent.mkdir()
    (sound / rundir.CONFIG).write_text("seed: 0\nact: {name: gelu}\n")
    (sound / rundir.LOG).write_text("a line\nanother\n")
    codes = []
    for i in range(120):
        broken = Path(f"outputs/broken{i}")
        shutil.copytree(sound, broken)
        for file in filter(Path.is_file, broken.rglob("*")):
            data = bytearray(file.read_bytes())
            for _ in range(random.randrange(4)):
                data[random.randrange(len(data))] = random.randrange(256)
            file.write_bytes(bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.2 else data))
        for how in ("table", "json"):
            outcome = dlrun("show-run", str(broken), "--format", how)
            codes.append(outcome.code)
            assert (outcome.code, bool(outcome.out)) in ((0, True), (2, False))
            assert outcome.code == 0 or outcome.err.startswith(f"error: {broken}: ")
    assert codes.count(0) > 200


def test_a_run_deleted_while_it_is_shown(dlrun, monkeypatch: pytest.MonkeyPatch):
    folder = run("a")
    real = atomic.read_json
    monkeypatch.setattr(atomic, "read_json", lambda file: shutil.rmtree(folder, ignore_errors=True) or real(file))
    outcome = dlrun("show-run", "outputs/a")
    assert outcome.code == 0
    assert "none that can be read" in outcome.out


def test_a_terminal_wraps_and_a_pipe_does_not():
    run("a", **{f"key{i}": i for i in range(40)})
    command = [sys.executable, "-m", "dlrun", "show-run", "outputs/a"]
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    piped = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
    assert "\x1b" not in piped
    assert max(map(len, piped.splitlines())) > 300
    primary, secondary = os.openpty()
    subprocess.run(command, stdout=secondary, env=env, check=True)
    os.close(secondary)
    shown = b""
    while chunk := _read(primary):
        shown += chunk
    os.close(primary)
    text = shown.decode()
    assert "\x1b[2mkey3=3" in text, "what was not chosen is dim"
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= 80


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # its other end is closed
        return b""


def test_other_encodings_and_no_heavy_imports():
    made("a", summary={**SUMMARY, "test/größe": 1.0})
    code = (
        "import sys; from dlrun.cli.main import main; code = main(['show-run', 'outputs/a'])\n"
        "heavy = {'jax', 'hydra', 'omegaconf', 'scipy', 'matplotlib', 'pydantic', 'flax'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "*** val    ... train" in done.stdout
    assert "gr??e" in done.stdout


def test_a_look_changes_nothing(dlrun):
    run("a", status="running")
    before = {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")}
    dlrun("show-run", "outputs/a")
    assert {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")} == before


def test_a_hundred_thousand_rows_take_a_moment(dlrun):
    rows = "".join(json.dumps({"step": s, "split": "train", "loss": 1 / (s + 1)}) + "\n" for s in range(100_000))
    (run("a") / rundir.METRICS).write_text(rows)
    began = time.process_time()
    dlrun("show-run", "outputs/a")
    assert time.process_time() - began < 8  # 1 s on an idle core
