"""Optimizers against their formulas in NumPy, step by step; which parameters weight decay touches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlrun import optim, step
from dlrun.nn import norms
from tests.tiny import arrays, numbers, program

RANDOM = np.random.default_rng(0)
WEIGHTS = {"kernel": RANDOM.normal(size=(3, 4)), "bias": RANDOM.normal(size=4)}
GRADS = [{k: RANDOM.normal(size=v.shape) for k, v in WEIGHTS.items()} for _ in range(4)]
RATES = [0.1, 0.05, 0.2, 0.1]  # of a schedule


def by_ours(make, **values) -> dict[str, np.ndarray]:
    """Weights after the four steps, the transformation made anew at each, as the compiled step does."""

    @jax.jit
    def apply(params, state, grads, lr, traced):
        updates, state = make(optim.kernels, lr=lr, **traced, **static).update(grads, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    static = {k: v for k, v in values.items() if isinstance(v, bool)}
    traced = {k: jnp.float32(v) for k, v in values.items() if not isinstance(v, bool)}
    params = jax.tree.map(jnp.float32, WEIGHTS)
    state = make(optim.kernels, **values).init(params)
    for grads, lr in zip(GRADS, RATES, strict=True):
        params, state = apply(params, state, jax.tree.map(jnp.float32, grads), jnp.float32(lr), traced)
    return params


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov: bool) -> None:
    w = {k: v.copy() for k, v in WEIGHTS.items()}
    v = {k: np.zeros_like(a) for k, a in w.items()}
    for grads, lr in zip(GRADS, RATES, strict=True):
        for k in w:
            g = grads[k] + (0.01 * w[k] if k == "kernel" else 0)
            v[k] = 0.9 * v[k] + g
            w[k] -= lr * (g + 0.9 * v[k] if nesterov else v[k])
    found = by_ours(optim.sgd, momentum=0.9, nesterov=nesterov, weight_decay=0.01)
    for k in w:
        np.testing.assert_allclose(found[k], w[k], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [None, 0.1])
def test_adam_and_adamw(decay: float | None) -> None:
    b1, b2, eps = 0.8, 0.95, 1e-2
    w = {k: v.copy() for k, v in WEIGHTS.items()}
    m, v = ({k: np.zeros_like(a) for k, a in w.items()} for _ in range(2))
    for t, (grads, lr) in enumerate(zip(GRADS, RATES, strict=True), start=1):
        for k in w:
            m[k] = b1 * m[k] + (1 - b1) * grads[k]
            v[k] = b2 * v[k] + (1 - b2) * grads[k] ** 2
            step = (m[k] / (1 - b1**t)) / (np.sqrt(v[k] / (1 - b2**t)) + eps)
            w[k] -= lr * (step + (decay * w[k] if decay and k == "kernel" else 0))
    if decay is None:
        found = by_ours(optim.adam, b1=b1, b2=b2, eps=eps)
    else:
        found = by_ours(optim.adamw, b1=b1, b2=b2, eps=eps, weight_decay=decay)
    for k in w:
        np.testing.assert_allclose(found[k], w[k], rtol=1e-4, atol=1e-6)


def test_adam_s_first_step_is_the_learning_rate_whatever_the_gradient() -> None:
    for size in (1e-4, 1.0, 1e4):
        params, grads = {"bias": jnp.ones(3)}, {"bias": jnp.full(3, size)}
        make = optim.adam(optim.kernels, lr=0.01)
        updates, _ = make.update(grads, make.init(params), params)
        np.testing.assert_allclose(updates["bias"], -0.01, rtol=1e-3)


@pytest.mark.parametrize("model", ["mlp", "resnet", "transformer"])
def test_decay_touches_kernels_alone(model: str) -> None:
    of = program(model, norm=norms.layer)
    state = jax.eval_shape(lambda: step.init(of, jnp.uint32(0), numbers())[1])
    for path, decays in arrays(jax.tree.map(jnp.asarray, optim.kernels(state.params))).items():
        assert bool(decays) == path.endswith("kernel"), path


def test_decay_spares_embeddings() -> None:
    params = nnx.state(nnx.Embed(5, 3, rngs=nnx.Rngs(0)), nnx.Param)
    assert not any(jax.tree.leaves(optim.kernels(params)))
