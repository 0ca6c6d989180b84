"""Losses against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.errors import Unfit
from dlrun.objective.losses import auto, binary_cross_entropy, cross_entropy, huber, mse
from tests.tiny import assert_gradient

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 3, (7, 4)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, 7).astype(np.int32)


def by_hand(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> np.ndarray:
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    k = logits.shape[1]
    q = np.full(logits.shape, smoothing / k)
    q[np.arange(len(labels)), labels] += 1 - smoothing
    return -(q * np.log(p)).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy(smoothing: float) -> None:
    expected = by_hand(LOGITS, LABELS, smoothing)
    found = cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), smoothing)
    assert found.shape == (7,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_uniform_logits_cost_the_logarithm_of_the_classes() -> None:
    for smoothing in (0.0, 0.3):
        np.testing.assert_allclose(
            cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 9]), smoothing), np.log(10), rtol=1e-6
        )


def test_gradient_is_the_softmax_less_the_target() -> None:
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    q = 0.2 / 4 + 0.8 * np.eye(4)[LABELS]
    grad = jax.grad(lambda z: cross_entropy(z, jnp.asarray(LABELS), 0.2).sum())(jnp.asarray(LOGITS))
    np.testing.assert_allclose(grad, p - q, atol=1e-6)


def test_extreme_logits_stay_finite() -> None:
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    loss = cross_entropy(logits, jnp.array([0, 0]))
    np.testing.assert_allclose(loss, [0, 2e4])
    assert jnp.isfinite(jax.grad(lambda z: cross_entropy(z, jnp.array([0, 0])).sum())(logits)).all()


def test_half_precision_logits_give_a_float32_loss() -> None:
    found = cross_entropy(jnp.asarray(LOGITS, jnp.float16), jnp.asarray(LABELS), 0.1)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, by_hand(LOGITS, LABELS, 0.1), rtol=5e-3)


def test_cross_entropy_of_tokens_is_the_mean_over_positions() -> None:
    logits, labels = RANDOM.normal(size=(2, 5, 4)).astype(np.float32), RANDOM.integers(0, 4, (2, 5))
    expected = [by_hand(z, y, 0.1).mean() for z, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(cross_entropy(jnp.asarray(logits), jnp.asarray(labels), 0.1), expected, rtol=1e-5)


TRUE = RANDOM.integers(0, 2, (7, 4)).astype(bool)
NUMBERS = RANDOM.normal(0, 2, (7, 4)).astype(np.float32)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z.astype(np.float64)))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy(smoothing: float) -> None:
    def expected(labels: np.ndarray) -> np.ndarray:
        q = (1 - smoothing) * labels + smoothing / 2
        return -(q * np.log(sigmoid(LOGITS)) + (1 - q) * np.log(1 - sigmoid(LOGITS)))

    found = binary_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(TRUE), smoothing)
    np.testing.assert_allclose(found, expected(TRUE).mean(1), rtol=1e-5)
    found = binary_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), smoothing)
    np.testing.assert_allclose(found, expected(np.eye(4)[LABELS]).sum(1), rtol=1e-5)


def test_mse() -> None:
    z = jnp.asarray(LOGITS)
    np.testing.assert_allclose(mse(z, jnp.asarray(NUMBERS)), ((LOGITS - NUMBERS) ** 2).mean(1), rtol=1e-5)
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    q = 0.1 / 4 + 0.9 * np.eye(4)[LABELS]
    np.testing.assert_allclose(mse(z, jnp.asarray(LABELS), 0.1), ((p - q) ** 2).sum(1), rtol=1e-5)
    np.testing.assert_allclose(mse(z, jnp.asarray(TRUE)), ((sigmoid(LOGITS) - TRUE) ** 2).mean(1), rtol=1e-4)


def test_huber_is_half_a_square_near_zero_and_a_line_beyond() -> None:
    e = np.abs(LOGITS - NUMBERS)
    for delta in (0.5, 2.0):
        expected = np.where(e <= delta, e**2 / 2, delta * (e - delta / 2)).mean(1)
        found = huber(jnp.asarray(LOGITS), jnp.asarray(NUMBERS), delta=delta)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("targets", "same"),
    [(LABELS, cross_entropy), (TRUE, binary_cross_entropy), (NUMBERS, mse)],
    ids=["classes", "labels", "numbers"],
)
def test_auto_goes_by_the_targets(targets: np.ndarray, same: Any) -> None:
    z, y = jnp.asarray(LOGITS), jnp.asarray(targets)
    np.testing.assert_array_equal(auto(z, y, 0.1), same(z, y, 0.1))


@pytest.mark.parametrize(
    ("loss", "targets", "name"),
    [(cross_entropy, NUMBERS, "mse"), (cross_entropy, TRUE, "binary_cross_entropy"), (huber, LABELS, "cross_entropy"),
     (binary_cross_entropy, NUMBERS, "mse")],
)  # fmt: skip
def test_a_loss_says_what_it_is_not_for(loss: Any, targets: np.ndarray, name: str) -> None:
    with pytest.raises(Unfit, match=f"must be.*{name}") as error:
        loss(jnp.asarray(LOGITS), jnp.asarray(targets), 0.0)
    assert error.value.at("loss").startswith(f"loss={loss.__name__}: must be")


@pytest.mark.parametrize("loss", [auto, cross_entropy, binary_cross_entropy, mse, huber])
@pytest.mark.parametrize("targets", [LABELS, TRUE, NUMBERS], ids=["classes", "labels", "numbers"])
def test_gradient_in_float64(loss: Any, targets: np.ndarray) -> None:
    with jax.enable_x64(True):
        try:
            z, y = jnp.asarray(LOGITS, jnp.float64), jnp.asarray(targets)
            y = y.astype(jnp.float64) if targets is NUMBERS else y
            jax.eval_shape(loss, z, y, 0.1)
        except Unfit:
            return
        assert_gradient(lambda z: loss(z, y, 0.1).sum(), z)
