"""An evaluation is a result or it says why not; how many examples at a time it takes changes nothing."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.cli import prepare
from dlrun.config import composition
from dlrun.data import batches
from dlrun.data.dataset import Dataset, Rows
from dlrun.nn.parts import Inputs
from dlrun.objective import losses, metrics
from dlrun.objective.losses import binary_cross_entropy, cross_entropy, mse
from dlrun.program import memory, step
from dlrun.program.compiled import MOST_EVALUATED, CompiledProgram
from dlrun.program.nonfinite import unsound
from dlrun.program.setup import Setup
from dlrun.runs import atomic
from dlrun.runs.live import Rows as LiveRows
from dlrun.runs.loading import load
from dlrun.train.position import Position
from tests.conftest import QUICK
from tests.digest import digest
from tests.sweeps import SMALL, runs, statuses, words
from tests.tiny import batch, numbers, program, quick, start

NAN, INF = np.nan, np.inf


def test_examples_that_are_not_finite_are_counted_and_wrong() -> None:
    of = program("mlp")
    graphdef, state = start(of, numbers())
    data, mask = batch(6), jnp.array([1.0, 1, 1, 1, 1, 0])
    evaluate = quick(partial(step.eval_step, of, graphdef))
    sound = evaluate(state, data, mask)
    outputs, _ = step.forward(of, graphdef, state.params, state.variables, data["x"], train=False)
    right = np.asarray(outputs.argmax(1) == data["y"])
    assert sound["nonfinite"].tolist() == [0, 0, 0]
    assert np.isfinite(sound["loss"])

    data["y"] = jnp.asarray(outputs.argmax(1)).at[0].set(0)  # NaN at class 0: its largest output is not class 0
    poisoned = {**data, "x": data["x"].at[jnp.array([0, 3])].set(NAN)}
    found = evaluate(state, poisoned, mask)
    assert found["nonfinite"].tolist() == [2, 0, 2]
    assert found["accuracy"] == 3, "of five examples two are wrong, whatever their class"
    assert np.isnan(found["loss"])
    assert right.any()

    masked = evaluate(state, {**data, "x": data["x"].at[5].set(NAN)}, mask)
    clean = evaluate(state, data, mask)
    assert {k: v.tolist() for k, v in masked.items()} == {k: v.tolist() for k, v in clean.items()}


def test_parameters_and_averages_that_are_not_finite_are_counted() -> None:
    of = program("mlp")
    graphdef, state = start(of, numbers(ema=0.9))
    broken = replace(state, ema=jax.tree.map(lambda a: a * NAN, state.ema))
    found = quick(partial(step.eval_step, of, graphdef))(broken, batch(4), jnp.ones(4))
    assert found["nonfinite"].tolist() == [4, 0, 0]


LABELS = np.array([[True, False, True]] * 4)
NUMBERS = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("loss", "targets", "outputs", "kinds"),
    [
        # A class that is ruled out is meant, unless it is the right one, or all are.
        (cross_entropy, np.zeros(4, np.int32), [[1, -INF, 2], [NAN, 0, 0], [0, INF, 0], [-INF, 0, 0]], [2, 1, 0]),
        (cross_entropy, np.zeros(4, np.int32), [[-INF] * 3, [1, 2, 3], [0, 3e38, 0], [1, 1, 1]], [0, 1, 0]),
        (mse, np.zeros(4, np.int32), [[1, -INF, 2], [NAN, 0, 0], [0, INF, 0], [0, 0, 0]], [2, 0, 0]),
        (binary_cross_entropy, LABELS, [[1, 0, 1], [-INF, 0, 0], [0, 0, NAN], [INF, 0, 0]], [3, 0, 0]),
        (mse, LABELS, [[INF, 0, 1], [0, 0, 0], [3e38, 0, 0], [0, 0, 0]], [1, 0, 0]),
        (mse, NUMBERS, [[1, 2, 3], [1e25, 0, 0], [INF, 0, 0], [0, -INF, 0]], [2, 1, 0]),
        (losses.huber, NUMBERS, [[1, 2, 3], [1e25, 0, 0], [INF, 0, 0], [0, NAN, 0]], [2, 0, 0]),
    ],
)
def test_what_counts_as_not_finite(loss, targets, outputs, kinds) -> None:
    z = jnp.asarray(outputs, jnp.float32)
    found = step.nonfinite({"x": jnp.zeros((4, 2)), "y": jnp.asarray(targets)}, z, loss(z, jnp.asarray(targets), 0.0))
    assert found.sum(1).tolist() == kinds


def test_a_sequence_counts_once() -> None:
    z, y = jnp.zeros((3, 5, 4)).at[1, 2:, 3].set(NAN), jnp.zeros((3, 5), jnp.int32)
    assert step.nonfinite({"x": y, "y": y}, z, cross_entropy(z, y)).sum(1).tolist() == [1, 0, 0]


def test_a_class_that_is_ruled_out_has_the_loss_of_the_others() -> None:
    z, y = np.array([[0.5, -INF, 2.0]]), np.array([2])
    expected = -np.log(np.exp(2) / (np.exp(0.5) + np.exp(2)))
    assert cross_entropy(jnp.asarray(z), jnp.asarray(y)) == pytest.approx(expected, rel=1e-6)
    assert quick(cross_entropy)(jnp.asarray(z), jnp.asarray(y), 0.0) == pytest.approx(expected, rel=1e-6)
    slope = jax.grad(lambda z: cross_entropy(z, jnp.asarray(y), jnp.float32(0)).sum())(jnp.asarray(z, jnp.float32))
    p = np.exp(0.5) / (np.exp(0.5) + np.exp(2))
    np.testing.assert_allclose(slope, [[p, 0, -p]], rtol=1e-6)


@pytest.mark.parametrize(
    ("kinds", "loss", "text"),
    [
        ((12, 0, 0), NAN, "val: the outputs of 12 of 180 examples (6.7 %) are not finite"),
        ((0, 1, 0), INF, "val: the losses of 1 of 180 examples (0.6 %) are not finite"),
        (
            (2, 1, 2),
            NAN,
            "val: the outputs or losses of 3 of 180 examples (1.7 %) are not finite, nor are the inputs of 2",
        ),
        ((0, 0, 0), INF, "val: the mean loss is not finite"),
        ((0, 0, 0), 3.0, None),
    ],
)
def test_it_is_told_with_split_and_share(kinds, loss, text) -> None:
    found = unsound("val", {"nonfinite": np.array(kinds), "loss": np.float32(loss), "count": np.float32(180)})
    assert found == text or found.startswith(str(text))


# Runs

VAL, TEST = 144, 359


@pytest.fixture
def spoil(monkeypatch):
    """Makes inputs of class 3 NaN where a condition of (state, number of examples) holds, in evaluations alone."""
    original = step.eval_step

    def give(condition):
        def evaluate(of, graphdef, state, batch, mask):
            chosen = condition(state, mask.sum()) & (batch["y"] == 3)
            x = jnp.where(jnp.expand_dims(chosen, range(1, batch["x"].ndim)), NAN, batch["x"])
            return original(of, graphdef, state, {**batch, "x": x}, mask)

        monkeypatch.setattr(step, "eval_step", evaluate)

    return give


def splits(run, name="val"):
    return [row for row in run.rows if row["split"] == name]


def test_an_evaluation_that_is_not_finite_is_no_result_and_training_goes_on(dlrun, spoil) -> None:
    how = (*QUICK, "epochs=4", "on_nonfinite=skip", "optim.lr=3e-3")
    sound = dlrun(*how)
    best = sound.summary["best/step"]
    spoil(lambda state, n: state.step == best)
    run = dlrun(*how)
    assert run.code == 0
    (at,) = [i for i, row in enumerate(run.rows) if "nonfinite" in row]
    bad, before = run.rows[at], sound.rows[at]
    n = bad["nonfinite"]
    assert bad["step"] == before["step"] == best
    assert 10 < n < 20, "a tenth of the rows"
    told = f"warning: val: the outputs of {n} of {VAL} examples ({100 * n / VAL:.1f} %) are not finite"
    assert [line for line in run.err.splitlines() if line.startswith("warning")] == [
        f"{told}, nor are the inputs of {n} of them, at step {best}: this evaluation is no result"
    ]
    assert bad["loss"] is None
    assert bad["macro_f1"] is None
    right = before["accuracy"] * VAL
    assert right - n <= round(bad["accuracy"] * VAL) <= right
    others = [row for row in splits(run) if row is not bad]
    assert run.summary["best/step"] == max(others, key=lambda row: (row["accuracy"], row["step"]))["step"] != best
    for i, (row, other) in enumerate(zip(run.rows, sound.rows, strict=True)):
        if i != at and row["split"] != "test":
            assert {**row, "time": 0} == {**other, "time": 0}, "training is what it would have been"


def test_it_stops_the_run_unless_asked_otherwise(dlrun, spoil) -> None:
    spoil(lambda state, n: state.step >= 40)
    run = dlrun(*QUICK, "epochs=4")
    assert (run.code, run.run["status"]) == (1, "diverged")
    assert run.run["error"].startswith("val: the outputs of ")
    assert run.run["error"].endswith(", at step 40")
    assert run.run["error"] in run.err
    assert not (run.directory / "summary.json").exists()
    assert [row["step"] for row in splits(run)] == [20, 40]


def test_without_any_finite_evaluation_the_last_state_is_tested_and_that_is_said(dlrun, spoil) -> None:
    """Patience takes each as no improvement, and so does the plateau schedule."""
    spoil(lambda state, n: n == VAL)
    more = ("early_stop.patience=3", "schedule=plateau", "schedule.patience=1", "schedule.factor=0.5", "log.every=20")
    run = dlrun(*QUICK, "epochs=9", "on_nonfinite=skip", *more)
    assert run.code == 0, run.err
    assert run.summary["step"] == 60
    assert run.summary["best/step"] is None
    assert not any(name.startswith("best/val") for name in run.summary)
    assert run.summary["test/accuracy"] > 0
    rates = [row["lr"] for row in splits(run, "train")]
    assert rates == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])
    assert (
        "warning: no evaluation has a finite val/accuracy: no state is the best, so the last one is tested" in run.err
    )
    assert run.err.splitlines()[-1].endswith("(last state, step 60)")
    (read,) = load([run.directory])
    assert read.metric("val/accuracy") is None


def test_a_test_split_that_is_not_finite_is_no_result(dlrun) -> None:
    """Inputs so far out that what is computed of them overflows."""
    random = np.random.default_rng(0)
    x = 1e-6 * random.normal(size=(90, 4)).astype(np.float32)
    x_test = x[:20].copy()
    x_test[[3, 11], 2] = 1e18
    np.savez("mine.npz", x_train=x, y_train=x[:, 0] * 1e6, x_test=x_test, y_test=x[:20, 0] * 1e6)
    how = ("data=arrays", "data.path=mine.npz", "model=logistic", "steps=4", "batch_size=30", "log.plot=false")
    run = dlrun(*how, "on_nonfinite=skip", "init=he_normal")
    assert (run.code, run.run["status"]) == (1, "diverged"), run.err
    assert (
        run.run["error"] == "test: the losses of 2 of 20 examples (10.0 %) are not finite, by the best state, of step 4"
    )
    assert run.rows[-1] == run.rows[-1] | {"split": "test", "loss": None, "rmse": None, "r2": None, "nonfinite": 2}
    assert not (run.directory / "summary.json").exists()


def test_a_spoilt_run_of_a_stack_leaves_the_others_as_they_are(dlrun, spoil) -> None:
    alone = dlrun(*SMALL, "epochs=2", "optim.lr=0.1")
    spoil(lambda state, n: state.numbers["optim.lr"] > 0.15)
    done = dlrun("-m", *SMALL, "epochs=2", "optim.lr=0.1,0.2,0.11")
    assert statuses(done.directory) == ["completed", "diverged", "completed"]
    one, gone, _ = runs(done.directory)
    assert digest(one) == digest(alone.directory)
    error = json.loads((gone / "run.json").read_text())["error"]
    assert error.startswith("val: the outputs of ")
    assert f"job 1: optim.lr=0.2: diverged: {error}" in done.err
    assert words(one)[-1] == "optim.lr=0.1"


def test_readers_take_no_best_from_an_evaluation_that_is_no_result(tmp_path) -> None:
    rows = [
        {"step": 1, "split": "val", "accuracy": 0.5, "loss": 1.0},
        {"step": 2, "split": "val", "accuracy": 0.9, "loss": None, "nonfinite": 3},
    ]
    atomic.write_json(tmp_path / "run.json", {"format": 1, "status": "running", "config": {}})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert LiveRows(tmp_path).read().most["val/accuracy"] == 0.5
    (run,) = load([tmp_path])
    assert run.metric("val/accuracy") == 0.5
    assert run.metric("val/accuracy", "last") == 0.9


def test_a_position_of_an_earlier_version_that_is_not_finite_is_none() -> None:
    at = Position.saved({"best": NAN, "best_step": 3, "mark": NAN, "plateau": [NAN, 2]})
    assert (at.best, at.best_step, at.mark, at.plateau) == (None, None, None, (None, 2))
    at = at.on_plateau(NAN, factor=0.5, patience=5, min_scale=0)
    assert at.plateau == (None, 3)
    at = at.on_plateau(-2.0, factor=0.5, patience=5, min_scale=0)
    assert at.plateau == (-2.0, 0)


# Examples at a time


def test_peak_memory_by_hand() -> None:
    x, w = jnp.zeros((8, 100)), jnp.zeros((100, 50))

    def counted(f) -> int:
        return memory.peak(jax.make_jaxpr(f)(x, w).jaxpr)

    product, scalar = 8 * 50 * 4, 4
    assert counted(lambda x, w: x @ w) == product
    assert counted(lambda x, w: (x @ w).sum()) == product + scalar
    assert counted(lambda x, w: jnp.tanh(x @ w).sum(1)) == 2 * product, "an argument of what comes next, no longer"
    assert counted(lambda x, w: (x @ w) + jnp.tanh(x @ w)) == 3 * product, "two of them are waited for"
    assert counted(lambda x, w: jax.jit(lambda a: jnp.tanh(a @ w).sum(1))(x)) == 2 * product
    many = jax.lax.scan(lambda carry, row: (carry, jnp.outer(row, row)), 0.0, x)[1].nbytes
    assert many == 8 * 100 * 100 * 4
    looped = counted(lambda x, w: jax.lax.scan(lambda carry, row: (carry, jnp.outer(row, row)), 0.0, x)[1])
    assert many < looped <= 1.3 * many
    either = counted(lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: (x @ w).sum(), lambda: 0.0))
    assert product < either < 2 * product


def prepared(*overrides: str) -> Setup:
    return prepare.prepare(prepare.checked(*composition.compose(composition.loader([]), list(overrides))))


def test_a_language_model_takes_as_many_rows_as_fit(own_folder, monkeypatch) -> None:
    """Of the shape of GPT-2 small: a row of 1,024 tokens has 50 MB of attention's logits a layer, in three copies."""
    (own_folder / "book.txt").write_text("All work and no play makes Jack a dull boy. " * 30_000)
    setup = prepared(
        "data=text", "data.path=book.txt", "data.length=1024", "model=transformer", "model.width=768",
        "model.depth=12", "model.heads=12", "batch_size=8",
    )  # fmt: skip
    compiled = CompiledProgram(setup)
    assert 84e6 < setup.parameter_count < 88e6
    most = len(setup.data.val)
    assert 100 < most < MOST_EVALUATED
    one = compiled.eval_bytes(2) - compiled.eval_bytes(1)
    assert 3 * 12 * 1024**2 * 4 < one < 2 * 3 * 12 * 1024**2 * 4
    for room, size, of_four in ((2e9, 8, 2), (24e9, most, 32), (1e9, 4, 1), (1, 1, 1)):
        monkeypatch.setattr(memory, "room", lambda devices, room=room: int(room))
        fresh = CompiledProgram(setup)
        assert fresh.eval_size() == size
        assert size == 1 or compiled.eval_bytes(size) <= room
        assert size == most or compiled.eval_bytes(2 * size) > room
        assert fresh.eval_size(4) == of_four, "a stack shares the memory"


