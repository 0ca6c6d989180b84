"""AlexNet on one device."""

from dataclasses import replace
from itertools import pairwise
from typing import Literal

from flax import nnx
from jax import Array

from dlrun.config.schema import Count
from dlrun.errors import Unfit
from dlrun.nn.conv import SMALL, ConvBlock, image_shape
from dlrun.nn.dense import Dense
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts

POOLED = (0, 1, 4)  # max-pooling follows these convolutions


class AlexNet(nnx.Module):
    """Five convolutions with three max-poolings, two dense layers with dropout, linear output. Krizhevsky et al., 2012.

    This is the variant for a single device (Krizhevsky, 2014), without local response normalisation: channels (1, 3, 6,
    4, 4)·width and dense layers of 64·width. The form ``imagenet`` has kernels of 11 (stride 4), 5, 3, 3 and 3 pixels
    and overlapping 3x3 pooling; the form ``cifar`` has kernels of 3 pixels, stride 1, and 2x2 pooling.
    """

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        form: Literal["auto", "imagenet", "cifar"] = "auto",
        width: Count = 64,
    ):
        height, breadth, channels = image_shape(inputs, "alexnet", at_least=8)
        if form == "auto":
            form = "cifar" if min(height, breadth) < SMALL else "imagenet"
        self.large = form == "imagenet"
        if self.large and min(height, breadth) < 63:
            raise Unfit(
                "form", form, f"be cifar for images of {height}x{breadth} pixels: imagenet needs at least 63x63"
            )
        sizes = [channels, *(n * width for n in (1, 3, 6, 4, 4))]
        kernels = (11, 5, 3, 3, 3) if self.large else (3,) * 5
        undropped = replace(parts, rate=None)
        convs = [ConvBlock(a, b, undropped, rngs, kernel=k) for (a, b), k in zip(pairwise(sizes), kernels, strict=True)]
        if self.large:
            convs[0] = ConvBlock(channels, width, undropped, rngs, kernel=11, stride=4, padding=2)
        self.convs = nnx.List(convs)
        height, breadth = map(self._pooled, (height, breadth))
        self.dense1 = Dense(height * breadth * sizes[-1], 64 * width, parts, rngs)
        self.dense2 = Dense(64 * width, 64 * width, parts, rngs)
        self.output = Linear(64 * width, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def _pooled(self, side: int) -> int:
        """The side, in pixels, that is left of an image's side after convolutions and pooling."""
        if not self.large:
            return side // 8
        side = (side - 7) // 4 + 1
        for _ in POOLED:
            side = (side - 3) // 2 + 1
        return side

    def __call__(self, x: Array) -> Array:
        window = (3, 3) if self.large else (2, 2)
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i in POOLED:
                x = nnx.max_pool(x, window, strides=(2, 2))
        return self.output(self.dense2(self.dense1(x.reshape(x.shape[0], -1))))
