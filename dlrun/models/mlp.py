"""Multilayer perceptron."""

from itertools import pairwise

from flax import nnx
from jax import Array

from dlrun.config.schema import Count
from dlrun.errors import Unfit
from dlrun.nn.dense import Dense, features
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts

WIDTH, DEPTH = 256, 2


class MLP(nnx.Module):
    """Hidden layers, then a linear output. An image is flattened to a vector of its pixels.

    Args:
      widths: units of each hidden layer; None for ``depth`` layers of ``width`` units.
      width, depth: by default :data:`WIDTH` and :data:`DEPTH`.
    """

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        widths: list[Count] | None = None,
        width: Count | None = None,
        depth: Count | None = None,
    ):
        if widths is None:
            widths = [width or WIDTH] * (depth or DEPTH)
        elif given := [f"model.{k}={v}" for k, v in (("width", width), ("depth", depth)) if v is not None]:
            raise Unfit("widths", widths, f"be null when {' and '.join(given)} is given, or the other way round")
        sizes = [features(inputs, "mlp"), *widths]
        self.hidden = nnx.List([Dense(a, b, parts, rngs) for a, b in pairwise(sizes)])
        self.output = Linear(sizes[-1], outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            x = layer(x)
        return self.output(x)
