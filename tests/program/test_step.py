"""The compiled step against independent references: PyTorch's goldens, closed forms, and what must not change."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlrun.config.choice import Choice
from dlrun.nn import activations, norms
from dlrun.objective.losses import cross_entropy
from dlrun.optim import optimizers, schedules
from dlrun.optim.loss_scale import LossScale
from dlrun.program import step
from tests.tiny import arrays, assert_same, batch, compiled, numbers, program, quick, start, with_arrays

GOLDENS = Path(__file__).parents[1] / "goldens"

# As in goldens/make.py.
STEPS: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "mlp": (
        {"act": activations.tanh, "norm": norms.batch, "optim": Choice(optimizers.sgd, (("nesterov", True),))},
        {"optim__lr": 0.1, "optim__momentum": 0.9, "optim__weight_decay": 1e-2,
         "clip_norm": 0.5, "label_smoothing": 0.1},
    ),
    "cnn": (
        {"act": activations.swish, "norm": norms.none, "optim": optimizers.adam},
        {"optim__lr": 0.01, "optim__b1": 0.8, "optim__b2": 0.9, "optim__eps": 1e-3, "clip_norm": 0.05},
    ),
    "resnet": (
        {"act": activations.relu, "norm": norms.batch, "optim": optimizers.sgd},
        {"optim__lr": 0.1, "optim__momentum": 0.9, "optim__weight_decay": 5e-2,
         "clip_norm": 1.0, "label_smoothing": 0.05},
    ),
    "transformer": (
        {"act": activations.gelu, "norm": norms.layer, "optim": optimizers.adamw},
        {"optim__lr": 0.02, "optim__b1": 0.9, "optim__b2": 0.99, "optim__eps": 1e-3, "optim__weight_decay": 0.1,
         "clip_norm": 0.3, "label_smoothing": 0.1},
    ),
}  # fmt: skip


def close(found: dict[str, np.ndarray], golden: Any, prefix: str, *, rtol: float, atol: float) -> None:
    """Every leaf of ``found`` equals the golden's of that path, and the golden has no other."""
    assert found.keys() == {k.removeprefix(prefix) for k in golden if k.startswith(prefix)}
    for path, value in found.items():
        np.testing.assert_allclose(value, golden[prefix + path], rtol=rtol, atol=atol, err_msg=path)


@pytest.mark.parametrize("model", STEPS)
def test_two_steps_and_an_evaluation_are_pytorch_s(model: str) -> None:
    parts, values = STEPS[model]
    golden = dict(np.load(GOLDENS / f"{model}.npz"))
    of = program(model, schedule=schedules.warmup_cosine, **parts)
    graphdef, state = start(of, numbers(schedule__warmup=2, schedule__final=0.1, **values))
    before = {k.removeprefix("before/"): v for k, v in golden.items() if k.startswith("before/")}
    statistics = {k: v for k, v in before.items() if k.split("/")[-1] in ("mean", "var")}
    weights = {k: v for k, v in before.items() if k not in statistics}
    assert weights.keys() == arrays(state.params).keys(), "the golden has every parameter"
    state = replace(
        state, params=with_arrays(state.params, weights), variables=with_arrays(state.variables, statistics)
    )

    run = compiled(of, graphdef)
    for i in range(2):
        state, metrics = run(state, {"x": jnp.asarray(golden["x"][i]), "y": jnp.asarray(golden["y"][i])})
        np.testing.assert_allclose(metrics["sum"]["loss"], golden["loss"][i], rtol=1e-5)
        np.testing.assert_allclose(metrics["sum"]["grad_norm"], golden["grad_norm"][i], rtol=1e-5)
        np.testing.assert_allclose(metrics["last"]["lr"], golden["lr"][i], rtol=1e-6)
        assert metrics["sum"]["count"] == 1
    after = arrays(state.params) | arrays(nnx.filter_state(state.variables, nnx.BatchStat))
    close(after, golden, "after/", rtol=1e-4, atol=2e-6)
    evaluate = quick(lambda state, x: step.forward(of, graphdef, state.params, state.variables, x, train=False)[0])
    outputs = evaluate(state, golden["x"][0])
    np.testing.assert_allclose(outputs, golden["outputs"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "loop"), [("mlp", True), ("cnn", False), ("transformer", True)])
