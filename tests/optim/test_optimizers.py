"""Optimizers against PyTorch and their papers' formulas, step by step; what their states and masks promise."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dlrun.config import catalogue
from dlrun.config.choice import Choice
from dlrun.config.schema import keys
from dlrun.nn import norms
from dlrun.optim import optimizers
from dlrun.program import step
from dlrun.program.pytree import fit, flat
from tests.tiny import arrays, batch, compiled, numbers, program, quick, start

# Weights, and gradients grads[t] + curve·w of four steps; made by goldens/make_optim.py.
GOLDEN = dict(np.load(Path(__file__).parents[1] / "goldens" / "optim.npz"))
RATES = GOLDEN["rates"]
Arrays = dict[str, np.ndarray]  # by path


def at(prefix: str) -> Arrays:
    return {k.removeprefix(prefix + "/"): v.astype(np.float64) for k, v in GOLDEN.items() if k.startswith(prefix + "/")}


BEFORE, GRADS, CURVE = at("before"), at("grads"), at("curve")


def gradient(w: Arrays, t: int) -> Arrays:
    return {k: GRADS[k][t] + CURVE[k] * w[k] for k in w}


def is_kernel(path: str) -> bool:
    return path.endswith("kernel")


def norm(*a: np.ndarray) -> float:
    return float(np.sqrt(sum((x**2).sum() for x in a)))


def each(rule: Callable[..., np.ndarray]) -> Callable[..., Arrays]:
    """A reference that treats every parameter by itself: ``rule(path, t, w, g, lr, memory, **values)`` is what lr·w
    loses at step t (from 1); ``memory`` is an empty dictionary of the parameter's own at the first step."""

    def reference(**values: Any) -> Arrays:
        w, memory = dict(BEFORE), {k: {} for k in BEFORE}
        for t, lr in enumerate(RATES):
            g = gradient(w, t)
            w = {k: w[k] - rule(k, t + 1, w[k], g[k], lr, memory[k], **values) for k in w}
        return w

    return reference


def golden(name: str) -> Callable[..., Arrays]:
    return lambda **values: at(name)


def adam_step(t, g, memory, b1, b2, eps):
    m = memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    v = memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g**2
    return (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)


@each
def adagrad(path, t, w, g, lr, memory, *, initial, eps):
    s = memory["s"] = memory.get("s", initial) + g**2
    return lr * g / np.sqrt(s + eps)


@each
def lion(path, t, w, g, lr, memory, *, b1, b2, weight_decay):
    m = memory.get("m", 0)
    memory["m"] = b2 * m + (1 - b2) * g
    return lr * (np.sign(b1 * m + (1 - b1) * g) + weight_decay * w * is_kernel(path))


@each
def lamb(path, t, w, g, lr, memory, *, b1, b2, eps, weight_decay):
    u = adam_step(t, g, memory, b1, b2, eps)
    if not is_kernel(path):
        return lr * u
    u = u + weight_decay * w
    return lr * u * (norm(w) / norm(u) if norm(w) else 1)


@each
def lars(path, t, w, g, lr, memory, *, momentum, trust_coefficient, weight_decay):
    u = g
    if is_kernel(path):
        u = g + weight_decay * w
        u = u * (trust_coefficient * norm(w) / norm(u) if norm(w) else 1)
    v = memory["v"] = momentum * memory.get("v", 0) + lr * u
    return v


@each
def adafactor_whole(path, t, w, g, lr, memory, *, decay_rate, clipping_threshold, momentum, weight_decay, relative):
    b2 = 1 - t**-decay_rate
    v = memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g**2
    u = g / np.sqrt(v)
    u = u / max(1, np.sqrt((u**2).mean()) / clipping_threshold)
    m = memory["m"] = momentum * memory.get("m", 0) + (1 - momentum) * lr * u
    return m + lr * weight_decay * w * is_kernel(path)


def orthogonal(m: np.ndarray, iterations: int) -> np.ndarray:
    """Newton-Schulz with Jordan's coefficients, on the singular values of a matrix."""
    u, s, v = np.linalg.svd(m, full_matrices=False)
    s = s / norm(m)
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ np.diag(s) @ v


