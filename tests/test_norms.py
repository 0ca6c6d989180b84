"""Normalisations against NumPy, their running statistics against the closed form, their gradients in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dlrun.nn import norms
from tests.tiny import assert_gradient

SHAPES = [(6, 5), (3, 4, 4, 5), (2, 7, 5)]


def made(norm: Any, seed: int = 0, **values: float) -> Any:
    """A norm of 5 features with random scale and bias."""
    module = norm(5, nnx.Rngs(0), **values)
    random = np.random.default_rng(seed)
    module.scale[...] = jnp.asarray(random.normal(1, 0.3, 5), jnp.float32)
    module.bias[...] = jnp.asarray(random.normal(0, 0.3, 5), jnp.float32)
    return module


def data(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(2.0, 3.0, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_in_training(shape: tuple[int, ...]) -> None:
    module, x = made(norms.batch, epsilon=0.1), data(shape)
    axes = tuple(range(len(shape) - 1))
    mean, var = x.mean(axes), x.var(axes)  # the biased variance
    expected = np.asarray(module.scale) * (x - mean) / np.sqrt(var + 0.1) + np.asarray(module.bias)
    np.testing.assert_allclose(module(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


def test_running_statistics_are_the_closed_form_and_evaluation_uses_them() -> None:
    momentum, module = 0.8, made(norms.batch, momentum=0.8)
    batches = [data((6, 5), seed) for seed in range(4)]
    for x in batches:
        module(jnp.asarray(x))
    # r_n = momentum^n r_0 + (1 - momentum) Σ momentum^(n - i) batch_i, from 0 and 1
    weights = (1 - momentum) * momentum ** np.arange(3, -1, -1)
    mean = sum(w * x.mean(0) for w, x in zip(weights, batches, strict=True))
    var = momentum**4 + sum(w * x.var(0) for w, x in zip(weights, batches, strict=True))
    np.testing.assert_allclose(module.mean[...], mean, rtol=1e-5)
    np.testing.assert_allclose(module.var[...], var, rtol=1e-5)

    module.eval()
    x = data((6, 5), 9)
    expected = np.asarray(module.scale) * (x - mean) / np.sqrt(var + 1e-5) + np.asarray(module.bias)
    np.testing.assert_allclose(module(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.mean[...], mean, rtol=1e-5, err_msg="evaluation moves nothing")


def test_an_evaluated_output_does_not_depend_on_its_batch() -> None:
    module, x = made(norms.batch), jnp.asarray(data((6, 5)))
    module(x)
    module.eval()
    together = module(x)
    others = module(x.at[1:].set(100.0))
    np.testing.assert_array_equal(together[0], others[0])
    np.testing.assert_array_equal(together[0], module(x[:1])[0])
    module.train()
    assert (module(x)[0] != module(x.at[1:].set(100.0))[0]).all(), "in training it does"


def test_batch_norm_is_not_fooled_by_a_large_mean() -> None:
    # E[x²] - E[x]² in float32 would be noise.
    x = 1e4 + data((64, 5)) / 3
    y = norms.batch(5, nnx.Rngs(0))(jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(y).std(0), 1, atol=0.01)
    y = norms.layer(5, nnx.Rngs(0))(jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(y).std(-1), 1, atol=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm(shape: tuple[int, ...]) -> None:
    module, x = made(norms.layer, epsilon=0.1), data(shape)
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    expected = np.asarray(module.scale) * (x - mean) / np.sqrt(var + 0.1) + np.asarray(module.bias)
    np.testing.assert_allclose(module(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


def test_none_gives_back_its_input() -> None:
    x = jnp.asarray(data((6, 5)))
    assert norms.none(5, nnx.Rngs(0))(x) is x


@pytest.mark.parametrize("norm", [norms.batch, norms.layer])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 3, 5)])
def test_gradient(norm: Any, shape: tuple[int, ...]) -> None:
    with jax.enable_x64(True):
        graphdef, state = nnx.split(made(norm))
        params, rest = nnx.split_state(optax.tree.cast(state, jnp.float64), nnx.Param, ...)
        weights = jnp.asarray(np.random.default_rng(3).normal(size=shape))

        def f(at):
            module = nnx.merge(graphdef, at[0], rest, copy=True)
            return (weights * module(at[1]) ** 2).sum()

        assert_gradient(f, (params, jnp.asarray(data(shape), jnp.float64)))


@pytest.mark.parametrize("norm", [norms.batch, norms.layer])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_in_and_out_statistics_in_float32(norm: Any, dtype: Any) -> None:
    exact = np.asarray(made(norm)(jnp.asarray(data((64, 5)))))
    graphdef, params, rest = nnx.split(made(norm), nnx.Param, ...)
    module = nnx.merge(graphdef, optax.tree.cast(params, dtype), rest)
    y = module(jnp.asarray(data((64, 5)), dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.05)
    if norm is norms.batch:
        assert module.mean[...].dtype == module.var[...].dtype == jnp.float32
    # Squares of 300 overflow float16: the statistics must not be computed in it.
    large = module(100 * jnp.asarray(data((64, 5)), dtype))
    np.testing.assert_allclose(np.asarray(large, np.float32), exact, atol=0.05)
