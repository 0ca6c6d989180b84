"""Long short-term memory."""

from flax import nnx
from jax import Array

from dlrun.config.schema import Count
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts
from dlrun.nn.recurrent import LongShortTerm, Stack


class LSTM(nnx.Module):
    """LSTM layers over a sequence, then a linear layer on the last state; to predict next tokens, on every state."""

    def __init__(
        self, inputs: Inputs, outputs: int, parts: Parts, rngs: nnx.Rngs, *, width: Count = 128, depth: Count = 1
    ):
        self.stack = Stack(LongShortTerm, inputs, width, depth, parts, rngs, model="lstm")
        self.output = Linear(width, outputs, kernel_init=parts.linear_init, rngs=rngs)
        self.causal = inputs.causal

    def __call__(self, x: Array) -> Array:
        h_BTD = self.stack(x)
        return self.output(h_BTD if self.causal else h_BTD[:, -1])
