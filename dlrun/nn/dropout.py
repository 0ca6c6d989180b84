"""Dropout whose rate is an array in the training state, so that one compiled step serves every rate."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


class Number(nnx.Variable):
    """A hyperparameter that lives in the model's state but is not trained."""


class Dropout(nnx.Module):
    """Inverted dropout: each value is dropped with probability ``rate``, the kept ones are divided by 1 - rate.

    Srivastava et al., 2014. Does nothing after ``model.eval()``.

    Args:
      rate: a variable of shape (), in [0, 1); may be shared by many layers.
      rngs: gives the stream ``dropout``.
    """

    def __init__(self, rate: Number, rngs: nnx.Rngs):
        self.rate = rate
        self.stream = rngs.dropout.fork()
        self.deterministic = False  # the attribute that model.train() and model.eval() set

    def __call__(self, x: Array) -> Array:
        if self.deterministic:
            return x
        keep = 1.0 - self.rate[...]
        mask = jax.random.bernoulli(self.stream(), keep, x.shape)
        return jnp.where(mask, x / keep.astype(x.dtype), 0)
