"""A stream of random keys whose draws cost the same, however large the program is that is being traced."""

import jax
from flax import nnx
from jax import Array


class RandomStream(nnx.RngStream):
    """Gives the keys that ``nnx.RngStream`` gives.

    Flax counts by ``count[...] += 1``, which asks the traced count for its sharding: JAX 0.10 answers with an
    error that tells the count's whole history, in a time that grows with the program, and so with its square in all.
    """

    def __call__(self) -> Array:
        """The next key, of shape ()."""
        count = self.count.get_value()
        self.count.set_value(count + 1)
        return jax.random.fold_in(self.key.get_value(), count)


def streams(**keys: Array) -> nnx.Rngs:
    """Streams by name, each with its first key."""
    rngs = nnx.Rngs(**keys)
    for name, key in keys.items():
        setattr(rngs, name, RandomStream(key, tag=name))
    return rngs