def test_accumulation_gives_the_gradient_of_the_whole_batch(model: str, loop: bool) -> None:
    # Plain SGD at rate 1 without weight decay: the parameters move by the gradient.
    values = numbers(optim__lr=1.0, optim__momentum=0, optim__weight_decay=0, label_smoothing=0.1)
    whole = program(model, norm=norms.layer, loop=loop, model_values={"depth": 1} if model == "transformer" else None)
    graphdef, state = start(whole, values)
    data = batch(12)
    once, metrics = compiled(whole, graphdef)(state, data)
    parts, summed = compiled(replace(whole, accumulate=3), graphdef)(state, data)
    moved = jax.tree.map(jnp.subtract, once.params, state.params)
    assert max(np.abs(v).max() for v in arrays(moved).values()) > 1e-2
    for path, value in arrays(once.params).items():
        np.testing.assert_allclose(arrays(parts.params)[path], value, rtol=1e-5, atol=2e-6, err_msg=path)
    for name, value in metrics["sum"].items():
        np.testing.assert_allclose(summed["sum"][name], value, rtol=1e-5, err_msg=name)
    assert summed["sum"]["count"] == 1
    assert int(parts.step) == 1


def test_accumulation_with_batch_norm_sees_each_part_once() -> None:
    of = program("mlp", norm=norms.batch, accumulate=2)
    graphdef, state = start(of, numbers())
    data = batch(8)
    after, _ = compiled(of, graphdef)(state, data)
    # The first layer's running mean, by hand: two parts, one after the other.
    z = np.asarray(data["x"]).reshape(8, -1) @ arrays(state.params)["hidden/0/linear/kernel"]
    mean = 0.9 * (0.1 * z[:4].mean(0)) + 0.1 * z[4:].mean(0)
    np.testing.assert_allclose(arrays(after.variables)["hidden/0/norm/mean"], mean, rtol=1e-4, atol=1e-6)


def test_clipping_scales_the_whole_gradient_and_only_down() -> None:
    of = program("mlp")
    values = {"optim__lr": 1.0, "optim__momentum": 0, "optim__weight_decay": 0}
    graphdef, state = start(of, numbers(**values))
    _, clipped_state = start(of, numbers(clip_norm=0.1, **values))
    _, loose_state = start(of, numbers(clip_norm=1e3, **values))
    run, data = compiled(of, graphdef), batch()

    def movement(state):
        after, metrics = run(state, data)
        moved = arrays(jax.tree.map(jnp.subtract, after.params, state.params))
        return np.concatenate([v.ravel() for v in moved.values()]), metrics["sum"]["grad_norm"]

    free, norm = movement(state)
    clipped, norm_before = movement(clipped_state)
    loose, _ = movement(loose_state)
    np.testing.assert_allclose(np.linalg.norm(free), norm, rtol=1e-5)
    np.testing.assert_allclose(norm_before, norm, rtol=1e-6)  # reported before clipping
    np.testing.assert_allclose(np.linalg.norm(clipped), 0.1, rtol=1e-4)
    np.testing.assert_allclose(clipped, free * 0.1 / norm, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(loose, free, rtol=1e-5, atol=1e-7)


def test_ema_is_the_moving_average_and_is_what_evaluation_uses() -> None:
    of = program("mlp")
    graphdef, state = start(of, numbers(ema=0.75))
    assert_same(state.ema, state.params)
    run, data = compiled(of, graphdef), batch()
    average = arrays(state.params)
    # The decay rises to its value: (1 + step) / (10 + step) at most.
    for number, decay in ((0, 1 / 10), (1, 2 / 11), (8, 9 / 18), (40, 0.75), (41, 0.75)):
        state, _ = run(replace(state, step=jnp.int32(number)), batch(seed=number))
        average = {k: decay * v + (1 - decay) * arrays(state.params)[k] for k, v in average.items()}
    for path, value in arrays(state.ema).items():
        np.testing.assert_allclose(value, average[path], rtol=1e-5, atol=1e-7, err_msg=path)

    mask = jnp.ones(8)
    evaluate = quick(partial(step.eval_step, of, graphdef))
    by_ema = evaluate(state, data, mask)
    by_hand = evaluate(replace(state, params=state.ema), data, mask)
    by_weights = evaluate(replace(state, ema=state.params), data, mask)
    assert by_ema["loss"] == by_hand["loss"] != by_weights["loss"]


def test_evaluation_counts_the_examples_under_the_mask_alone() -> None:
    of = program("mlp", norm=norms.batch)
    graphdef, state = start(of, numbers(label_smoothing=0.3))
    data = batch(6)
    mask = jnp.array([1.0, 1, 0, 1, 0, 1])
    found = quick(partial(step.eval_step, of, graphdef))(state, data, mask)
    forward = quick(partial(step.forward, of, graphdef, train=False))
    outputs, _ = forward(state.params, state.variables, data["x"])
    kept = np.flatnonzero(mask)
    loss = cross_entropy(outputs, data["y"])[kept].sum()  # without smoothing: runs stay comparable
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-6)
    assert found["count"] == 4
    assert found["accuracy"] == (outputs.argmax(1) == data["y"])[kept].sum()


