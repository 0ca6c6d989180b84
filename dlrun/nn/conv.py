"""Convolution blocks."""

from flax import nnx
from jax import Array

from dlrun.nn.parts import Inputs, Parts
from dlrun.schema import Unfit


def image_shape(inputs: Inputs, model: str) -> tuple[int, int, int]:
    """Height, width and channels of image inputs; :class:`Unfit` for inputs that are no images."""
    if inputs.kind != "image":
        raise Unfit("name", model, f"be a model for rows of {inputs.shape[0]} features, such as mlp: it takes images")
    return inputs.shape  # pyright: ignore[reportReturnType]


class ConvBlock(nnx.Module):
    """3x3 convolution, norm, activation and dropout, (B, H, W, inputs) to (B, ⌈H/stride⌉, ⌈W/stride⌉, outputs).

    The convolution has no bias where a norm follows that brings its own. One pixel of zeros goes on every side, as in
    He et al., 2016: XLA's ``SAME`` would, for even sizes, put stride 2's windows a pixel beside those of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, parts: Parts, rngs: nnx.Rngs, *, stride: int = 1):
        self.norm = parts.norm(outputs, rngs)
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (3, 3),
            strides=stride,
            padding=1,
            use_bias=not hasattr(self.norm, "bias"),
            kernel_init=parts.kernel_init,
            rngs=rngs,
        )
        self.act = parts.act
        self.dropout = parts.dropout(rngs)

    def __call__(self, x: Array) -> Array:
        return self.dropout(self.act(self.norm(self.conv(x))))
