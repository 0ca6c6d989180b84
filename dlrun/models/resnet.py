"""Residual networks (He et al., 2016), in the form for small images."""

import jax.numpy as jnp
from flax import nnx
from jax import Array

from dlrun.nn.conv import ConvBlock, image_shape
from dlrun.nn.parts import Inputs, Parts
from dlrun.schema import Count, Unfit


class BasicBlock(nnx.Module):
    """act(x + norm(conv(block(x)))): two 3x3 convolutions around a parameter-free shortcut (option A of the paper).

    Where the block halves the image, the shortcut takes every second pixel and pads the new channels with zeros.
    """

    def __init__(self, inputs: int, outputs: int, parts: Parts, rngs: nnx.Rngs, *, stride: int, skip: bool):
        self.first = ConvBlock(inputs, outputs, parts, rngs, stride=stride)
        self.norm = parts.norm(outputs, rngs)
        self.second = nnx.Conv(
            outputs,
            outputs,
            (3, 3),
            use_bias=not hasattr(self.norm, "bias"),
            kernel_init=parts.kernel_init,
            rngs=rngs,
        )
        self.act = parts.act
        self.stride, self.skip, self.new = stride, skip, outputs - inputs

    def __call__(self, x: Array) -> Array:
        y = self.norm(self.second(self.first(x)))
        if self.skip:
            y += jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, self.new)))
        return self.act(y)


class ResNet(nnx.Module):
    """Convolution, three stages of (depth - 2) / 6 blocks at 1, 1/2 and 1/4 size, global average, linear output."""

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        depth: Count = 20,
        width: Count = 16,
        skip: bool = True,
    ):
        height, breadth, channels = image_shape(inputs, "resnet")
        if depth < 8 or (depth - 2) % 6:
            raise Unfit("depth", depth, "be 6 n + 2: 8, 14, 20, 26, 32, 38, 44, 56, 110, ...")
        if min(height, breadth) < 4:
            raise Unfit("name", "resnet", f"be a model for images of {height}x{breadth} pixels; it takes 4x4 and more")
        self.stem = ConvBlock(channels, width, parts, rngs)
        blocks, size = [], width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                into = width * 2**stage
                halve = stage > 0 and block == 0
                blocks.append(BasicBlock(size, into, parts, rngs, stride=2 if halve else 1, skip=skip))
                size = into
        self.blocks = nnx.List(blocks)
        self.output = nnx.Linear(size, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean((1, 2)))