@pytest.mark.parametrize("loop", [False, True])
def test_steps_over_an_epoch_are_the_single_steps(loop: bool) -> None:
    of = program("mlp", norm=norms.batch, loop=loop)
    graphdef, state = start(of, numbers(dropout=0.2))
    random = np.random.default_rng(0)
    data = {
        "x": jnp.asarray(random.integers(0, 17, (20, 8, 8, 1)), jnp.uint8),
        "y": jnp.asarray(random.integers(0, 3, 20), jnp.int32),
        "mean": jnp.array([4.0]), "std": jnp.array([2.0]),
    }  # fmt: skip
    order = jnp.asarray(random.permutation(20).reshape(5, 4), jnp.int32)
    zero = {k: jnp.float32(0) for k in ("loss", "accuracy", "grad_norm", "count")}
    totals = {"sum": zero, "last": {"lr": jnp.float32(0)}}
    run = quick(lambda state, totals, i, n: step.train_steps(of, graphdef, state, totals, data, order, i, n))
    many, counted = state, totals
    for i, n in ((1, 3),) if loop else ((1, 1), (2, 1), (3, 1)):
        many, counted = run(many, counted, i, n)

    single, one, losses = state, compiled(of, graphdef), []
    for i in (1, 2, 3):
        x = (np.asarray(data["x"])[order[i]] - 4.0) / 2.0
        single, metrics = one(single, {"x": jnp.asarray(x, jnp.float32), "y": data["y"][order[i]]})
        losses.append(float(metrics["sum"]["loss"]))
    assert int(many.step) == 3
    assert counted["sum"]["count"] == 3
    np.testing.assert_allclose(counted["sum"]["loss"], sum(losses), rtol=1e-5)
    for path, value in arrays((many.params, many.variables)).items():
        expected = arrays((single.params, single.variables))[path]
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6, err_msg=path)


# Half precision


