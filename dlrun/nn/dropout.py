"""Dropout whose rate is an array in the training state, so that one compiled program serves every rate."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from dlrun.nn.hyperparameter import Hyperparameter


class Dropout(nnx.Module):
    """Inverted dropout: each value is dropped with probability ``rate``, the kept ones are divided by 1 - rate.

    Srivastava et al., 2014. It does nothing after ``model.eval()``.

    Args:
      rate: a variable of shape (), in [0, 1); several layers may share it.
      rngs: its stream ``dropout`` gives the random numbers.
    """

    share = 1.0  # this layer drops with probability share·rate

    def __init__(self, rate: Hyperparameter, rngs: nnx.Rngs):
        self.rate = rate
        self.stream = rngs.dropout.fork()
        self.deterministic = False  # the attribute that model.train() and model.eval() set

    def __call__(self, x: Array) -> Array:
        if self.deterministic:
            return x
        keep = 1.0 - self.share * self.rate[...]
        mask = jax.random.bernoulli(self.stream(), keep, self.mask_shape(x.shape))
        return jnp.where(mask, x / keep, 0).astype(x.dtype)  # x / keep is float32: rounded to half precision only here

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The mask's shape for inputs of ``shape``: 1 for the axes along which values are dropped together."""
        return shape


class SpatialDropout(Dropout):
    """Drops whole channels of an example, (B, ..., C). Tompson et al., 2015.

    Neighbouring pixels are so alike that dropping single ones hides little from a convolution. For rows, (B, C), it
    does the same as :class:`Dropout`.
    """

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *(1 for _ in shape[1:-1]), shape[-1])


class DropPath(Dropout):
    """Stochastic depth: x + drop_path(f(x)) skips the residual branch f for some examples. Huang et al., 2016.

    For each example the whole branch is dropped with probability p = share·rate; kept ones are divided by 1 - p.

    Args:
      rate: p of the last block, a variable of shape (), in [0, 1); all blocks share it.
      share: l / L for block l of L, so that p rises linearly with depth.
      rngs: its stream ``dropout`` gives the random numbers.
    """

    def __init__(self, rate: Hyperparameter, share: float, rngs: nnx.Rngs):
        super().__init__(rate, rngs)
        self.share = share

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *(1 for _ in shape[1:]))