@each
def muon(path, t, w, g, lr, memory, *, momentum, nesterov, iterations, rms, b1, b2, eps, weight_decay):
    if not is_kernel(path) or path.startswith("output"):
        u = adam_step(t, g, memory, b1, b2, eps)
    else:
        m = memory["m"] = momentum * memory.get("m", 0) + (1 - momentum) * g
        unbiased = m / (1 - momentum**t)
        if nesterov:  # as Dozat, 2016
            unbiased = momentum * m / (1 - momentum ** (t + 1)) + (1 - momentum) * g / (1 - momentum**t)
        matrix = unbiased.reshape(-1, w.shape[-1])
        u = rms * np.sqrt(max(matrix.shape)) * orthogonal(matrix, iterations).reshape(w.shape)
    return lr * (u + weight_decay * w * is_kernel(path))


def sam(*, momentum: float, rho: float, weight_decay: float) -> Arrays:
    w, v = dict(BEFORE), dict.fromkeys(BEFORE, 0.0)
    for t, lr in enumerate(RATES):
        g = gradient(w, t)
        size = norm(*g.values())
        g = gradient({k: w[k] + rho * g[k] / size for k in w}, t)
        v = {k: momentum * v[k] + g[k] + weight_decay * w[k] * is_kernel(k) for k in w}
        w = {k: w[k] - lr * v[k] for k in w}
    return w


@dataclass(frozen=True)
class Case:
    """An optimizer's values, all that are traced among them, and what they must lead to."""

    make: Callable[..., Any]
    reference: Callable[..., Arrays]
    values: dict[str, Any]

    @property
    def traced(self) -> dict[str, float]:
        return {k: v for k, v in self.values.items() if keys(self.make)[k].traced}

    @property
    def static(self) -> tuple[tuple[str, Any], ...]:
        return tuple((k, v) for k, v in self.values.items() if k not in self.traced)