@pytest.mark.parametrize(("model", "norm"), [("mlp", norms.batch), ("cnn", norms.layer), ("transformer", norms.layer)])
def test_half_precision_takes_nearly_the_same_step(model: str, norm: Any) -> None:
    whole = program(model, norm=norm, model_values={"depth": 1} if model == "transformer" else None)
    graphdef, state = start(whole, numbers(optim__lr=0.1, optim__momentum=0.9))
    a, metrics = compiled(whole, graphdef)(state, batch())
    for dtype, scale in ((jnp.bfloat16, None), (jnp.float16, LossScale.start())):
        b, half_metrics = compiled(replace(whole, dtype=dtype), graphdef)(replace(state, loss_scale=scale), batch())
        assert half_metrics["sum"]["count"] == 1
        np.testing.assert_allclose(half_metrics["sum"]["loss"], metrics["sum"]["loss"], rtol=0.02)
        np.testing.assert_allclose(half_metrics["sum"]["grad_norm"], metrics["sum"]["grad_norm"], rtol=0.03)
        for path, value in arrays(a.params).items():
            moved = np.abs(value - arrays(state.params)[path]).max()
            np.testing.assert_allclose(arrays(b.params)[path], value, atol=0.1 * moved + 1e-4, err_msg=path)


def small_loss(outputs, labels, smoothing):
    return 1e-6 * cross_entropy(outputs, labels, smoothing)


def test_loss_scaling_saves_gradients_too_small_for_float16() -> None:
    # Gradients of the outputs are about 1e-8, below float16's smallest number, 6e-8.
    of = program("mlp", dtype=jnp.float16, loss=small_loss)
    graphdef, state = start(of, numbers())
    _, scaled = compiled(of, graphdef)(state, batch(32))
    _, unscaled = compiled(of, graphdef)(replace(state, loss_scale=None), batch(32))
    _, exact = compiled(replace(of, dtype=jnp.float32), graphdef)(replace(state, loss_scale=None), batch(32))
    assert unscaled["sum"]["grad_norm"] < 0.5 * exact["sum"]["grad_norm"]
    np.testing.assert_allclose(scaled["sum"]["grad_norm"], exact["sum"]["grad_norm"], rtol=0.05)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_overflow_in_float16_changes_nothing_but_step_and_scale(accumulate: int) -> None:
    of = program("mlp", norm=norms.batch, optim=optimizers.adam, dtype=jnp.float16, accumulate=accumulate)
    graphdef, state = start(of, numbers(dropout=0.2, ema=0.9))
    run = compiled(of, graphdef)
    state, _ = run(state, batch())  # moments, statistics, average and keys are no longer the initial ones
    after, metrics = run(state, batch(scale=1e6))
    assert_same(replace(after, step=state.step, loss_scale=state.loss_scale), state)
    assert int(after.step) == int(state.step) + 1
    assert float(after.loss_scale.scale) == float(state.loss_scale.scale) / 2 == 2.0**14
    assert int(after.loss_scale.streak) == 0
    assert int(after.skipped) == 0, "a smaller scale may cure it"
    assert {k: float(v) for k, v in metrics["sum"].items()} == dict.fromkeys(metrics["sum"], 0.0)
    # And it goes on.
    further, metrics = run(after, batch())
    assert metrics["sum"]["count"] == 1
    assert int(further.loss_scale.streak) == 1


def test_an_overflow_of_the_scale_alone_is_cured_by_a_smaller_one() -> None:
    of = program("mlp", dtype=jnp.float16)
    graphdef, state = start(of, numbers())
    state = replace(state, loss_scale=LossScale(jnp.float32(2.0**24), jnp.int32(5)))
    run, taken = compiled(of, graphdef), 0.0
    for _ in range(20):
        state, metrics = run(state, batch())
        taken += float(metrics["sum"]["count"])
    assert taken > 5
    assert int(state.skipped) == 0
    assert 2.0**10 <= float(state.loss_scale.scale) < 2.0**24


def test_loss_scale_grows_after_2000_good_steps_and_stays_in_its_range() -> None:
    scale = LossScale.start()
    after = quick(lambda scale, finite: scale.after(finite))
    for _ in range(1999):
        scale = after(scale, True)
    assert (float(scale.scale), int(scale.streak)) == (2.0**15, 1999)
    scale = after(scale, True)
    assert (float(scale.scale), int(scale.streak)) == (2.0**16, 0)
    assert float(after(LossScale(jnp.float32(2.0**24), jnp.int32(1999)), True).scale) == 2.0**24
    assert float(after(LossScale(jnp.float32(1.0), jnp.int32(3)), False).scale) == 1.0


