"""Attention against NumPy; that nothing flows from the future, by gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlrun.config.choice import Choice
from dlrun.nn import activations, inits, norms
from dlrun.nn.attention import Attention
from dlrun.nn.parts import Parts
from dlrun.nn.transformer import Block
from tests.tiny import assert_gradient, quick

B, T, D, HEADS = 2, 5, 8, 2
PARTS = Parts(Choice(activations.gelu), Choice(norms.layer), inits.he_normal("gelu"), inits.lecun_normal("identity"))
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)


def made(*, causal: bool = False) -> Attention:
    """Attention whose biases are not zero."""
    module = Attention(D, HEADS, PARTS, nnx.Rngs(0), causal=causal)
    for i, layer in enumerate((module.query, module.key, module.value, module.out)):
        layer.bias[...] = jnp.asarray(np.random.default_rng(i).normal(0, 0.3, D), jnp.float32)
    return module


def by_hand(module: Attention, x: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """softmax(Q Kᵀ / √d) V, a sequence and a head at a time; ``allowed`` of shape (T, T)."""

    def project(layer, x):
        return x @ np.asarray(layer.kernel, np.float64) + np.asarray(layer.bias, np.float64)

    q, k, v = (project(layer, x.astype(np.float64)) for layer in (module.query, module.key, module.value))
    found, d = np.zeros(x.shape), D // HEADS
    for b in range(B):
        for h in range(HEADS):
            part = slice(h * d, (h + 1) * d)
            logits = q[b, :, part] @ k[b, :, part].T / np.sqrt(d)
            p = np.exp(logits) * allowed
            found[b, :, part] = p / p.sum(1, keepdims=True) @ v[b, :, part]
    return project(module.out, found)


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal: bool) -> None:
    module = made(causal=causal)
    allowed = np.tril(np.ones((T, T), bool)) if causal else np.ones((T, T), bool)
    np.testing.assert_allclose(module(jnp.asarray(X)), by_hand(module, X, allowed), rtol=1e-4, atol=1e-5)


def influence(f, x: jax.Array) -> np.ndarray:
    """Whether output token i depends on input token j, bool (B, T, T), by the gradient."""
    weights = jnp.asarray(np.random.default_rng(5).normal(size=D), jnp.float32)
    jacobian = quick(jax.jacrev(lambda x: (f(x) * weights).sum(-1)))(x)  # (B, T, B, T, D)
    between = np.abs(np.asarray(jacobian)).max(-1)
    for one in range(B):
        for other in range(B):
            if one != other:
                assert between[one, :, other].max() == 0, "sequences of a batch are apart"
    return np.stack([between[b, :, b] for b in range(B)]) > 0


@pytest.mark.parametrize("kind", ["attention", "block"])
def test_a_causal_token_depends_on_itself_and_on_earlier_ones(kind: str) -> None:
    module = made(causal=True) if kind == "attention" else Block(D, HEADS, 16, PARTS, nnx.Rngs(0), causal=True)
    seen = influence(module, jnp.asarray(X))
    np.testing.assert_array_equal(seen, np.broadcast_to(np.tril(np.ones((T, T), bool)), (B, T, T)))


def test_otherwise_every_token_depends_on_every_one() -> None:
    assert influence(made(), jnp.asarray(X)).all()


@pytest.mark.parametrize("causal", [False, True])
def test_gradient(causal: bool) -> None:
    with jax.enable_x64(True):
        graphdef, params = nnx.split(made(causal=causal))
        params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
        weights = jnp.asarray(np.random.default_rng(3).normal(size=X.shape))

        def f(at):
            return (weights * nnx.merge(graphdef, at[0])(at[1])).sum()

        assert_gradient(f, (params, jnp.asarray(X, jnp.float64)))
