"""Activations against their formulas in NumPy, and their gradients against finite differences in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.nn import activations
from tests.tiny import assert_gradient

X = np.concatenate([np.linspace(-6, 6, 49), [-30.0, 30.0, -1e-3, 1e-3]])
PHI = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in X])

FORMULAS = {
    "relu": ({}, np.where(X > 0, X, 0)),
    "leaky_relu": ({"negative_slope": 0.2}, np.where(X > 0, X, 0.2 * X)),
    "elu": ({"alpha": 0.7}, np.where(X > 0, X, 0.7 * np.expm1(np.minimum(X, 0)))),
    "gelu": ({}, X * PHI),
    "swish": ({}, X / (1 + np.exp(-X))),
    "tanh": ({}, np.sinh(X) / np.cosh(X)),
    "sigmoid": ({}, 1 / (1 + np.exp(-X))),
}
DEFAULTS = {
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "elu": np.where(X > 0, X, np.expm1(np.minimum(X, 0))),
}


def test_every_activation_has_a_formula() -> None:
    ours = {k for k, v in vars(activations).items() if getattr(v, "__module__", None) == activations.__name__}
    assert ours == FORMULAS.keys()


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name: str) -> None:
    values, expected = FORMULAS[name]
    f = getattr(activations, name)
    np.testing.assert_allclose(f(jnp.asarray(X, jnp.float32), **values), expected, rtol=2e-5, atol=1e-6)
    if name in DEFAULTS:
        np.testing.assert_allclose(f(jnp.asarray(X, jnp.float32)), DEFAULTS[name], rtol=2e-5, atol=1e-6)


def test_gelu_by_tanh() -> None:
    expected = 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))
    found = activations.gelu(jnp.asarray(X, jnp.float32), approximate=True)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    assert np.abs(expected - FORMULAS["gelu"][1]).max() > 1e-4, "it is another function"


@pytest.mark.parametrize("name", FORMULAS)
def test_gradient(name: str) -> None:
    values, _ = FORMULAS[name]
    with jax.enable_x64(True):
        x = jnp.asarray(X[np.abs(X) > 1e-2])
        weights = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
        assert_gradient(lambda x: (weights * getattr(activations, name)(x, **values)).sum(), x)


@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_are_finite_far_out(name: str) -> None:
    x = jnp.array([-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30])
    f = getattr(activations, name)
    assert jnp.isfinite(f(x)).all()
    assert jnp.isfinite(jax.vmap(jax.grad(f))(x)).all()


@pytest.mark.parametrize(("name", "most"), [("tanh", 1.0), ("sigmoid", 0.25)])
def test_largest_slope(name: str, most: float) -> None:
    slopes = jax.vmap(jax.grad(getattr(activations, name)))(jnp.linspace(-5, 5, 101))
    assert slopes.max() == pytest.approx(most)


def test_slope_at_zero() -> None:
    assert jax.grad(activations.relu)(0.0) == 0


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_stays_half(name: str, dtype: jnp.dtype) -> None:
    values, expected = FORMULAS[name]
    y = getattr(activations, name)(jnp.asarray(X, dtype), **values)
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=0.02, atol=0.02)
