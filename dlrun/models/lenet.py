"""LeNet-5."""

from dataclasses import replace

from flax import nnx
from jax import Array

from dlrun.nn.conv import ConvBlock, image_shape
from dlrun.nn.dense import Dense
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts


class LeNet(nnx.Module):
    """Convolutions to 6 and 16 channels, each with 2x2 average-pooling, dense layers of 120 and 84, linear output.

    LeCun et al., 1998, except that every output channel of the second convolution sees every input channel, and that
    the output is a linear layer in place of radial basis functions. An image with a side below 32 is padded by two
    pixels of zeros on each side, as the paper's images of 28x28 are.
    """

    def __init__(self, inputs: Inputs, outputs: int, parts: Parts, rngs: nnx.Rngs):
        height, width, channels = image_shape(inputs, "lenet", at_least=12)
        padding = 2 if min(height, width) < 32 else 0
        undropped = replace(parts, rate=None)
        self.conv1 = ConvBlock(channels, 6, undropped, rngs, kernel=5, padding=padding)
        self.conv2 = ConvBlock(6, 16, undropped, rngs, kernel=5, padding=0)
        height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))
        self.dense1 = Dense(height * width * 16, 120, parts, rngs)
        self.dense2 = Dense(120, 84, parts, rngs)
        self.output = Linear(84, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        for conv in (self.conv1, self.conv2):
            x = nnx.avg_pool(conv(x), (2, 2), strides=(2, 2))
        return self.output(self.dense2(self.dense1(x.reshape(x.shape[0], -1))))
