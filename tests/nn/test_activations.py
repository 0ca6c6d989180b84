"""Activations against formulas in NumPy and values of PyTorch, their gradients against differences in float64."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.special import expit, ndtr

from dlrun.config import catalogue, components
from dlrun.nn import activations
from dlrun.nn.activations import PReLU
from dlrun.optim import optimizers
from tests.tiny import assert_gradient, quick

NAMES = sorted({catalogue.component(f) for f in catalogue.options("act", [catalogue.conf()]).values()})
GATED = {name for name in NAMES if components.resolve("act", name, ()).declared.gated}  # pyright: ignore
X = np.concatenate([np.linspace(-6, 6, 49), [-30.0, 30.0, -1e-3, 1e-3]])
SLOPES = np.linspace(0, 1, len(X))  # of prelu, another one for each feature


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]


FORMULAS: dict[str, tuple[dict[str, float], Callable[[np.ndarray], np.ndarray]]] = {
    "relu": ({}, lambda x: np.where(x > 0, x, 0)),
    "leaky_relu": ({"negative_slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    "prelu": ({"slope": 0.5}, lambda x: np.where(x > 0, x, SLOPES * x)),
    "relu_squared": ({}, lambda x: np.where(x > 0, x**2, 0)),
    "elu": ({"alpha": 0.7}, lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0)))),
    "selu": (
        {},
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    ),
    "softplus": ({}, softplus),
    "gelu": ({}, lambda x: x * ndtr(x)),
    "swish": ({}, lambda x: x * expit(x)),
    "hard_swish": ({}, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "mish": ({}, lambda x: x * np.tanh(softplus(x))),
    "tanh": ({}, np.tanh),
    "sigmoid": ({}, expit),
    "identity": ({}, lambda x: x),
    "glu": ({}, lambda x: halves(x)[0] * expit(halves(x)[1])),
    "geglu": ({}, lambda x: halves(x)[0] * halves(x)[1] * ndtr(halves(x)[1])),
    "swiglu": ({}, lambda x: halves(x)[0] * halves(x)[1] * expit(halves(x)[1])),
}
DEFAULTS = {
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: np.where(x > 0, x, 0.25 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}

# By PyTorch 2.13, of glu at (POINTS, -1.5) as one vector.
POINTS = [-4.0, -2.5, -1.0, -0.3, 0.2, 1.0, 3.5]
GOLDENS = {
    "leaky_relu": [-0.8, -0.5, -0.2, -0.06, 0.2, 1.0, 3.5],
    "prelu": [-2.0, -1.25, -0.5, -0.15, 0.2, 1.0, 3.5],
    "elu": [-0.687179053, -0.642540501, -0.442484391, -0.181427246, 0.2, 1.0, 3.5],
    "selu": [-1.72589863, -1.61378576, -1.11133074, -0.455667315, 0.210140197, 1.05070099, 3.67745346],
    "softplus": [0.0181499279, 0.0788897343, 0.313261688, 0.554355244, 0.798138869, 1.31326169, 3.52975042],
    "gelu": [-0.000126684967, -0.0155241633, -0.158655254, -0.114626573, 0.115851942, 0.841344746, 3.4991858],
    "swish": [-0.0719448398, -0.18964545, -0.268941421, -0.127667245, 0.109966799, 0.731058579, 3.39740719],
    "hard_swish": [0.0, -0.208333333, -0.333333333, -0.135, 0.106666667, 0.666666667, 3.5],
    "mish": [-0.0725917408, -0.196816204, -0.303401461, -0.151133177, 0.132599002, 0.865098388, 3.49399072],
    "glu": [-2.19933599, -1.82764645, -0.970687769, -0.0547276571],
}


def made(name: str, features: int = len(X), **values: float) -> Callable[[jax.Array], jax.Array]:
    """The activation of a layer."""
    component = components.resolve("act", name, ())
    if isinstance(component, type):
        return component(features, nnx.Rngs(0), **values)
    return lambda x: component(x, **values)


def chosen(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation with the values of its row, of inputs as :func:`inputs` gives them."""
    act = made(name, **FORMULAS[name][0])
    if isinstance(act, PReLU):
        act.slope[...] = jnp.asarray(SLOPES, jnp.float32)
    return act


def inputs(name: str) -> np.ndarray:
    """Every value of X; as both halves of a gated activation in another order."""
    return np.concatenate([X, np.random.default_rng(0).permutation(X)]) if name in GATED else X