# Steps that are not finite


NOT_FINITE = {"x": jnp.full((8, 8, 8, 1), jnp.nan), "y": jnp.zeros(8, jnp.int32)}


def test_on_nonfinite_stop_the_state_stays_at_the_step_that_failed() -> None:
    of = program("mlp", norm=norms.batch, optim=optimizers.adam)
    graphdef, state = start(of, numbers(dropout=0.1, ema=0.9, max_skipped=0))
    run = compiled(of, graphdef)
    state, _ = run(state, batch())
    after, metrics = run(state, NOT_FINITE)
    assert_same(replace(after, skipped=state.skipped), state)
    assert int(after.skipped) == 1
    assert metrics["sum"]["count"] == 0
    # Nothing changes any more, whatever follows.
    for data in (batch(), NOT_FINITE, batch(seed=1)):
        again, metrics = run(after, data)
        assert_same(again, after)
        assert metrics["sum"]["count"] == 0


def test_on_nonfinite_stop_a_float16_run_stops_where_no_smaller_scale_is_left() -> None:
    of = program("mlp", dtype=jnp.float16)
    graphdef, state = start(of, numbers(max_skipped=0))
    run = compiled(of, graphdef)
    for _ in range(15):
        state, _ = run(state, NOT_FINITE)
    assert (float(state.loss_scale.scale), int(state.skipped), int(state.step)) == (1.0, 0, 15)
    stopped, _ = run(state, NOT_FINITE)
    assert (int(stopped.skipped), int(stopped.step)) == (1, 15)
    for data in (batch(), NOT_FINITE):
        assert_same(run(stopped, data)[0], stopped)


def test_on_nonfinite_skip_goes_on_up_to_the_limit() -> None:
    of = program("mlp", norm=norms.batch, optim=optimizers.adamw)
    graphdef, state = start(of, numbers(max_skipped=2, dropout=0.1))
    run = compiled(of, graphdef)
    for skipped in (1, 2):
        after, metrics = run(state, NOT_FINITE)
        assert_same(replace(after, step=state.step, skipped=state.skipped), state)
        assert (int(after.step), int(after.skipped)) == (int(state.step) + 1, skipped)
        assert metrics["sum"]["count"] == 0
        state, metrics = run(after, batch(seed=skipped))
        assert (int(state.step), float(metrics["sum"]["count"])) == (2 * skipped, 1)
    after, _ = run(state, NOT_FINITE)
    assert_same(replace(after, skipped=state.skipped), state)
    assert int(after.skipped) == 3
    assert_same(run(after, batch())[0], after)


def test_a_gradient_that_is_not_finite_is_caught_though_the_loss_is() -> None:
    def spiked(outputs, labels, smoothing):
        # 0 everywhere, but the root's slope at 0 is infinite: the gradient is 0 times infinity.
        return cross_entropy(outputs, labels, smoothing) + jnp.sqrt(jnp.zeros_like(outputs[:, 0]) * outputs[:, 0])

    of = program("mlp", loss=spiked)
    graphdef, state = start(of, numbers())
    after, metrics = compiled(of, graphdef)(state, batch())
    assert_same(replace(after, skipped=state.skipped), state)
    assert int(after.skipped) == 1
    assert metrics["sum"]["count"] == 0


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    of = program("mlp", norm=norms.layer, optim=optimizers.adamw)
    graphdef, first = start(of, numbers(dropout=0.3), seed=3)
    _, second = start(of, numbers(dropout=0.3), seed=3)
    _, other = start(of, numbers(dropout=0.3), seed=4)
    run = compiled(of, graphdef)
    for i in range(2):
        first, _ = run(first, batch(seed=i))
        second, _ = run(second, batch(seed=i))
        other, _ = run(other, batch(seed=i))
    assert_same(first, second)
    left, right = arrays(first.params), arrays(other.params)
    assert all((left[k] != right[k]).any() for k in left)
