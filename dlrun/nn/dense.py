"""Fully connected blocks, and the check that a model's inputs are numbers."""

import math

from flax import nnx
from jax import Array

from dlrun.errors import Unfit
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts


def features(inputs: Inputs, model: str) -> int:
    """How many numbers a row or an image has; raises :class:`Unfit` for tokens, whose numbers are only names."""
    if inputs.kind == "tokens":
        raise Unfit("name", model, f"be a model for {inputs}, such as transformer: it takes rows and images")
    return math.prod(inputs.shape)


class Dense(nnx.Module):
    """Linear layer, norm, activation, dropout. The linear layer has no bias where the norm has one."""

    def __init__(self, inputs: int, outputs: int, parts: Parts, rngs: nnx.Rngs):
        self.norm = parts.norm(outputs, rngs)
        use_bias = not hasattr(self.norm, "bias")
        self.linear = Linear(inputs, outputs, use_bias=use_bias, kernel_init=parts.kernel_init, rngs=rngs)
        self.act = parts.act(outputs, rngs)
        self.dropout = parts.dropout(rngs)

    def __call__(self, x: Array) -> Array:
        return self.dropout(self.act(self.norm(self.linear(x))))
