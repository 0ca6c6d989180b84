"""Losses and metrics against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.losses import cross_entropy
from dlrun.metrics import TASKS, accuracy

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


def test_accuracy() -> None:
    logits = jnp.array([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0]])
    np.testing.assert_array_equal(accuracy(logits, jnp.array([1, 1, 1])), [1, 0, 1])


def test_mode_of_a_metric() -> None:
    task = TASKS["classification"]
    assert (task.mode("val/loss"), task.mode("val/accuracy")) == ("min", "max")
