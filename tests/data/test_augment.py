"""Augmentation: what it may do to an image, how often, and that the key decides all of it."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config import catalogue
from dlrun.config.choice import Choice
from dlrun.data import augment
from dlrun.errors import Unfit
from dlrun.objective.losses import cross_entropy
from dlrun.program import step
from dlrun.program.state import TrainState
from tests.tiny import arrays, compiled, numbers, program, quick, start
from tests.tiny import batch as tiny_batch

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
    f = quick(augment.flip_crop, static_argnames="pad")
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
        out = augmented(augment.flip_crop, x=np.ones((64, side, side, 1), np.float32))["x"]
        lost = (out[:, :, side // 2, 0] == 0).sum(1)
        assert lost.max() == pad


def test_none_gives_back_the_batch() -> None:
    batch = {"x": jnp.ones((2, 3)), "y": jnp.zeros(2)}
    assert augment.none(jax.random.key(0), batch) is batch


def shown(key: jax.Array, batch: step.Batch) -> step.Batch:
    """Shows the model nothing but random numbers of the key."""
    return {**batch, "x": jax.random.normal(key, batch["x"].shape)}


def test_the_key_is_a_function_of_seed_and_step_alone() -> None:
    of = program("mlp", augment=Choice(shown))
    graphdef, state = start(of, numbers(), seed=3)
    _, other_seed = start(of, numbers(), seed=4)
    run = compiled(of, graphdef)
    zeros = {"x": jnp.zeros((4, 8, 8, 1)), "y": LABELS % 3}

    def seen(which: TrainState, at: int) -> float:
        # The same weights: a loss that differs comes from what was shown.
        return float(run(replace(state, key=which.key, step=jnp.int32(at)), zeros)[1]["sum"]["loss"])

    assert seen(state, 5) == seen(state, 5)
    assert len({seen(s, at) for s in (state, other_seed) for at in (0, 1, 5)}) == 6
    # Taking steps does not move the key.
    moved, _ = run(state, zeros)
    np.testing.assert_array_equal(arrays(moved)["key"], arrays(state)["key"])


IMAGES = [augment.flip, augment.crop, augment.flip_crop, augment.cutout, augment.random_erasing, augment.cutmix]
ALL = [*IMAGES, augment.none, augment.mixup, augment.noise]
X = np.random.default_rng(0).uniform(1, 2, (64, 12, 8, 3)).astype(np.float32)
Y = np.arange(64, dtype=np.int32)


@cache
def of_arrays(f):
    return quick(lambda key, x, y, values: f(key, {"x": x, "y": y}, **values))


def augmented(f, seed: int = 0, x: np.ndarray = X, **values) -> dict[str, np.ndarray]:
    out = of_arrays(f)(jax.random.key(seed), jnp.asarray(x), jnp.asarray(Y[: len(x)]), values)
    return {k: np.asarray(v) for k, v in out.items()}


def test_the_table_has_every_augmentation() -> None:
    assert {f.__name__ for f in ALL} == set(catalogue.options("augment", [catalogue.conf()]))


@pytest.mark.parametrize("f", ALL)
def test_form_is_kept_and_the_key_decides(f) -> None:
    one, again, other = augmented(f), augmented(f), augmented(f, seed=1)
    assert one["x"].shape == X.shape
    assert one["x"].dtype == X.dtype
    np.testing.assert_array_equal(one["y"], Y)
    for k in one:
        np.testing.assert_array_equal(one[k], again[k])
    assert np.array_equal(one["x"], other["x"]) == (f is augment.none)


@pytest.mark.parametrize("f", [f for f in ALL if f not in (augment.none, augment.noise, augment.mixup)])
def test_image_augmentations_refuse_rows(f) -> None:
    with pytest.raises(Unfit, match=f"augment={f.__name__} must be none") as error:
        f(jax.random.key(0), {"x": jnp.zeros((4, 5)), "y": LABELS})
    assert error.value.at("augment").startswith(f"augment={f.__name__}: must be none")


@pytest.mark.parametrize("f", [augment.mixup, augment.noise])
def test_numbers_of_tokens_are_not_mixed(f) -> None:
    with pytest.raises(Unfit, match="tokens"):
        f(jax.random.key(0), {"x": jnp.zeros((4, 5), jnp.int32), "y": LABELS})


def test_flip_mirrors_each_image_by_itself() -> None:
    out = augmented(augment.flip, probability=0.5)["x"]
    mirrored = [np.array_equal(o, x[:, ::-1]) for o, x in zip(out, X, strict=True)]
    kept = [np.array_equal(o, x) for o, x in zip(out, X, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48
    assert all(np.array_equal(o, x) for o, x in zip(augmented(augment.flip, probability=0.0)["x"], X, strict=True))


def test_crop_is_a_window_of_the_padded_image() -> None:
    for image, out in zip(X[:8], augmented(augment.crop)["x"], strict=False):
        assert any(np.array_equal(out, w) for w in windows(image, 12 // 8))


@pytest.mark.parametrize("f", [augment.crop, augment.flip_crop])
def test_a_crop_keeps_some_of_the_image(f) -> None:
    with pytest.raises(Unfit) as error:
        f(jax.random.key(0), {"x": jnp.ones((2, 9, 6, 1)), "y": LABELS[:2]}, pad=6)
    expected = (
        "augment.pad=6: must be smaller than the side of images of 9x6 pixels, or nothing of an image may be left"
    )
    assert error.value.at("augment") == expected


def boxes(zero: np.ndarray) -> list[tuple[int, int]]:
    """Height and breadth of the rectangle that is marked in each image; fails where it is no rectangle."""
    sizes = []
    for mask in zero:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert mask.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        sizes.append((len(rows) and rows[-1] - rows[0] + 1, len(columns) and columns[-1] - columns[0] + 1))
    return sizes


def test_cutout_zeroes_a_square_that_the_border_may_cut() -> None:
    out = augmented(augment.cutout, size=0.34)["x"]
    zero = (out == 0).all(-1)
    assert ((out == X).all(-1) | zero).all(), "the rest stays"
    sizes = boxes(zero)
    assert max(h for h, _ in sizes) == max(w for _, w in sizes) == round(0.34 * 12)
    assert min(h for h, _ in sizes) >= 2
    hit = [h > 0 for h, _ in boxes((augmented(augment.cutout, probability=0.25)["x"] == 0).all(-1))]
    assert 5 < sum(hit) < 30


def test_random_erasing_keeps_to_its_area_and_aspect() -> None:
    values = {"probability": 1.0, "smallest": 0.1, "largest": 0.3, "aspect": 2.0}
    x = np.full((64, 30, 30, 1), 9.0, np.float32)
    out = augmented(augment.random_erasing, x=x, **values)["x"]
    for h, w in boxes((out != 9).all(-1)):
        assert 0.1 * 900 * 0.9 < h * w < 0.3 * 900 * 1.1
        assert 1 / 2.3 < h / w < 2.3
    noise = out[out != 9]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_mixup_mixes_inputs_and_losses_alike() -> None:
    out = augmented(augment.mixup, alpha=1.0)
    share = out["share"][0]
    assert (out["share"] == share).all()
    assert 0 < share < 1
    assert sorted(out["other"]) == list(Y), "each example is a partner once"
    np.testing.assert_allclose(out["x"], share * X + (1 - share) * X[out["other"]], rtol=1e-5)


def test_cutmix_s_share_is_the_area_that_is_kept() -> None:
    for seed in range(5):
        out = augmented(augment.cutmix, seed=seed)
        pasted = (out["x"] == X[out["other"]]).all(-1)
        kept = (out["x"] == X).all(-1)
        assert (pasted | kept).all()
        own = [i for i in range(64) if out["other"][i] != i]
        assert {round(float(kept[i].mean()), 5) for i in own} == {round(float(out["share"][0]), 5)}
        boxes(pasted[own])


def test_noise_has_its_standard_deviation() -> None:
    added = augmented(augment.noise, std=0.3)["x"] - X
    assert abs(added.std() - 0.3) < 0.02
    assert abs(added.mean()) < 0.02


@pytest.mark.parametrize("f", [augment.mixup, pytest.param(augment.cutmix, marks=pytest.mark.slow)])
def test_a_step_on_a_mixture_has_the_mixture_of_the_losses_in_parts_too(f) -> None:
    of = program("mlp", augment=f)
    graphdef, state = start(of, numbers(augment__alpha=1.0))
    data = tiny_batch(16)
    mixed = quick(f)(jax.random.fold_in(state.key, state.step), data, alpha=1.0)
    outputs, _ = quick(partial(step.forward, of, graphdef, train=True))(state.params, state.variables, mixed["x"])
    one, other = (cross_entropy(outputs, mixed[k]) for k in ("y", "other"))
    expected = (mixed["share"] * one + (1 - mixed["share"]) * other).mean()
    after, metrics = compiled(of, graphdef)(state, data)
    np.testing.assert_allclose(metrics["sum"]["loss"], expected, rtol=1e-5)

    parts, _ = compiled(replace(of, accumulate=4), graphdef)(state, data)
    for path, value in arrays(after.params).items():
        np.testing.assert_allclose(arrays(parts.params)[path], value, rtol=1e-4, atol=1e-6)
