"""Residual networks (He et al., 2016), in the forms for CIFAR and for ImageNet."""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax import Array

from dlrun.config.schema import Count, Rate
from dlrun.errors import Unfit
from dlrun.nn.conv import SMALL, ConvBlock, conv_norm, image_shape
from dlrun.nn.linear import Linear
from dlrun.nn.parts import Inputs, Parts
from dlrun.nn.parts import drop_path as stochastic_depth

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""For each depth, how many blocks each stage of the ImageNet form has; from depth 50 on the blocks are bottlenecks."""


class Subsample(nnx.Module):
    """The paper's shortcut A: takes every ``stride``-th pixel and adds ``new`` channels of zeros; no parameters."""

    def __init__(self, stride: int, new: int):
        self.stride, self.new = stride, new

    def __call__(self, x: Array) -> Array:
        return jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, self.new)))


class Projection(nnx.Module):
    """The paper's shortcut B: a 1x1 convolution with ``stride``, then a norm."""

    def __init__(self, inputs: int, outputs: int, parts: Parts, rngs: nnx.Rngs, *, stride: int):
        self.conv, self.norm = conv_norm(inputs, outputs, parts, rngs, kernel=1, stride=stride)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


class Block(nnx.Module):
    """act(shortcut(x) + drop_path(norm(last(convs(x))))), (B, H, W, inputs) to (B, ⌈H/stride⌉, ⌈W/stride⌉, outputs).

    Args:
      inputs, outputs: numbers of channels; inside a bottleneck there are a quarter of ``outputs``.
      bottleneck: whether the branch has convolutions of 1x1, 3x3 and 1x1, with the stride in the middle one (Goyal et
        al., 2017); otherwise it has two of 3x3.
      shortcut: what the branch is added to, as a function of x; None for a plain network.
      path: stochastic depth (:func:`~dlrun.nn.parts.drop_path`) for the branch.
      zero_init: whether the branch starts as 0, because the scale of its last norm does (Goyal et al., 2017), or if
        that norm has no scale, the last kernel (Zhang et al., 2019).
      spatial: whether dropout drops whole channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        stride: int,
        bottleneck: bool,
        shortcut: Callable[[Array], Array] | None,
        path: Callable[[Array], Array],
        zero_init: bool,
        spatial: bool,
    ):
        if bottleneck:
            width = outputs // 4
            reduce = ConvBlock(inputs, width, parts, rngs, kernel=1, spatial=spatial)
            convs = [reduce, ConvBlock(width, width, parts, rngs, stride=stride, spatial=spatial)]
            self.last, self.norm = conv_norm(width, outputs, parts, rngs, kernel=1)
        else:
            convs = [ConvBlock(inputs, outputs, parts, rngs, stride=stride, spatial=spatial)]
            self.last, self.norm = conv_norm(outputs, outputs, parts, rngs)
        self.convs, self.shortcut, self.path = nnx.List(convs), shortcut, path
        self.act = parts.act(outputs, rngs)
        if zero_init:
            last = getattr(self.norm, "scale", self.last.kernel)
            last[...] = jnp.zeros_like(last[...])

    def __call__(self, x: Array) -> Array:
        y = x
        for conv in self.convs:
            y = conv(y)
        y = self.path(self.norm(self.last(y)))  # pyright: ignore[reportCallIssue]
        return self.act(y if self.shortcut is None else self.shortcut(x) + y)


class ResNet(nnx.Module):
    """Convolution, stages of residual blocks, each at half the size of the one before, global average, output.

    The form ``cifar`` has three stages of (depth - 2) / 6 blocks, with shortcuts A (:class:`Subsample`). The form
    ``imagenet`` has four stages (:data:`STAGES`), with shortcuts B (:class:`Projection`) where the shape changes, and
    from depth 50 on four times as many channels.
    """

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        depth: Count = 20,
        form: Literal["auto", "cifar", "imagenet"] = "auto",
        stem: Literal["auto", "small", "large"] = "auto",
        width: Count | None = None,
        skip: bool = True,
        zero_init: bool = False,
        drop_path: Rate = 0.0,
        spatial_dropout: bool = False,
    ):
        if form == "auto":
            form = "imagenet" if depth in STAGES else "cifar"
        imagenet = form == "imagenet"
        height, breadth, channels = image_shape(inputs, "resnet", at_least=8 if imagenet else 4)
        if stem == "auto":
            stem = "large" if imagenet and min(height, breadth) >= SMALL else "small"
        width = width or (64 if imagenet else 16)
        misfits = [*_depth(depth, imagenet), *_branches(skip, zero_init, drop_path)]
        if stem == "large" and min(height, breadth) < 32:
            misfits.append(
                Unfit("stem", stem, f"be small for images of {height}x{breadth} pixels: large needs at least 32x32")
            )
        if misfits:
            raise ExceptionGroup("resnet", misfits)

        self.large = stem == "large"
        stem_sizes = {"kernel": 7, "stride": 2} if self.large else {}
        self.stem = ConvBlock(channels, width, parts, rngs, **stem_sizes, spatial=spatial_dropout)
        counts = STAGES[depth] if imagenet else ((depth - 2) // 6,) * 3
        paths = stochastic_depth(drop_path, sum(counts), rngs)
        bottleneck = imagenet and depth >= 50
        blocks, size = [], width
        for stage, count in enumerate(counts):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                into = width * 2**stage * (4 if bottleneck else 1)
                shortcut = None
                if skip and imagenet and (stride > 1 or size != into):
                    shortcut = Projection(size, into, parts, rngs, stride=stride)
                elif skip:
                    shortcut = Subsample(stride, into - size)
                blocks.append(
                    Block(
                        size,
                        into,
                        parts,
                        rngs,
                        stride=stride,
                        bottleneck=bottleneck,
                        shortcut=shortcut,
                        path=paths[len(blocks)],
                        zero_init=zero_init,
                        spatial=spatial_dropout,
                    )
                )
                size = into
        self.blocks = nnx.List(blocks)
        self.output = Linear(size, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x)
        if self.large:
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean((1, 2)))


def _depth(depth: int, imagenet: bool) -> list[Unfit]:
    """Errors about a depth that the form does not have."""
    published = ", ".join(map(str, STAGES))
    if imagenet and depth not in STAGES:
        return [Unfit("depth", depth, f"be one of {published} for model.form=imagenet")]
    if not imagenet and (depth < 8 or (depth - 2) % 6):
        return [Unfit("depth", depth, f"be 6 n + 2 (8, 14, 20, 26, 32, 38, 44, 56, 110, ...), or one of {published}")]
    return []


def _branches(skip: bool, zero_init: bool, drop_path: Array | float) -> list[Unfit]:
    """Errors about options of residual branches in a network without shortcuts."""
    misfits = []
    if not skip and not (isinstance(drop_path, float) and drop_path == 0):
        misfits.append(Unfit("skip", skip, "be true with model.drop_path: nothing would be left of a block"))
    if not skip and zero_init:
        misfits.append(Unfit("skip", skip, "be true with model.zero_init: every block would give zeros"))
    return misfits
