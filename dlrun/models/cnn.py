"""Plain convolutional network."""

from itertools import pairwise

from flax import nnx
from jax import Array

from dlrun.config.schema import Count
from dlrun.errors import Unfit
from dlrun.nn.conv import ConvBlock, image_shape
from dlrun.nn.dense import Dense
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts


class CNN(nnx.Module):
    """Stages of 3x3 convolution, norm, activation and 2x2 max-pooling, then a dense layer and a linear output."""

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        channels: list[Count] = [32, 64],  # noqa: B006
        width: Count = 128,
        spatial_dropout: bool = False,
    ):
        height, breadth, depth = image_shape(inputs, "cnn")
        stages = len(channels)
        if min(height, breadth) >> stages < 1:
            fits = min(height, breadth).bit_length() - 1
            raise Unfit("channels", channels, f"have at most {fits} stages for images of {height}x{breadth} pixels")
        sizes = [depth, *channels]
        self.stages = nnx.List([ConvBlock(a, b, parts, rngs, spatial=spatial_dropout) for a, b in pairwise(sizes)])
        self.dense = Dense((height >> stages) * (breadth >> stages) * sizes[-1], width, parts, rngs)
        self.output = Linear(width, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        for stage in self.stages:
            x = nnx.max_pool(stage(x), (2, 2), strides=(2, 2))
        return self.output(self.dense(x.reshape(x.shape[0], -1)))
