"""Losses: ``f(outputs, targets, smoothing)`` gives a value for each example, shape (B,), in float32 at least.

The type of the targets tells the task. Class numbers are integers (B,), or (B, T) for the next token at every position,
with outputs (B, K) or (B, T, K). Labels, several of which may be true at once, are booleans (B, K), and numbers to
predict are floats (B, K), both with outputs (B, K). ``smoothing`` is label smoothing in [0, 1), which does nothing for
numbers to predict. Keyword-only parameters are the keys of ``conf/loss/<name>.yaml``.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Le
from jax import Array

from dlrun.config.schema import Positive, Traced
from dlrun.errors import Unfit
from dlrun.nn.linear import at_least_float32


def auto(outputs: Array, targets: Array, smoothing: Array | float) -> Array:
    """Uses cross_entropy for class numbers, binary_cross_entropy for labels, mse for numbers to predict."""
    if jnp.issubdtype(targets.dtype, jnp.integer):
        return cross_entropy(outputs, targets, smoothing)
    return (binary_cross_entropy if targets.dtype == bool else mse)(outputs, targets, smoothing)


def cross_entropy(outputs: Array, targets: Array, smoothing: Array | float = 0.0) -> Array:
    """-Σ_k q_k log softmax(outputs)_k, q = (1 - smoothing)·onehot(target) + smoothing / K. Szegedy et al., 2016.

    For tokens (B, T) it is the mean over positions.
    """
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise Unfit(".loss", "cross_entropy", "be mse for numbers or binary_cross_entropy for labels")
    log_p = jax.nn.log_softmax(at_least_float32(outputs))
    true = jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    # An output of -inf rules a class out and makes the mean infinite: without smoothing, 0 times it would be NaN.
    smoothed = jnp.where(smoothing > 0, smoothing * log_p.mean(-1), 0)
    return _by_example(-(1 - smoothing) * true - smoothed)


def binary_cross_entropy(outputs: Array, targets: Array, smoothing: Array | float = 0.0) -> Array:
    """-Σ_k [q_k log σ(z_k) + (1 - q_k) log(1 - σ(z_k))], z the outputs; for labels the mean over k, not the sum.

    q = (1 - smoothing)·t + smoothing / 2, t the labels, or onehot(target) for classes, for which this is the sigmoid
    loss of Beyer et al., 2020.
    """
    if jnp.issubdtype(targets.dtype, jnp.floating):
        raise Unfit(".loss", "binary_cross_entropy", "be mse for numbers")
    labels = targets if targets.dtype == bool else jax.nn.one_hot(targets, outputs.shape[-1])
    q = (1 - smoothing) * labels.astype(jnp.float32) + smoothing / 2
    each = optax.sigmoid_binary_cross_entropy(at_least_float32(outputs), q)
    return _by_example(each.mean(-1) if targets.dtype == bool else each.sum(-1))


def mse(outputs: Array, targets: Array, smoothing: Array | float = 0.0) -> Array:
    """Mean squared error: the mean of (output - target)²; for labels, which are not smoothed, of (σ(output) - label)².

    For class numbers it is the Brier score, the sum of (softmax(outputs) - q)² over the classes, q as in
    :func:`cross_entropy`.
    """
    outputs = at_least_float32(outputs)
    if jnp.issubdtype(targets.dtype, jnp.floating):
        return _by_example(jnp.square(outputs - targets).mean(-1))
    if targets.dtype == bool:
        return _by_example(jnp.square(jax.nn.sigmoid(outputs) - targets).mean(-1))
    q = optax.smooth_labels(jax.nn.one_hot(targets, outputs.shape[-1]), smoothing)  # pyright: ignore[reportArgumentType]
    return _by_example(jnp.square(jax.nn.softmax(outputs) - q).sum(-1))


def huber(outputs: Array, targets: Array, smoothing: Array | float = 0.0, *, delta: Positive = 1.0) -> Array:
    """Mean of e²/2 where |e| ≤ delta, else of delta·(|e| - delta/2), e = output - target. Huber, 1964.

    Like the targets in training, e and ``delta`` are in standard deviations of the training targets.
    """
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        raise Unfit(".loss", "huber", "be cross_entropy or binary_cross_entropy for classes")
    e = jnp.abs(at_least_float32(outputs) - targets)
    return _by_example(jnp.where(e <= delta, e**2 / 2, delta * (e - delta / 2)).mean(-1))


def distillation(
    outputs: Array,
    targets: Any,
    smoothing: Array | float = 0.0,
    *,
    teacher: str | None = None,
    temperature: Positive = 2.0,
    share: Annotated[float, Ge(0), Le(1), Traced()] = 0.9,
) -> Array:
    """share·T²·KL(softmax(teacher/T) || softmax(outputs/T)) + (1 - share)·cross_entropy. Hinton et al., 2015.

    Args:
      targets: in training, a pair of class numbers and the teacher's outputs; in evaluation class numbers alone, for
        which the loss is just the cross-entropy.
      teacher: directory of a run on the same data. The program loads it; this function does not use it.
      temperature: T.
    """
    if not isinstance(targets, tuple):
        return cross_entropy(outputs, targets, smoothing)
    targets, teachers = targets
    log_p = jax.nn.log_softmax(at_least_float32(outputs) / temperature)
    log_q = jax.nn.log_softmax(at_least_float32(teachers) / temperature)
    divergence = _by_example((jnp.exp(log_q) * (log_q - log_p)).sum(-1))
    return share * temperature**2 * divergence + (1 - share) * cross_entropy(outputs, targets, smoothing)


def _by_example(values: Array) -> Array:
    """Values (B, ...) as (B,): the mean over positions, if there are any."""
    return values.reshape(values.shape[0], -1).mean(1)
