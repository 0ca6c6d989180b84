"""Dropout whose rate is an array in the training state, so that one compiled program serves every rate."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from dlrun.nn.hyperparameter import Hyperparameter


class Dropout(nnx.Module):
    """Inverted dropout: each value is dropped with probability ``rate``, the kept ones are divided by 1 - rate.

    Srivastava et al., 2014. Does nothing after ``model.eval()``.

    Args:
      rate: a variable of shape (), in [0, 1); several layers may share it.
      rngs: has the stream ``dropout``.
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
        mask = jax.random.bernoulli(self.stream(), keep, self.together(x.shape))
        return jnp.where(mask, x / keep, 0).astype(x.dtype)  # divided before it is rounded

    def together(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The mask's shape for inputs of ``shape``: 1 for the axes along which values are dropped together."""
        return shape


class SpatialDropout(Dropout):
    """Drops whole channels of an example, (B, ..., C). Tompson et al., 2015.

    Neighbouring pixels are so alike that for a convolution a single dropped one is little more than noise. On rows,
    (B, C), it is :class:`Dropout`.
    """

    def together(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *(1 for _ in shape[1:-1]), shape[-1])


class DropPath(Dropout):
    """Stochastic depth: x + drop_path(f(x)) skips the residual branch f for some examples. Huang et al., 2016.

    The branch of an example is dropped as a whole with probability p = share·rate; kept ones are divided by 1 - p.

    Args:
      rate: p of the last block, a variable of shape (), in [0, 1); all blocks share it.
      share: l / L for block l of L, so that p rises linearly with depth.
      rngs: has the stream ``dropout``.
    """

    def __init__(self, rate: Hyperparameter, share: float, rngs: nnx.Rngs):
        super().__init__(rate, rngs)
        self.share = share

    def together(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *(1 for _ in shape[1:]))
