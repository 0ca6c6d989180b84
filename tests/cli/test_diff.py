"""``dlrun diff``: what changed between two runs, what counts, what can't be compared; whatever state they are in."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlrun.compare.compare_rows import in_words
from dlrun.compare.difference import difference
from dlrun.runs import atomic, rundir
from dlrun.runs.loading import load_one
from dlrun.runs.lock import locked
from tests.conftest import QUICK
from tests.runs.test_loading import DAMAGES, ROWS, SUMMARY, made

FACTS = {
    "start": "2026-01-02T10:00:00+0000", "steps_per_second": 100.0, "peak_memory": 300_000_000, "parameters": 1226,
    "rows": {"train": 80, "val": 10, "test": 10}, "git": {"commit": "a" * 40, "dirty": False}, "host": "here",
    "versions": {"python": "3.11.7", "dlrun": "0.1.0", "jax": "0.10.2"}, "device": "cpu: cpu", "devices": 1,
    "threads": 2,
}  # fmt: skip


def run(name: str, *, facts: dict[str, Any] | None = None, **how: Any) -> Path:
    """A run directory as a run leaves it; ``facts`` are fields of run.json."""
    folder = made(name, **how)
    rundir.update_run(folder, **{**FACTS, **(facts or {})})
    return folder


def test_a_run_that_is_made_again_is_equal(dlrun):
    first, again = dlrun(*QUICK), dlrun(*QUICK)
    outcome = dlrun("diff", str(first.directory), str(again.directory))
    lines = outcome.out.splitlines()
    assert lines[0].startswith(f"A {first.directory}  completed  dlrun")
    assert f"  rows: all {len(first.rows)} equal" in lines
    assert (outcome.code, lines[-1]) == (0, "equal")


def test_the_table(dlrun):
    run("a", facts={"seconds": 5.0})
    rows = [{**row, "loss": row["loss"] + 1e-6 * (row["step"] > 15)} if "loss" in row else row for row in ROWS]
    summary = {**SUMMARY, "best/val/loss": 0.400001, "test/accuracy": 0.71, "val/top5": 0.9}
    run("b", rows=rows, summary=summary, optim__lr=0.02, log__every=20, facts={
        "seconds": 10.0, "git": {"commit": "b" * 40, "dirty": False}, "host": "there", "peak_memory": 330_000_000,
    })  # fmt: skip
    outcome = dlrun("diff", "outputs/a", "outputs/b/")
    assert (outcome.code, outcome.err) == (1, "")
    assert (
        outcome.out
        == f"""\
A outputs/a  completed  dlrun
B outputs/b/  completed  dlrun

configuration: 2 changed, 13 unchanged
  optim.lr: 0.01 → 0.02
  log.every: 50 → 20  (how it ran: does not count)

metrics: 2 changed, 4 unchanged
  rows: equal to step 10, differ from step 20 on (val/loss, by up to 2e-06 of the value): 2 of 4 rows
  best/val/loss: 0.4 → 0.400001 (+1.000e-06)
  test/accuracy: 0.7000 → 0.7100 (+0.0100)

timing: 2 changed, 1 unchanged (does not count)
  seconds: 5.0 → 10.0 (+100%)
  peak_memory: 300.0 MB → 330.0 MB (+10%)

code: 1 changed, 2 unchanged
  git.commit: {"a" * 40} → {"b" * 40}

environment: 1 changed, 5 unchanged
  host: here → there

incomparable
  means over other steps, as log.every differs (does not count):
    train/loss: 0.1000 | 0.1000
  only in one of them:
    B:  val/top5=0.9000

