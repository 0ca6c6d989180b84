"""Multilayer perceptron."""

import math
from itertools import pairwise

from flax import nnx
from jax import Array

from dlrun.nn.parts import Inputs, Parts
from dlrun.schema import Count


class Dense(nnx.Module):
    """Linear layer, norm, activation, dropout."""

    def __init__(self, inputs: int, outputs: int, parts: Parts, rngs: nnx.Rngs):
        self.linear = nnx.Linear(inputs, outputs, kernel_init=parts.kernel_init, rngs=rngs)
        self.norm = parts.norm(outputs, rngs)
        self.act = parts.act
        self.dropout = parts.dropout(rngs)

    def __call__(self, x: Array) -> Array:
        return self.dropout(self.act(self.norm(self.linear(x))))


class MLP(nnx.Module):
    """Hidden layers of the given widths, then a linear output; images are read as rows of pixels."""

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        widths: list[Count] = [256, 256],  # noqa: B006
    ):
        sizes = [math.prod(inputs.shape), *widths]
        self.hidden = nnx.List([Dense(a, b, parts, rngs) for a, b in pairwise(sizes)])
        self.output = nnx.Linear(sizes[-1], outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            x = layer(x)
        return self.output(x)
