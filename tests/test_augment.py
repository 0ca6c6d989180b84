"""Augmentation: what it may do to an image, how often, and that the key decides all of it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun import step
from dlrun.data import augment
from dlrun.nn.parts import Choice
from dlrun.schema import Unfit
from tests.tiny import arrays, numbers, program, quick, start

LABELS = jnp.arange(4)


def windows(image: np.ndarray, pad: int) -> list[np.ndarray]:
    """All windows of the padded image."""
    height, breadth, _ = image.shape
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    corners = [(i, j) for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    return [padded[i : i + height, j : j + breadth] for i, j in corners]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pad=st.integers(0, 3),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    shape=st.sampled_from([(6, 6, 1), (5, 7, 2)]),
)
def test_flip_crop_gives_a_window_of_the_mirrored_padded_image(seed: int, pad: int, flip: float, shape: tuple) -> None:
    x = np.random.default_rng(seed).normal(size=(4, *shape)).astype(np.float32)
    f = jax.jit(augment.flip_crop, static_argnames="pad")
    found = f(jax.random.key(seed), {"x": jnp.asarray(x), "y": LABELS}, flip=flip, pad=pad)
    np.testing.assert_array_equal(found["y"], LABELS)
    for image, out in zip(x, np.asarray(found["x"]), strict=True):
        sides = [image] * (flip < 1) + [image[:, ::-1]] * (flip > 0)
        allowed = [w for side in sides for w in windows(side, pad)]
        assert any(np.array_equal(out, w) for w in allowed)
    again = f(jax.random.key(seed), {"x": jnp.asarray(x), "y": LABELS}, flip=flip, pad=pad)
    np.testing.assert_array_equal(found["x"], again["x"], err_msg="the same key, the same result")


def test_every_corner_and_both_sides_are_as_likely() -> None:
    n, pad = 9000, 1
    image = np.arange(1.0, 10.0).reshape(3, 3, 1)
    batch = {"x": jnp.broadcast_to(jnp.asarray(image, jnp.float32), (n, 3, 3, 1)), "y": jnp.zeros(n, jnp.int32)}
    out = np.asarray(augment.flip_crop(jax.random.key(0), batch, flip=0.3, pad=pad)["x"])
    for mirrored, share in ((image, 0.7), (image[:, ::-1], 0.3)):
        for window in windows(mirrored, pad):
            found = (out == window).all((1, 2, 3)).mean()
            expected = share / 9
            assert found == pytest.approx(expected, abs=5 * np.sqrt(expected / n))


def test_default_padding_is_an_eighth_of_the_height() -> None:
    for side, pad in ((8, 1), (28, 3), (32, 4)):
        batch = {"x": jnp.ones((300, side, side, 1)), "y": jnp.zeros(300, jnp.int32)}
        out = np.asarray(augment.flip_crop(jax.random.key(0), batch)["x"])
        lost = (out[:, :, side // 2, 0] == 0).sum(1)
        assert lost.max() == pad


def test_none_gives_back_the_batch() -> None:
    batch = {"x": jnp.ones((2, 3)), "y": jnp.zeros(2)}
    assert augment.none(jax.random.key(0), batch) is batch


def test_rows_are_refused() -> None:
    with pytest.raises(Unfit) as error:
        augment.flip_crop(jax.random.key(0), {"x": jnp.ones((2, 3)), "y": jnp.zeros(2)})
    assert error.value.at("augment") == "augment=flip_crop: must be none for inputs that are no images"


def shown(key: jax.Array, batch: step.Batch) -> step.Batch:
    """Shows the model nothing but random numbers of the key."""
    return {**batch, "x": jax.random.normal(key, batch["x"].shape)}


def test_the_key_is_a_function_of_seed_and_step_alone() -> None:
    of = program("mlp", augment=Choice(shown))
    graphdef, state = start(of, numbers(), seed=3)
    _, other_seed = start(of, numbers(), seed=4)
    run = quick(lambda state, batch: step.train_step(of, graphdef, state, batch))
    zeros = {"x": jnp.zeros((4, 8, 8, 1)), "y": LABELS % 3}

    def seen(which: step.TrainState, at: int) -> float:
        # The same weights: a loss that differs comes from what was shown.
        return float(run(replace(state, key=which.key, step=jnp.int32(at)), zeros)[1]["sum"]["loss"])

    assert seen(state, 5) == seen(state, 5)
    assert len({seen(s, at) for s in (state, other_seed) for at in (0, 1, 5)}) == 6
    # Taking steps does not move the key.
    moved, _ = run(state, zeros)
    np.testing.assert_array_equal(arrays(moved)["key"], arrays(state)["key"])
