"""VGG."""

from dataclasses import replace
from typing import Literal

from flax import nnx
from jax import Array

from dlrun.config.schema import Count
from dlrun.errors import Unfit
from dlrun.nn.conv import SMALL, ConvBlock, image_shape
from dlrun.nn.dense import Dense
from dlrun.nn.linear import Linear
from dlrun.nn.norms import Identity
from dlrun.nn.parts import Inputs, Parts

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""For each depth, how many convolutions each stage has; the depth counts these and three linear layers."""


class VGG(nnx.Module):
    """Five stages of 3x3 convolutions and 2x2 max-pooling, (1, 2, 4, 8, 8)·width channels. Simonyan & Zisserman, 2015.

    Then the form ``imagenet`` has two dense layers of 64·width with dropout, and the form ``cifar`` the average over
    the pixels that are left (one for an image of 32x32), with dropout. A max-pooling that would leave no pixel is
    skipped.
    """

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        depth: Literal[11, 13, 16, 19] = 16,
        form: Literal["auto", "imagenet", "cifar"] = "auto",
        width: Count = 64,
        spatial_dropout: bool = False,
    ):
        height, breadth, size = image_shape(inputs, "vgg")
        if form == "auto":
            form = "cifar" if min(height, breadth) < SMALL else "imagenet"
        if form == "imagenet" and min(height, breadth) < 32:
            raise Unfit(
                "form", form, f"be cifar for images of {height}x{breadth} pixels: imagenet needs at least 32x32"
            )
        conv_parts = parts if spatial_dropout else replace(parts, rate=None)
        stages = []
        for factor, blocks in zip((1, 2, 4, 8, 8), STAGES[depth], strict=True):
            sizes = [size] + [factor * width] * blocks
            stages.append(nnx.List([ConvBlock(a, factor * width, conv_parts, rngs, spatial=True) for a in sizes[:-1]]))
            size = factor * width
        self.stages, self.dense, self.dropout = nnx.List(stages), nnx.List([]), Identity()
        if form == "imagenet":
            size *= (height // 32) * (breadth // 32)
            self.dense = nnx.List([Dense(a, 64 * width, parts, rngs) for a in (size, 64 * width)])
            size = 64 * width
        else:
            self.dropout = parts.dropout(rngs)
        self.output = Linear(size, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        for stage in self.stages:
            for block in stage:
                x = block(x)
            if min(x.shape[1:3]) > 1:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1) if self.dense else self.dropout(x.mean((1, 2)))
        for layer in self.dense:
            x = layer(x)
        return self.output(x)
