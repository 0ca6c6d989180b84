"""Multinomial logistic regression; linear regression where the task is regression."""

from flax import nnx
from jax import Array

from dlrun.nn.dense import features
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts


class Logistic(nnx.Module):
    """x W + b, x the numbers of an example. Cox, 1958. It has no hidden layer, so no activation, norm or dropout."""

    def __init__(self, inputs: Inputs, outputs: int, parts: Parts, rngs: nnx.Rngs):
        self.output = Linear(features(inputs, "logistic"), outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.output(x.reshape(x.shape[0], -1))
