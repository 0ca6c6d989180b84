"""Dropout: how much is kept, what becomes of it, and of what the masks are independent."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlrun.nn.dropout import Dropout, DropPath, SpatialDropout
from dlrun.nn.hyperparameter import Hyperparameter

N = 200_000


def path(rate: Hyperparameter, rngs: nnx.Rngs) -> DropPath:
    return DropPath(rate, 1.0, rngs)


FORMS: dict[str, Callable[[Hyperparameter, nnx.Rngs], Dropout]] = {
    "units": Dropout,
    "channels": SpatialDropout,
    "path": path,
}

each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def layer(rate: float, seed: int = 0, form: Callable[[Hyperparameter, nnx.Rngs], Dropout] = Dropout) -> Dropout:
    return form(Hyperparameter(jnp.float32(rate)), nnx.Rngs(dropout=seed))


@each_form
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_kept_fraction_scaling_and_mean(rate: float, form: Callable) -> None:
    y = np.asarray(layer(rate, form=form)(jnp.full((N, 1), 3.0)))
    kept = y != 0
    assert kept.mean() == pytest.approx(1 - rate, abs=5 * np.sqrt(rate * (1 - rate) / N))
    np.testing.assert_allclose(y[kept], 3 / (1 - rate), rtol=1e-5)
    assert y.mean() == pytest.approx(3, rel=5 * np.sqrt(rate / (1 - rate) / N))


def test_neighbours_examples_and_features_are_dropped_independently() -> None:
    kept = np.asarray(layer(0.5)(jnp.ones((400, 500)))) != 0
    for one, other in ((kept[:, :-1], kept[:, 1:]), (kept[:-1], kept[1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


@pytest.mark.parametrize("middle", [(), (3,), (3, 2)])
def test_spatial_dropout_drops_whole_channels_of_an_example(middle: tuple[int, ...]) -> None:
    kept = np.asarray(layer(0.5, form=SpatialDropout)(jnp.ones((200, *middle, 300)))) != 0
    kept = kept.reshape(200, -1, 300)
    assert (kept == kept[:, :1]).all(), "all positions alike"
    kept = kept[:, 0]
    assert kept.mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(kept.size))
    for one, other in ((kept[:, :-1], kept[:, 1:]), (kept[:-1], kept[1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_spatial_dropout_of_rows_is_dropout() -> None:
    x = jnp.arange(1.0, 601.0).reshape(20, 30)
    np.testing.assert_array_equal(layer(0.5, form=SpatialDropout)(x), layer(0.5)(x))


@pytest.mark.parametrize("shape", [(10_000, 4), (10_000, 3, 4), (10_000, 2, 3, 4)])
def test_drop_path_drops_whole_examples(shape: tuple[int, ...]) -> None:
    kept = np.asarray(layer(0.5, form=path)(jnp.ones(shape))).reshape(shape[0], -1) != 0
    assert (kept == kept[:, :1]).all()
    kept = kept[:, 0]
    assert kept.mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(kept.size))
    assert abs(np.corrcoef(kept[:-1], kept[1:])[0, 1]) < 5 / np.sqrt(kept.size)


def test_drop_path_drops_by_its_share_of_one_rate() -> None:
    rate, rngs, x = Hyperparameter(jnp.float32(0.8)), nnx.Rngs(dropout=0), jnp.full((N, 1), 3.0)
    blocks = [DropPath(rate, share, rngs) for share in (0.25, 0.5, 1.0)]
    for value in (0.8, 0.4):
        rate[...] = jnp.float32(value)
        for block in blocks:
            p, y = block.share * value, np.asarray(block(x))
            assert (y == 0).mean() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / N))
            np.testing.assert_allclose(y[y != 0], 3 / (1 - p), rtol=1e-5)


@each_form
def test_layers_and_steps_draw_masks_of_their_own_from_one_seed(form: Callable) -> None:
    rate, rngs, x = Hyperparameter(jnp.float32(0.5)), nnx.Rngs(dropout=0), jnp.ones((N, 1))
    first, second = form(rate, rngs), form(rate, rngs)
    masks = [np.asarray(f(x)) != 0 for f in (first, second, first, second)]
    for i, one in enumerate(masks):
        for other in masks[i + 1 :]:
            assert (one == other).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(N))
    rngs = nnx.Rngs(dropout=0)
    again = [form(rate, rngs), form(rate, rngs)]
    for f, mask in zip([*again, *again], masks, strict=True):
        np.testing.assert_array_equal(np.asarray(f(x)) != 0, mask, err_msg="the same seed, the same masks")


@each_form
def test_nothing_in_evaluation(form: Callable) -> None:
    module, x = layer(0.9, form=form), jnp.arange(1.0, 101.0)[:, None]
    module.eval()
    before = int(module.stream.count[...])
    assert module(x) is x
    assert int(module.stream.count[...]) == before, "and no key is used up"
    module.train()
    assert (module(x) == 0).sum() > 50


@each_form
def test_rate_zero_gives_back_the_input(form: Callable) -> None:
    x = jnp.arange(1.0, 100.0)[:, None]
    np.testing.assert_array_equal(layer(0.0, form=form)(x), x)


@each_form
def test_the_rate_is_read_from_the_state_and_shared_by_layers(form: Callable) -> None:
    rate, rngs = Hyperparameter(jnp.float32(0.1)), nnx.Rngs(dropout=0)
    first, second = form(rate, rngs), form(rate, rngs)
    rate[...] = jnp.float32(0.75)
    for f in (first, second):
        assert (np.asarray(f(jnp.ones((N, 1)))) == 0).mean() == pytest.approx(0.75, abs=0.01)


@each_form
def test_another_rate_compiles_nothing(form: Callable) -> None:
    module = layer(0.1, form=form)
    graphdef = nnx.graphdef(module)
    f = jax.jit(lambda state, x: nnx.merge(graphdef, state, copy=True)(x))
    kept = []
    for rate in (0.1, 0.9):
        module.rate[...] = jnp.float32(rate)
        kept.append(float((f(nnx.state(module), jnp.ones((1000, 1))) != 0).mean()))
    assert kept == pytest.approx([0.9, 0.1], abs=0.05)
    assert f._cache_size() == 1


@each_form
def test_the_gradient_is_the_mask_scaled(form: Callable) -> None:
    graphdef, state = nnx.split(layer(0.5, form=form))
    x = jnp.full((1000, 2), 2.0)

    def f(x):
        return nnx.merge(graphdef, state, copy=True)(x).sum()

    y = nnx.merge(graphdef, state, copy=True)(x)
    np.testing.assert_allclose(jax.grad(f)(x), y / x)


@each_form
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_stays_half(dtype: jnp.dtype, form: Callable) -> None:
    y = layer(0.5, form=form)(jnp.ones((100, 2), dtype))
    assert y.dtype == dtype
    assert set(np.asarray(y, np.float32).ravel()) == {0.0, 2.0}
