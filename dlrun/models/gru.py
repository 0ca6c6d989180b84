"""Gated recurrent units."""

from flax import nnx
from jax import Array

from dlrun.config.schema import Count
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts
from dlrun.nn.recurrent import GatedRecurrent, Stack


class GRU(nnx.Module):
    """GRU layers over a sequence, then a linear layer on the last state; to predict next tokens, on every state."""

    def __init__(
        self, inputs: Inputs, outputs: int, parts: Parts, rngs: nnx.Rngs, *, width: Count = 128, depth: Count = 1
    ):
        self.stack = Stack(GatedRecurrent, inputs, width, depth, parts, rngs, model="gru")
        self.output = Linear(width, outputs, kernel_init=parts.linear_init, rngs=rngs)
        self.causal = inputs.causal

    def __call__(self, x: Array) -> Array:
        h_BTD = self.stack(x)
        return self.output(h_BTD if self.causal else h_BTD[:, -1])
