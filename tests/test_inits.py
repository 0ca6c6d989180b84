"""Statistics of the initialisers: mean, variance, shape of the distribution, and what ``auto`` chooses."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.nn import activations, inits

SHAPES = {(400, 300): (400, 300), (3, 3, 40, 60): (360, 540), (1, 1, 500, 50): (500, 50)}  # shape: fans


def drawn(init: Any, activation: str, shape: tuple[int, ...], **values: float) -> np.ndarray:
    return np.asarray(init(activation, **values)(jax.random.key(0), shape, jnp.float32))


def assert_normal(sample: np.ndarray, std: float) -> None:
    n = sample.size
    assert abs(sample.mean()) < 5 * std / math.sqrt(n)
    assert sample.std() == pytest.approx(std, rel=5 / math.sqrt(2 * n))
    # Not truncated: a normal has 0.27% beyond three standard deviations.
    assert (np.abs(sample) > 3 * std).mean() == pytest.approx(0.0027, rel=0.4)


def assert_uniform(sample: np.ndarray, most: float) -> None:
    assert np.abs(sample).max() <= most * (1 + 1e-6)
    assert np.abs(sample).max() > 0.999 * most
    assert sample.std() == pytest.approx(most / math.sqrt(3), rel=0.01)
    assert abs(sample.mean()) < 5 * most / math.sqrt(sample.size)
    assert (np.abs(sample) < most / 2).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_he_normal(shape: tuple[int, ...]) -> None:
    fan_in, _ = SHAPES[shape]
    for activation in ("relu", "identity"):
        assert_normal(drawn(inits.he_normal, activation, shape), math.sqrt(2 / fan_in))


@pytest.mark.parametrize("shape", SHAPES)
def test_xavier_uniform(shape: tuple[int, ...]) -> None:
    assert_uniform(drawn(inits.xavier_uniform, "tanh", shape), math.sqrt(6 / sum(SHAPES[shape])))


def test_auto_chooses_by_what_follows() -> None:
    shape = (400, 300)
    names = [k for k, v in vars(activations).items() if getattr(v, "__module__", None) == activations.__name__]
    for name in names:
        chosen = inits.xavier_uniform if name in ("tanh", "sigmoid") else inits.he_normal
        np.testing.assert_array_equal(drawn(inits.auto, name, shape), drawn(chosen, name, shape), err_msg=name)
    for name in ("identity", "of_my_own"):
        assert_normal(drawn(inits.auto, name, shape), math.sqrt(1 / 400))


@pytest.mark.parametrize("init", [inits.auto, inits.he_normal, inits.xavier_uniform])
@pytest.mark.parametrize("activation", ["relu", "tanh", "identity"])
def test_scale_multiplies_and_may_be_traced(init: Any, activation: str) -> None:
    plain = drawn(init, activation, (30, 20))
    scaled = jax.jit(lambda s: init(activation, scale=s)(jax.random.key(0), (30, 20), jnp.float32))(0.25)
    np.testing.assert_allclose(scaled, 0.25 * plain, rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_auto_keeps_signals_alive_through_thirty_layers(activation: str) -> None:
    x = np.random.default_rng(0).normal(size=(200, 128))
    keys = jax.random.split(jax.random.key(1), 30)
    act, init = getattr(activations, activation), inits.auto(activation)
    h = jnp.asarray(x, jnp.float32)
    for key in keys:
        h = act(h @ init(key, (128, 128), jnp.float32))
    assert 0.05 < float(jnp.sqrt((h**2).mean())) < 3
