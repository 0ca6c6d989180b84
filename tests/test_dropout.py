"""Dropout: how much is kept, what becomes of it, and of what the masks are independent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlrun.nn.dropout import Dropout, Number

N = 200_000


def layer(rate: float, seed: int = 0) -> Dropout:
    return Dropout(Number(jnp.float32(rate)), nnx.Rngs(dropout=seed))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_kept_fraction_scaling_and_mean(rate: float) -> None:
    y = np.asarray(layer(rate)(jnp.full(N, 3.0)))
    kept = y != 0
    assert kept.mean() == pytest.approx(1 - rate, abs=5 * np.sqrt(rate * (1 - rate) / N))
    np.testing.assert_allclose(y[kept], 3 / (1 - rate), rtol=1e-5)
    assert y.mean() == pytest.approx(3, rel=5 * np.sqrt(rate / (1 - rate) / N))


def test_neighbours_examples_and_features_are_dropped_independently() -> None:
    kept = np.asarray(layer(0.5)(jnp.ones((400, 500)))) != 0
    for one, other in ((kept[:, :-1], kept[:, 1:]), (kept[:-1], kept[1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_layers_and_steps_draw_masks_of_their_own_from_one_seed() -> None:
    rate, rngs, x = Number(jnp.float32(0.5)), nnx.Rngs(dropout=0), jnp.ones(N)
    first, second = Dropout(rate, rngs), Dropout(rate, rngs)
    masks = [np.asarray(f(x)) != 0 for f in (first, second, first, second)]
    for i, one in enumerate(masks):
        for other in masks[i + 1 :]:
            assert (one == other).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(N))
    rngs = nnx.Rngs(dropout=0)
    again = [Dropout(rate, rngs), Dropout(rate, rngs)]
    for f, mask in zip([*again, *again], masks, strict=True):
        np.testing.assert_array_equal(np.asarray(f(x)) != 0, mask, err_msg="the same seed, the same masks")


def test_nothing_in_evaluation() -> None:
    module, x = layer(0.9), jnp.arange(100.0)
    module.eval()
    before = int(module.stream.count[...])
    np.testing.assert_array_equal(module(x), x)
    assert int(module.stream.count[...]) == before, "and no key is used up"
    module.train()
    assert (module(x) == 0).sum() > 50


def test_rate_zero_gives_back_the_input() -> None:
    x = jnp.arange(1.0, 100.0)
    np.testing.assert_array_equal(layer(0.0)(x), x)


def test_the_rate_is_read_from_the_state_and_shared_by_layers() -> None:
    rate, rngs = Number(jnp.float32(0.1)), nnx.Rngs(dropout=0)
    first, second = Dropout(rate, rngs), Dropout(rate, rngs)
    rate[...] = jnp.float32(0.75)
    for f in (first, second):
        assert (np.asarray(f(jnp.ones(N))) == 0).mean() == pytest.approx(0.75, abs=0.01)


def test_the_gradient_is_the_mask_scaled() -> None:
    graphdef, state = nnx.split(layer(0.5))
    x = jnp.full(1000, 2.0)

    def f(x):
        return nnx.merge(graphdef, state, copy=True)(x).sum()

    y = nnx.merge(graphdef, state, copy=True)(x)
    np.testing.assert_allclose(jax.grad(f)(x), y / x)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_stays_half(dtype: jnp.dtype) -> None:
    y = layer(0.5)(jnp.ones(100, dtype))
    assert y.dtype == dtype
    assert set(np.asarray(y, np.float32)) == {0.0, 2.0}