ADAM = {"b1": 0.8, "b2": 0.95, "eps": 1e-2}
CASES = {
    # As in goldens/make_optim.py.
    "sgd": Case(optimizers.sgd, golden("sgd"), {"momentum": 0.9, "weight_decay": 0.01}),
    "sgd nesterov": Case(
        optimizers.sgd, golden("sgd_nesterov"), {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    ),
    "adam": Case(optimizers.adam, golden("adam"), ADAM),
    "adamw": Case(optimizers.adamw, golden("adamw"), {**ADAM, "weight_decay": 0.1}),
    "rmsprop": Case(optimizers.rmsprop, golden("rmsprop"), {"b2": 0.8, "momentum": 0.5, "eps": 1e-2}),
    "adagrad": Case(optimizers.adagrad, golden("adagrad"), {"initial": 0.3, "eps": 1e-12}),
    "adafactor": Case(
        optimizers.adafactor,
        golden("adafactor"),
        {"decay_rate": 0.7, "clipping_threshold": 1.25, "factor_from": 2, "weight_decay": 0.1},
    ),
    # By hand.
    "adagrad large eps": Case(optimizers.adagrad, adagrad, {"initial": 0.3, "eps": 1e-1}),
    "lion": Case(optimizers.lion, lion, {"b1": 0.8, "b2": 0.95, "weight_decay": 0.1}),
    "lamb": Case(optimizers.lamb, lamb, {**ADAM, "weight_decay": 0.1}),
    "lars": Case(optimizers.lars, lars, {"momentum": 0.9, "trust_coefficient": 0.1, "weight_decay": 0.1}),
    "adafactor whole": Case(
        optimizers.adafactor,
        adafactor_whole,
        {"decay_rate": 0.7, "clipping_threshold": 1.0, "momentum": 0.5, "weight_decay": 0.1, "relative": False},
    ),
    "muon": Case(
        optimizers.muon,
        muon,
        {"momentum": 0.9, "nesterov": True, "iterations": 5, "rms": 0.3, **ADAM, "weight_decay": 0.1},
    ),
    "muon without nesterov": Case(
        optimizers.muon,
        muon,
        {"momentum": 0.9, "nesterov": False, "iterations": 3, "rms": 0.3, **ADAM, "weight_decay": 0.1},
    ),
    "sam": Case(optimizers.sam, sam, {"momentum": 0.9, "rho": 0.5, "weight_decay": 0.1}),
}
NAMES = sorted({case.make.__name__ for case in CASES.values()})
each_case = pytest.mark.parametrize("name", CASES)
each_optimizer = pytest.mark.parametrize("name", NAMES)


def tree(by_path: Arrays) -> nnx.State:
    """As a model's parameters are given."""
    found: dict[str, Any] = {}
    for path, value in by_path.items():
        module, leaf = path.split("/")
        found.setdefault(module, {})[leaf] = nnx.Param(jnp.asarray(value, jnp.float32))
    return nnx.State(found)


PARAMS = tree(BEFORE)
FEW = tree({k: BEFORE[k] for k in ("hidden/kernel", "hidden/bias", "embed/embedding", "output/kernel")})


@cache
def stepper(make: Callable[..., Any], static: tuple[tuple[str, Any], ...]) -> tuple[Callable[..., Any], list[None]]:
    """One step as the compiled training step takes it, the transformation made anew; and how often it was traced."""
    traces: list[None] = []

    def apply(params, state, grads, curve, traced):
        traces.append(None)

        def grad_fn(params, _=None):
            return jax.tree.map(lambda g, c, w: g + c * w, grads, curve, params)

        optimizer = optax.with_extra_args_support(make(optimizers.kernels, **traced, **dict(static)))
        updates, state = optimizer.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    return quick(apply), traces


def by_ours(case: Case, **changed: float) -> Any:
    """Parameters and optimizer state after the four steps."""
    apply, _ = stepper(case.make, case.static)
    traced = {k: jnp.float32(v) for k, v in {**case.traced, **changed}.items()}
    params, state = PARAMS, case.make(optimizers.kernels, **traced, **dict(case.static)).init(PARAMS)
    for t, lr in enumerate(RATES):
        now = tree({k: v[t] for k, v in GRADS.items()})
        rate = jnp.float32(lr * changed.get("lr", 1))
        params, state = apply(params, state, now, tree(CURVE), {**traced, "lr": rate})
    return params, state


def test_every_optimizer_has_a_case_with_all_its_numbers() -> None:
    assert set(NAMES) == set(catalogue.options("optim", [catalogue.conf()]))
    for name in NAMES:
        given = {k for case in CASES.values() if case.make.__name__ == name for k in case.traced}
        assert given | {"lr"} == {k for k, key in keys(getattr(optimizers, name)).items() if key.traced}


@each_case
def test_steps_are_the_reference_s(name: str) -> None:
    case = CASES[name]
    params, _ = by_ours(case)
    expected = case.reference(**case.values)
    found = arrays(params)
    assert found.keys() == expected.keys() == BEFORE.keys()
    for path in found:
        np.testing.assert_allclose(found[path], expected[path], rtol=2e-4, atol=1e-5, err_msg=path)
        assert np.abs(found[path] - BEFORE[path]).max() > 1e-4


@each_case
def test_one_compilation_serves_every_number(name: str) -> None:
    case = CASES[name]
    base, _ = by_ours(case)
    for key, value in {**case.traced, "lr": 1.0}.items():
        changed, _ = by_ours(case, **{key: 1.1 if key == "clipping_threshold" else value * 0.5})
        moved = max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(base), jax.tree.leaves(changed), strict=True))
        assert moved > 1e-5 or value < 1e-6, f"{key} has no effect"
    _, traces = stepper(case.make, case.static)
    assert len(traces) == 1


@each_case
def test_the_state_s_form_never_changes(name: str) -> None:
    case = CASES[name]

    def init(numbers, params):
        return case.make(optimizers.kernels, **numbers, **dict(case.static)).init(params)

    traced = jax.eval_shape(init, {k: jnp.float32(v) for k, v in case.traced.items()}, PARAMS)
    plain = jax.eval_shape(partial(init, case.traced), PARAMS)
    params, after = by_ours(case)
    forms = [jax.tree.map(lambda a: (a.shape, a.dtype), state) for state in (traced, plain, after)]
    assert forms[0] == forms[1] == forms[2]
    for leaf in jax.tree.leaves(traced):
        assert leaf.dtype == jnp.float32 or (leaf.dtype == jnp.int32 and leaf.shape == ())
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    restored = fit({k: np.asarray(v) for k, v in flat(after).items()}, after)
    jax.tree.map(np.testing.assert_array_equal, restored, after)