def test_every_option_has_a_formula() -> None:
    assert set(NAMES) == FORMULAS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_formula(name: str) -> None:
    x = inputs(name)
    y = quick(chosen(name))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(y, FORMULAS[name][1](x), rtol=2e-5, atol=1e-6)
    if name in DEFAULTS:
        np.testing.assert_allclose(made(name)(jnp.asarray(x, jnp.float32)), DEFAULTS[name](x), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", GOLDENS)
def test_values_of_pytorch(name: str) -> None:
    x = jnp.array([*POINTS, -1.5] if name in GATED else POINTS)
    np.testing.assert_allclose(made(name, len(x), **FORMULAS[name][0])(x), GOLDENS[name], rtol=2e-6, atol=1e-6)


def test_gelu_by_tanh() -> None:
    expected = 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))
    found = activations.gelu(jnp.asarray(X, jnp.float32), approximate=True)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    assert np.abs(expected - X * ndtr(X)).max() > 1e-4, "it is another function"


@pytest.mark.parametrize("name", NAMES)
def test_gradient(name: str) -> None:
    """In what it takes and in what it learns, away from kinks."""
    with jax.enable_x64(True):
        x = inputs(name)
        for kink in (-3, 0, 3):
            x = np.where(np.abs(x - kink) < 1e-2, x + 0.1, x)
        act = chosen(name)
        graphdef, state = nnx.split(act) if isinstance(act, nnx.Module) else (None, None)
        weights = jnp.asarray(np.random.default_rng(1).normal(size=FORMULAS[name][1](x).shape))

        def f(at):
            g = act if graphdef is None else nnx.merge(graphdef, at[0])
            return (weights * g(at[1])).sum()

        assert_gradient(f, (optax.tree.cast(state, jnp.float64), jnp.asarray(x)))


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_finite_far_out(name: str) -> None:
    far = 1e4 if name in GATED | {"relu_squared"} else 1e30  # whose outputs are products of their inputs
    x = jnp.array([-far, -1e4, -100.0, 0.0, 100.0, 1e4, far, 1.0])
    act = made(name, len(x))
    y, gradient = quick(jax.value_and_grad(lambda x: (act(x), act(x).sum())[1]))(x)
    assert jnp.isfinite(y)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "most"), [("tanh", 1.0), ("sigmoid", 0.25)])
def test_largest_slope(name: str, most: float) -> None:
    slopes = jax.vmap(jax.grad(getattr(activations, name)))(jnp.linspace(-5, 5, 101))
    assert slopes.max() == pytest.approx(most)


@pytest.mark.parametrize("name", ["relu", "relu_squared"])
def test_slope_at_zero(name: str) -> None:
    assert jax.grad(getattr(activations, name))(0.0) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_stays_half(name: str, dtype: jnp.dtype) -> None:
    act, x = chosen(name), jnp.asarray(inputs(name), dtype)
    if isinstance(act, nnx.Module):
        graphdef, state = nnx.split(act)
        act = nnx.merge(graphdef, optax.tree.cast(state, dtype))
    y = quick(act)(x)
    assert y.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    # Sums inside are of order one (1 + exp, x + 3), so that small outputs are good to eps times what they come from.
    expected = FORMULAS[name][1](np.asarray(x, np.float64))
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=4 * eps, atol=4 * eps)


def test_the_gated_ones_split_the_last_axis_into_value_and_gate() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    features = {name: jax.eval_shape(made(name, 8), x).shape[-1] for name in NAMES}
    assert {name for name, n in features.items() if n == 4} == GATED
    assert {n for name, n in features.items() if name not in GATED} == {8}
    for name in GATED:
        act = quick(made(name))
        y = np.asarray(act(x))
        np.testing.assert_allclose(y, FORMULAS[name][1](x), rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(act(jnp.asarray(x).at[..., :4].multiply(2)), 2 * y, rtol=1e-5)
        assert (act(jnp.asarray(x).at[..., 4:].set(-1e4)) == 0).all(), "the gate is shut"


def test_selu_keeps_mean_and_variance() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    y = np.asarray(activations.selu(jnp.asarray(nodes, jnp.float32)), np.float64)
    mean = (weights * y).sum() / weights.sum()
    assert mean == pytest.approx(0, abs=1e-2)  # the quadrature's, at the kink
    assert (weights * y**2).sum() / weights.sum() - mean**2 == pytest.approx(1, abs=1e-2)


def test_prelu_learns_a_slope_for_each_feature() -> None:
    act = PReLU(4, nnx.Rngs(0))
    params = nnx.state(act, nnx.Param)
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == [(4,)]
    assert not any(jax.tree.leaves(optimizers.kernels(params))), "weight decay would draw it to relu (He et al., 2015)"
    x = -jnp.ones((2, 3, 4))
    gradient = nnx.grad(lambda act: act(x * jnp.arange(4.0)).sum())(act)
    np.testing.assert_allclose(gradient["slope"], -6 * np.arange(4.0))


def test_identity_is_its_input() -> None:
    x = jnp.asarray(X)
    assert activations.identity(x) is x
