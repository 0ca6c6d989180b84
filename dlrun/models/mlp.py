"""Multilayer perceptron."""

from itertools import pairwise

from flax import nnx
from jax import Array

from dlrun.config.schema import Count
from dlrun.errors import Unfit
from dlrun.nn.dense import Dense, features
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts


class MLP(nnx.Module):
    """Hidden layers of the given widths, then a linear output. An image is flattened to a vector of its pixels."""

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        widths: list[Count] | None = [256, 256],  # noqa: B006
        width: Count | None = None,
        depth: Count | None = None,
    ):
        if widths is None:
            if width is None or depth is None:
                raise Unfit("widths", None, "be a list of widths, unless model.width and model.depth are given")
            widths = [width] * depth
        elif width is not None or depth is not None:
            raise Unfit("widths", widths, "be null where model.width and model.depth are given")
        sizes = [features(inputs, "mlp"), *widths]
        self.hidden = nnx.List([Dense(a, b, parts, rngs) for a, b in pairwise(sizes)])
        self.output = Linear(sizes[-1], outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            x = layer(x)
        return self.output(x)