# Rates, and other numbers, that suit a quadratic with a curvature of 0.1 to 1; without weight decay.
QUADRATIC = {
    "sgd": {"lr": 0.1},
    "adam": {"lr": 0.05},
    "adamw": {"lr": 0.05},
    "rmsprop": {"lr": 0.02},
    "adagrad": {"lr": 0.5},
    "lion": {"lr": 0.02},
    "lamb": {"lr": 0.05},
    "lars": {"lr": 0.3, "trust_coefficient": 0.05},
    "adafactor": {"lr": 0.1},
    "muon": {"lr": 0.1},
    "sam": {"lr": 0.1},
}


@each_optimizer
def test_a_quadratic_is_minimised(name: str) -> None:
    make, steps = getattr(optimizers, name), 200
    values = {**QUADRATIC[name], **({"weight_decay": 0.0} if "weight_decay" in keys(make) else {})}
    target = jax.tree.map(lambda w: w + 0.5, FEW)

    curve = tree({k: CURVE[k] for k in arrays(FEW)})

    def loss(params):
        return optax.tree.sum(jax.tree.map(lambda c, w, to: c * (w - to) ** 2, curve, params, target))

    def grad_fn(params, _=None):
        return jax.grad(loss)(params)

    def one(t, carry):
        params, state = carry
        now = {**values, "lr": values["lr"] * (1 - t / steps)}
        optimizer = optax.with_extra_args_support(make(optimizers.kernels, **now))
        updates, state = optimizer.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    state = make(optimizers.kernels, **values).init(FEW)
    params, _ = quick(lambda carry: jax.lax.fori_loop(0, steps, one, carry))((FEW, state))
    assert loss(params) < 0.01 * loss(FEW)


@pytest.mark.parametrize("name", [n for n in NAMES if "weight_decay" in keys(getattr(optimizers, n))])
@pytest.mark.parametrize("decay_all", [False, True])
def test_decay_touches_kernels_unless_asked_for_all(name: str, decay_all: bool) -> None:
    make = getattr(optimizers, name)
    assert keys(make)["decay_all"].default is False
    nothing = jax.tree.map(jnp.zeros_like, FEW)
    optimizer = optax.with_extra_args_support(make(optimizers.kernels, weight_decay=0.1, decay_all=decay_all))
    update = quick(lambda params: optimizer.update(nothing, optimizer.init(params), params, grad_fn=lambda *_: nothing))
    updates = arrays(update(FEW)[0])
    assert {path for path, u in updates.items() if u.any()} == {k for k in updates if decay_all or is_kernel(k)}
    for path, u in updates.items():
        assert (u * BEFORE[path] <= 0).all(), "decay is towards 0"
        assert (np.abs(u) < np.abs(BEFORE[path])).all()


def test_optimizers_without_weight_decay_have_no_mask_to_lift() -> None:
    assert {n for n in NAMES if "weight_decay" not in keys(getattr(optimizers, n))} == {"adam", "rmsprop", "adagrad"}
    assert not any("decay_all" in keys(getattr(optimizers, n)) for n in ("adam", "rmsprop", "adagrad"))


def test_muon_s_update_is_nearly_orthogonal_and_as_large_as_adam_s() -> None:
    w = tree({"hidden/kernel": np.zeros((64, 48)), "output/kernel": np.zeros((48, 3))})
    g = tree({k: np.random.default_rng(0).normal(size=v.shape) for k, v in arrays(w).items()})
    muon = optimizers.muon(optimizers.kernels, lr=0.1)
    updates, _ = quick(lambda g, w: muon.update(g, muon.init(w), w))(g, w)
    update = arrays(updates)["hidden/kernel"]
    values = np.linalg.svd(update, compute_uv=False) / (0.1 * 0.2 * np.sqrt(64))
    assert 0.65 < values.min() < values.max() < 1.25
    u, _, v = np.linalg.svd(arrays(g)["hidden/kernel"], full_matrices=False)
    assert np.abs(-update - 0.1 * 0.2 * np.sqrt(64) * u @ v).max() < 0.3 * np.abs(update).max()
    assert np.sqrt((update**2).mean()) == pytest.approx(0.1 * 0.2, rel=0.3)
    np.testing.assert_allclose(np.abs(arrays(updates)["output/kernel"]), 0.1, rtol=1e-4)  # Adam's first step