def test_a_small_model_takes_a_whole_split_and_a_given_size_stays(monkeypatch) -> None:
    assert CompiledProgram(prepared("model.widths=[8]")).eval_size() == TEST
    monkeypatch.setattr(memory, "room", lambda devices: 1)
    assert CompiledProgram(prepared("model.widths=[8]", "eval.batch_size=100")).eval_size(9) == 100
    assert CompiledProgram(prepared("model.widths=[8]")).eval_size() == 1


def test_the_share_of_the_memory() -> None:
    assert 2**26 < memory.room(1) < 2**44
    assert memory.room(4) == memory.room(1), "devices made of one CPU share its memory"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("model=mlp",), ("model=transformer",), ("model=lstm",), ("model=resnet", "model.depth=8")],
    ids=" ".join,
)
def test_what_is_told_of_the_trace_is_what_the_compiler_plans(words) -> None:
    """Within a factor of 3; it is compiled as users do."""
    setup = prepared(*words, "compile_cache=null")
    size = 128
    rows = {"x": setup.examples(size), "y": setup.targets(size)}
    compiled = jax.jit(partial(step.eval_step, setup.program, setup.graphdef)).lower(
        setup.shapes, rows, jax.ShapeDtypeStruct((size,), np.float32)
    )
    real = compiled.compile().memory_analysis().temp_size_in_bytes
    told = CompiledProgram(setup).eval_bytes(size)
    assert real / 3 < told < 3 * real


