"""Streams of random keys: those of flax, at a price that does not grow with the traced program."""

import jax
import numpy as np
import pytest
from flax import nnx
from jax import Array

from dlrun.nn.random_stream import streams


def drawn(rngs: nnx.Rngs) -> list[Array]:
    """Keys by draws, by a fork, by a split and by draws after these."""
    fork = rngs.dropout.fork()
    return [rngs.params(), rngs.params(), fork(), fork(), *rngs.dropout.split(2).key.get_value(), rngs.dropout()]


@pytest.mark.parametrize("how", [lambda f: f, jax.jit])
def test_keys_are_those_of_flax(how):
    keys = [jax.random.key(n) for n in (3, 5)]
    ours, theirs = (how(lambda a, b, of=of: drawn(of(params=a, dropout=b)))(*keys) for of in (streams, nnx.Rngs))
    assert len({jax.random.key_data(k).tobytes() for k in ours}) == len(ours)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(a), jax.random.key_data(b))


def test_a_draw_asks_for_no_history(monkeypatch):
    """JAX tells the whole history of a traced value in an error, which flax catches at each draw."""
    from jax._src.interpreters.partial_eval import DynamicJaxprTracer

    asked = []
    monkeypatch.setattr(DynamicJaxprTracer, "_origin_msg", lambda self: asked.append(self) or "")

    def draws(of):
        asked.clear()
        jax.eval_shape(lambda key: [of(params=key).params() for _ in range(2)], jax.random.key(0))
        return len(asked)

    assert draws(streams) == 0
    if jax.__version__.startswith("0.10."):
        assert draws(nnx.Rngs) > 0, "else the stream of our own may go"