def test_muon_works_where_nothing_is_hidden() -> None:
    w = tree({"output/kernel": np.ones((4, 3)), "output/bias": np.ones(3)})
    muon = optimizers.muon(optimizers.kernels, lr=0.1, weight_decay=0.0)
    updates, _ = muon.update(w, muon.init(w), w)
    np.testing.assert_allclose(arrays(updates)["output/kernel"], -0.1, rtol=1e-4)


@pytest.mark.parametrize("model", ["cnn", "transformer"])
def test_muon_takes_all_kernels_but_the_output_s(model: str) -> None:
    state = jax.eval_shape(lambda: step.init(program(model, norm=norms.layer), jnp.uint32(0), numbers())[1])
    for path, inside in arrays(jax.tree.map(jnp.asarray, optimizers.hidden(state.params))).items():
        assert bool(inside) == (is_kernel(path) and path != "output/kernel"), path


def test_adafactor_keeps_rows_and_columns_alone_of_large_kernels() -> None:
    large = tree({"hidden/kernel": np.ones((256, 128)), "hidden/bias": np.ones(128)})
    state = optimizers.adafactor(optimizers.kernels).init(large)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) < 256 + 128 + 128 + 10


def test_sam_steps_on_where_the_gradient_is_zero() -> None:
    w = tree({"hidden/kernel": np.ones((2, 2))})
    zero = jax.tree.map(jnp.zeros_like, w)
    sam = optax.with_extra_args_support(optimizers.sam(optimizers.kernels, weight_decay=0.0))
    updates, _ = sam.update(zero, sam.init(w), w, grad_fn=lambda params, _: jax.tree.map(lambda w: 0 * w, params))
    np.testing.assert_array_equal(arrays(updates)["hidden/kernel"], 0)


@pytest.mark.parametrize("name", ["muon", "sam", "lamb"])
def test_a_model_learns_by_optimizers_that_look_at_more_than_a_number(name: str) -> None:
    make = getattr(optimizers, name)
    defaults = {f"optim__{k}": key.default for k, key in keys(make).items() if key.traced}
    of = program("mlp", optim=Choice(make))
    graphdef, state = start(of, numbers(**defaults | {"optim__lr": 0.02}))
    run, data, losses = compiled(of, graphdef), batch(), []
    for _ in range(20):
        state, metrics = run(state, data)
        losses.append(float(metrics["sum"]["loss"]))
    assert losses[-1] < 0.9 * losses[0]


def test_adam_s_first_step_is_the_learning_rate_whatever_the_gradient() -> None:
    for size in (1e-4, 1.0, 1e4):
        params, grads = {"bias": jnp.ones(3)}, {"bias": jnp.full(3, size)}
        make = optimizers.adam(optimizers.kernels, lr=0.01)
        updates, _ = make.update(grads, make.init(params), params)
        np.testing.assert_allclose(updates["bias"], -0.01, rtol=1e-3)


@pytest.mark.parametrize("model", ["mlp", "resnet", "transformer"])
def test_decay_touches_kernels_alone(model: str) -> None:
    of = program(model, norm=norms.layer)
    state = jax.eval_shape(lambda: step.init(of, jnp.uint32(0), numbers())[1])
    for path, decays in arrays(jax.tree.map(jnp.asarray, optimizers.kernels(state.params))).items():
        assert bool(decays) == path.endswith("kernel"), path


def test_decay_spares_embeddings() -> None:
    params = nnx.state(nnx.Embed(5, 3, rngs=nnx.Rngs(0)), nnx.Param)
    assert not any(jax.tree.leaves(optimizers.kernels(params)))