different: configuration, metrics, code, environment, rows, incomparable
"""
    )


def test_json_says_the_same(dlrun):
    run("a")
    run("b", act__name="gelu", act__approximate=False, facts={"seconds": 7.0}, summary={**SUMMARY, "test/loss": None})
    outcome = dlrun("diff", "outputs/a", "outputs/b", "--format", "json")
    told = json.loads(outcome.out)
    assert outcome.code == 1
    assert told["a"] == {"directory": "outputs/a", "status": "completed"}
    assert (told["equal"], told["differing"]) == (False, ["configuration", "incomparable"])
    assert told["configuration"] == {
        "changed": {"act.name": {"a": "relu", "b": "gelu"}}, "unchanged": 14, "counts": True,
    }  # fmt: skip
    assert told["timing"]["changed"] == {"seconds": {"a": 5.0, "b": 7.0}}
    assert told["rows"]["equal"] == 6
    assert told["incomparable"] == [
        {"reason": "act=relu and act=gelu", "values": {"act.approximate": {"b": False}}, "counts": True},
        {"reason": "only in one of them", "values": {"test/loss": {"b": None}}, "counts": True},
    ]


NOT_COUNTED = [
    {"facts": {"seconds": 9.0, "steps_per_second": None, "start": "2027-01-01T00:00:00+0000", "end": "x"}},
    {"log__sinks": ["csv"], "compile_cache": "/tmp", "eval__batch_size": 8, "data__folder": "/data", "log__every": 7},
    {"rows": [{**row, "time": 99.0, "epoch": 3} for row in ROWS]},
    {"summary": {**SUMMARY, "seconds": 77.0, "confusion": [[0]]}},
]
COUNTED = [
    ({"seed": 1}, "configuration"),
    ({"new": 1}, "incomparable"),
    ({"facts": {"parameters": 7}}, "configuration"),
    ({"facts": {"versions": {**FACTS["versions"], "jax": "0.11"}}}, "environment"),
    ({"facts": {"versions": {**FACTS["versions"], "dlrun": "0.2"}}}, "code"),
    ({"facts": {"git": None}}, "code"),
    ({"facts": {"git": {"commit": "a" * 40, "dirty": True}}}, "code"),
    ({"facts": {"threads": 1}}, "environment"),
    ({"summary": {**SUMMARY, "test/accuracy": 0.7000000001}}, "metrics"),
    ({"rows": ROWS[:-1]}, "rows"),
    ({"rows": [*ROWS[:-1], {**ROWS[-1], "accuracy": None}]}, "rows"),
    ({"seed": True, "epochs": True}, "configuration"),
]


@pytest.mark.parametrize("changes", NOT_COUNTED)
def test_what_does_not_count(changes: dict[str, Any], dlrun):
    run("a")
    run("b", **changes)
    outcome = dlrun("diff", "outputs/a", "outputs/b")
    assert (outcome.code, outcome.out.splitlines()[-1]) == (0, "equal")


@pytest.mark.parametrize(("changes", "where"), COUNTED)
def test_what_counts(changes: dict[str, Any], where: str, dlrun):
    run("a", epochs=1)
    run("b", **{"epochs": 1, **changes})
    outcome = dlrun("diff", "outputs/a", "outputs/b")
    assert (outcome.code, outcome.out.splitlines()[-1]) == (1, f"different: {where}")


def test_options_are_not_held_against_each_other():
    run("a", model={"name": "mlp", "widths": [16], "depth": None, "width": 8})
    run("b", model={"name": "resnet", "depth": 20, "width": 8, "skip": True})
    found = difference(load_one("outputs/a"), load_one("outputs/b"))
    assert found.sections["configuration"].changed == {"model.name": ("mlp", "resnet")}
    (incomparable,) = found.incomparable
    assert incomparable.reason == "model=mlp and model=resnet"
    assert {key: pair for key, pair in incomparable.values.items() if key in ("model.depth", "model.width")} == {
        "model.depth": (None, 20), "model.width": (8, 8),
    }  # fmt: skip
    assert incomparable.values.keys() == {"model.widths", "model.depth", "model.width", "model.skip"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data__name": "mnist"}, "data.name differs"),
        ({"split__seed": 1}, "split.seed differs"),
        (
            {"data__path": "b.csv", "facts": {"rows": {"train": 80, "val": 11, "test": 10}}},
            "data.path, rows.val differ",
        ),
    ],
)
def test_metrics_of_other_rows_are_incomparable(changes: dict[str, Any], reason: str):
    common: dict[str, Any] = {"data__name": "digits", "data__path": "a.csv", "split__seed": 0}
    run("a", **common)
    run("b", **{**common, **changes}, rows=[{**row, "loss": 7.0} for row in ROWS])
    found = difference(load_one("outputs/a"), load_one("outputs/b"))
    incomparable = next(
        incomparable for incomparable in found.incomparable if incomparable.reason.startswith("metrics")
    )
    assert incomparable.reason == f"metrics of other rows, as {reason}"
    assert {name for name in SUMMARY if name.count("/") and name != "best/step"} == incomparable.values.keys()
    assert not found.sections["metrics"].changed
    assert in_words(found.rows) == "none to compare"


def test_other_losses_and_ways_to_choose_the_best_state():
    run("a", loss={"name": "cross_entropy"})
    run("b", loss={"name": "mse"}, rows=[{**r, "loss": 7.0} for r in ROWS])
    run("c", loss={"name": "cross_entropy"}, summary={**SUMMARY, "metric": "val/loss", "mode": "min", "best/step": 10})
    a, b, c = (load_one(f"outputs/{name}") for name in "abc")
    (incomparable,) = difference(a, b).incomparable
    assert (incomparable.reason, set(incomparable.values)) == (
        "another loss, as loss.name differs", {"best/val/loss", "val/loss", "train/loss"},
    )  # fmt: skip
    assert in_words(difference(a, b).rows) == "all 4 equal"
    (incomparable,) = difference(a, c).incomparable
    assert (incomparable.reason, set(incomparable.values)) == (
        "best by val/accuracy max and by val/loss min", {"best/step", "best/val/loss", "best/val/accuracy"},
    )  # fmt: skip
    assert not difference(a, c).sections["metrics"].changed


def test_data_whose_content_changed_under_its_name(dlrun):
    for name, mean in (("a", 0.5), ("b", 0.6), ("c", 0.5)):
        atomic.write_json(run(name) / rundir.DATA, {"kind": "features", "input_mean": [mean], "classes": ["x"]})
    (Path("outputs/c") / rundir.DATA).write_text('{"input_mean": [0.5], "later": 1}')
    outcome = dlrun("diff", "outputs/a", "outputs/b")
    assert "  other data, according to data.json:\n    input_mean: [0.5] | [0.6]\n" in outcome.out
    assert outcome.code == 1
    assert dlrun("diff", "outputs/a", "outputs/c").code == 0, "later versions may tell more"


def test_uncommitted_changes_are_told(dlrun):
    for name in "ab":
        run(name, facts={"git": {"commit": "a" * 40, "dirty": True}})
    outcome = dlrun("diff", "outputs/a", "outputs/b")
    assert outcome.code == 0
    assert (
        "  uncommitted changes, whose content is not recorded (does not count):\n    git.dirty: true | true"
        in outcome.out
    )


def test_outside_git_nothing_is_missing():
    for name in "ab":
        run(name, facts={"git": None})
    code = difference(load_one("outputs/a"), load_one("outputs/b")).sections["code"]
    assert (code.changed, code.unchanged) == ({}, 1)


VAL = [
    {"step": step, "split": "val", "loss": 1.0 / step, "accuracy": 0.5, "time": step / 7} for step in range(10, 60, 10)
]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (VAL, VAL, "all 5 equal"),
        ([], [], "none to compare"),
        (VAL, [], "5 only in A"),
        (VAL, VAL[:3], "the 3 that both have are equal; 2 only in A"),
        (VAL, [*VAL[:2], *({**r, "loss": 1.0} for r in VAL[2:])],
         "equal to step 20, differ from step 30 on (val/loss, by up to 97%): 3 of 5 rows"),
        (VAL, [{**r, "loss": r["loss"] * (1 + 1e-9)} for r in VAL[:4]],
         "differ from step 10 on (val/loss, by up to 1e-09 of the value): 4 of 4 rows; 1 only in A"),
        (VAL, [{**r, "step": r["step"] + 5} for r in VAL], "5 only in A; 5 only in B"),
        ([VAL[0], VAL[0]], [VAL[0], {**VAL[0], "loss": None}],
         "differ from step 10 on (val/loss, by up to 100%): 1 of 2 rows"),
        ([{**VAL[0], "loss": None}], [{**VAL[0], "loss": None}], "all 1 equal"),
        ([*VAL, {"step": 30, "split": "test", "loss": 1.0}], [*VAL, {"step": 30, "split": "test", "loss": 2.0}],
         "equal to step 20, differ from step 30 on (test/loss, by up to 50%): 1 of 6 rows"),
        (VAL, [{"step": 10, "split": "val", **dict.fromkeys(("loss", "accuracy"), 9.0)}],
         "differ from step 10 on (val/loss, val/accuracy, by up to 99%): 1 of 1 rows; 4 only in A"),
        (VAL, [{"step": [], "split": "val"}, {"step": 1, "split": {}}, {"split": "val"}, *VAL], "all 5 equal"),
    ],
)  # fmt: skip
def test_rows(a: list[dict[str, Any]], b: list[dict[str, Any]], expected: str):
    runs = [load_one(str(run(name, rows=rows, status="stopped"))) for name, rows in (("a", a), ("b", b))]
    assert in_words(difference(runs[0], runs[1]).rows) == expected


def test_a_run_that_goes_on_or_was_killed_is_compared_as_far_as_it_came(dlrun):
    run("a")
    killed = run("b", status="running", rows=ROWS[:3])
    outcome = dlrun("diff", "outputs/a", "outputs/b")
    assert outcome.code == 1
    assert "B outputs/b  killed  dlrun" in outcome.out
    assert "rows: the 3 that both have are equal; 3 only in A" in outcome.out
    assert "  best/val/accuracy" not in outcome.out, "equal so far"
    assert "    A:  val/macro_f1" not in outcome.out
    assert "    A:  test/accuracy=0.7000" in outcome.out
    with locked(killed):
        assert "B outputs/b  running" in dlrun("diff", "outputs/a", "outputs/b").out
        assert dlrun("diff", "outputs/b", "outputs/b").code == 0


def test_what_is_no_run(dlrun):
    a = run("a")
    for job in (0, 1, 2, 10):
        shutil.copytree(a, f"outputs/sweep/{job}")
    Path("outputs/sweep/sweep.json").write_text("{}")
    Path("outputs/empty").mkdir()
    Path("outputs/young").mkdir()
    Path("outputs/young/sweep.json").write_text("{}")
    Path("file").touch()
    expected = {
        "outputs/aa": "outputs/aa: no such folder (did you mean 'a'?)",
        "file": "file: not a folder",
        "outputs/sweep": "outputs/sweep: a sweep; name one of its 4 runs, outputs/sweep/0 ... outputs/sweep/10",
        "outputs/young": "outputs/young: a sweep that has no run yet",
        "outputs/empty": "outputs/empty: not a run directory: it has no run.json; dlrun ls lists the runs below "
        "a folder",
        "": ": no such folder",
    }
    for path, line in expected.items():
        outcome = dlrun("diff", str(a), path)
        assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {line}\n")
    outcome = dlrun("diff", "outputs/sweep/", "outputs/empty")
    assert len(outcome.err.splitlines()) == 2, "both are told at once"
    shutil.rmtree("outputs/sweep/10")
    Path("outputs/sweep/sweep.json").unlink()
    assert "a folder of runs; name one of its 3 runs" in dlrun("diff", str(a), "outputs/sweep").err


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_json(damage: bytes, dlrun):
    a, b = run("a"), run("b")
    (b / rundir.RUN).write_bytes(damage)
    outcome = dlrun("diff", str(a), str(b))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: outputs/b: run.json is not ")


def test_words(dlrun):
    run("a")
    for words in ([], ["outputs/a"], ["outputs/a"] * 3):
        assert dlrun("diff", *words).err == (
            f"error: diff: two run directories are needed, not {len(words)}: dlrun diff A B\n"
        )
    assert "did you mean '--format'?" in dlrun("diff", "outputs/a", "outputs/a", "--fromat=json").err
    assert dlrun("diff", "outputs/a", "outputs/a", "--format", "xml").code == 2
    outcome = dlrun("diff", "--help")
    assert outcome.code == 0
    assert "exit code: 0 equal, 1 different, 2 a run can't be read" in outcome.out


def test_random_damage(dlrun):
    random.seed(0)
    sound = run("sound")
    (sound / rundir.CONFIG).parent.mkdir()
    (sound / rundir.CONFIG).write_text("seed: 0\nact: {name: gelu}\n")
    atomic.write_json(sound / rundir.DATA, {"classes": ["a"], "input_mean": [1.0]})
    codes = set()
    for i in range(150):
        broken = Path(f"outputs/broken{i}")
        shutil.copytree(sound, broken)
        for file in filter(Path.is_file, broken.rglob("*")):
            data = bytearray(file.read_bytes())
            for _ in range(random.randrange(4)):
                data[random.randrange(len(data))] = random.randrange(256)
            file.write_bytes(bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.2 else data))
        for how in ("table", "json"):
            outcome = dlrun("diff", str(sound), str(broken), "--format", how)
            assert outcome.code in (0, 1, 2)
            assert (outcome.code == 2) == outcome.err.startswith("error: outputs/broken") == (not outcome.out)
        codes.add(outcome.code)
    assert codes == {0, 1, 2}


def test_strange_values(dlrun):
    strange = {"a": [10**400, float("nan"), float("inf"), {"b": []}], "text": "\x1b[31mred\n", "none": None}
    run("a", facts={"parameters": 10**400, "seconds": "long", "host": strange["text"]}, strange=strange, seed=[])
    run("b", facts={"parameters": -1, "peak_memory": 10**400, "host": {"x": 1}}, strange=strange | {"a": 0}, seed={})
    text = (Path("outputs/b") / rundir.SUMMARY).read_text()
    (Path("outputs/b") / rundir.SUMMARY).write_text(text.replace("0.625", "NaN").replace("0.75", "1e999"))
    for pair in (("a", "b"), ("b", "a"), ("b", "b")):
        outcome = dlrun("diff", *(f"outputs/{name}" for name in pair))
        assert outcome.code == (0 if pair == ("b", "b") else 1)
        assert "\x1b" not in outcome.out
        outcome = dlrun("diff", *(f"outputs/{name}" for name in pair), "--format", "json")
        assert json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_nothing_is_cut_in_a_pipe(dlrun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    run("a", note="x" * 300 + "a")
    run("b", note="x" * 300 + "b")
    assert f"  note: {'x' * 300}a → {'x' * 300}b\n" in dlrun("diff", "outputs/a", "outputs/b").out


def test_other_encodings_and_names_and_no_heavy_imports():
    run("a")
    os.rename(run("b", seed=1), b"outputs/\xff\xe9")
    code = (
        "import os, sys; from dlrun.cli.main import main\n"
        "code = main(['diff', 'outputs/a', os.fsdecode(b'outputs/\\xff\\xe9')])\n"
        "heavy = {'jax', 'hydra', 'omegaconf', 'numpy', 'scipy', 'matplotlib', 'pydantic'} & set(sys.modules);"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (1, "")
    assert "  seed: 0 -> 1\n" in done.stdout


def test_a_look_changes_nothing(dlrun):
    run("a")
    run("b", status="running")
    before = {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")}
    dlrun("diff", "outputs/a", "outputs/b")
    assert {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("*")} == before


def test_the_golden_run_differs_from_itself_in_nothing(dlrun):
    golden = str(Path(__file__).parents[1] / "goldens" / "runs" / "format1")
    outcome = dlrun("diff", golden, golden)
    assert outcome.code == 0
    assert "rows: all 5 equal" in outcome.out
    assert "configuration: 63 unchanged" in outcome.out