N = 41
RANDOM = np.random.default_rng(0)
TASKS = {
    "classification": RANDOM.integers(0, 3, N).astype(np.int32),
    "multilabel": RANDOM.integers(0, 2, (N, 3)).astype(bool),
    "regression": RANDOM.normal(5, 2, (N, 3)).astype(np.float32),
    "language_modelling": RANDOM.integers(0, 3, (N, 6)).astype(np.int32),
}


@pytest.mark.parametrize("task", TASKS)
def test_results_do_not_depend_on_the_size(task: str) -> None:
    y = TASKS[task]
    tokens = task == "language_modelling"
    x = RANDOM.integers(0, 3, (N, 6)).astype(np.int32) if tokens else RANDOM.normal(3, 2, (N, 5)).astype(np.float32)
    split = Rows(x, y, characters=2 * y.size)
    data = Dataset("tokens" if tokens else "rows", tuple("abc"), split, split, split, task=task, vocabulary=3 * tokens)
    inputs = Inputs("tokens", (6,), 3, True) if tokens else Inputs("rows", (5,))
    how = {"model": "transformer", "model_values": {"patch": None}} if tokens else {}
    of = program(inputs=inputs, task=metrics.task(data), loop=True, **how)
    graphdef, state = start(of, numbers())
    table, rows = batches.one_table(data)
    found = []
    for size in (1, 16, N):
        evaluate = quick(partial(step.eval_steps, of, graphdef))
        order = batches.in_order(rows["test"], size, -(-N // size))
        one = {"x": jnp.asarray(x[:1]), "y": jnp.asarray(y[:1])}
        sums = jax.eval_shape(partial(step.eval_step, of, graphdef), state, one, jnp.ones(1))
        sums = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), sums)
        sums = jax.device_get(evaluate(state, sums, table, order, np.int32(0), np.int32(len(order))))
        means = {k: float(sums[k] / sums["count"]) for k in ("loss", *of.task.metrics)}
        found.append((of.task.report("test", means, sums), of.task.details(sums)))
        assert sums["count"] == N
    (first, details), *others = found
    for reported, other in others:
        assert reported == pytest.approx(first, rel=1e-5)
        assert other == details, "counts are the same number"
    if not tokens:
        forward = quick(partial(step.forward, of, graphdef, train=False))
        batch = step.take(table, rows["test"])
        loss = losses.auto(forward(state.params, state.variables, batch["x"])[0], batch["y"], 0.0)
        assert first["loss"] == pytest.approx(np.mean(np.float64(loss)), rel=1e-5)


def test_a_run_records_it_and_a_stack_computes_the_same(dlrun, monkeypatch) -> None:
    whole = dlrun(*SMALL, "epochs=1", "seed=1")
    assert whole.run["eval_batch_size"] == TEST
    compiled = CompiledProgram(prepared(*SMALL))
    monkeypatch.setattr(memory, "room", lambda devices: int(1.1 * compiled.eval_bytes(64)))
    parts = dlrun(*SMALL, "epochs=1", "seed=1")
    assert parts.run["eval_batch_size"] == 64
    for row, other in zip(parts.rows, whole.rows, strict=True):
        assert row.pop("split") == other.pop("split")
        assert {**row, "time": 0} == pytest.approx({**other, "time": 0}, rel=1e-5)
    assert parts.summary["confusion"] == whole.summary["confusion"]
    done = dlrun("-m", *SMALL, "epochs=1", "seed=0,1")
    assert digest(runs(done.directory)[1]) == digest(parts.directory)
    at_once = dlrun("-m", *SMALL, "epochs=1", "seed=0,1", "launcher.vmap=true")
    assert json.loads((runs(at_once.directory)[1] / "run.json").read_text())["eval_batch_size"] == 32
