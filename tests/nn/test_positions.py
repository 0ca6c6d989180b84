"""Positions: tables by hand, and that turned queries and keys know of distances alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlrun.config.choice import Choice
from dlrun.nn import activations, inits, norms
from dlrun.nn.attention import Attention
from dlrun.nn.parts import Parts
from dlrun.nn.positions import Learned, Sinusoidal, rotary, sinusoidal
from tests.tiny import quick


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_sinusoidal_table() -> None:
    # PE(t, 2 i) = sin(t / 10000^(2 i / D)), PE(t, 2 i + 1) = cos of the same (Vaswani et al., 2017), D = 4.
    expected = [[np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)] for t in range(7)]
    np.testing.assert_allclose(sinusoidal(7, 4), expected, rtol=1e-12)
    assert sinusoidal(7, 5).shape == (7, 5)
    x = normal(2, 7, 4)
    np.testing.assert_allclose(Sinusoidal()(x), x + np.float32(expected), rtol=1e-5, atol=1e-6)


def test_learned_table() -> None:
    module = Learned(300, 8, nnx.Rngs(0))
    assert np.std(module.table[...]) == pytest.approx(0.02, rel=0.05)
    x = normal(2, 5, 8)
    np.testing.assert_array_equal(module(x), x + module.table[:5])


def test_rotary_by_hand() -> None:
    x = normal(1, 4, 1, 6)
    found = np.asarray(rotary(x))
    for t in range(4):
        for i in range(3):  # a pair as a complex number, times exp(i angle)
            pair = complex(*np.asarray(x)[0, t, 0, [i, i + 3]]) * np.exp(1j * t / 10_000 ** (2 * i / 6))
            np.testing.assert_allclose(found[0, t, 0, [i, i + 3]], [pair.real, pair.imag], rtol=1e-5, atol=1e-6)


def test_rotary_keeps_lengths_and_products_depend_on_distances_alone() -> None:
    # The same query and key at every position.
    q, k = (jnp.broadcast_to(normal(8, seed=s), (1, 9, 1, 8)) for s in (0, 1))
    np.testing.assert_allclose(np.linalg.norm(rotary(q), axis=-1), np.linalg.norm(q, axis=-1), rtol=1e-5)
    products = np.einsum("BTNH,BSNH->TS", rotary(q), rotary(k))
    for distance in range(-8, 9):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-4, atol=1e-4)
    assert np.unique(np.round(products, 3)).size == 17, "another product for every distance"


@pytest.mark.parametrize("turned", [False, True])
def test_attention_sees_the_order_of_tokens_with_rotary_positions_alone(turned: bool) -> None:
    parts = Parts(
        Choice(activations.gelu), Choice(norms.layer), inits.he_normal("gelu"), inits.lecun_normal("identity")
    )
    module = Attention(8, 2, parts, nnx.Rngs(0), rotary=turned)
    x, attend = normal(1, 5, 8), quick(module)
    assert np.allclose(attend(x[:, ::-1])[:, ::-1], attend(x), atol=1e-4) == (not turned)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_stays_half(dtype: Any) -> None:
    x = normal(2, 50, 2, 8).astype(dtype)
    y = rotary(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype(jnp.float32), rotary(x.astype(jnp.float32)), atol=0.03)
    assert Sinusoidal()(x[:, :, 0]).dtype == dtype
