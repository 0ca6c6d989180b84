"""Losses: one value an example."""

import jax
import jax.numpy as jnp
from jax import Array


def cross_entropy(logits: Array, labels: Array, smoothing: Array | float = 0.0) -> Array:
    """-Σ q_k log softmax(logits)_k, q = (1 - smoothing)·onehot(label) + smoothing / K. Szegedy et al., 2016.

    Args:
      logits: shape (B, K).
      labels: class numbers, shape (B,).
      smoothing: label smoothing in [0, 1).

    Returns:
      Shape (B,), float32.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    true = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -(1 - smoothing) * true - smoothing * log_p.mean(1)
