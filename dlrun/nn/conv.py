"""Convolution blocks, and the check that a model's inputs are images that are large enough."""

from flax import nnx
from jax import Array

from dlrun.errors import Unfit
from dlrun.nn.linear import Conv
from dlrun.nn.parts import Inputs, Parts

SMALL = 64
"""Pixels. Where the shorter side of the images is below this, networks made for ImageNet take their CIFAR form."""


def image_shape(inputs: Inputs, model: str, *, at_least: int = 1) -> tuple[int, int, int]:
    """Height, width and channels of the images; raises :class:`Unfit` for other inputs, or sides below ``at_least``."""
    if inputs.kind != "image":
        other = "mlp" if inputs.kind == "rows" else "transformer"
        raise Unfit("name", model, f"be a model for {inputs}, such as {other}: it takes images")
    height, width, channels = inputs.shape
    if min(height, width) < at_least:
        least = f"it needs at least {at_least}x{at_least}"
        raise Unfit("name", model, f"be a model for images of {height}x{width} pixels, such as cnn: {least}")
    return height, width, channels


def conv_norm(
    inputs: int, outputs: int, parts: Parts, rngs: nnx.Rngs, *, kernel: int = 3, stride: int = 1, padding: int = -1
) -> tuple[Conv, nnx.Module]:
    """A convolution with a square kernel, and its norm: (B, H, W, inputs) to (B, ⌈H/stride⌉, ⌈W/stride⌉, outputs).

    The convolution has no bias where the norm has one. ``padding`` pixels of zeros are added on every side; -1 means
    half the kernel, rounded down, for which the shape above holds if the kernel is odd. Padding is the same on all
    sides, as in He et al., 2016: for even sizes and stride 2, XLA's ``SAME`` would place the windows a pixel away from
    those of the shortcut.
    """
    norm = parts.norm(outputs, rngs)
    conv = Conv(
        inputs,
        outputs,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2 if padding < 0 else padding,
        use_bias=not hasattr(norm, "bias"),
        kernel_init=parts.kernel_init,
        rngs=rngs,
    )
    return conv, norm


class ConvBlock(nnx.Module):
    """Convolution, norm, activation and dropout; shapes and ``padding`` are as in :func:`conv_norm`.

    Args:
      kernel: side of the window, in pixels.
      spatial: whether dropout drops whole channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: int = -1,
        spatial: bool = False,
    ):
        self.conv, self.norm = conv_norm(inputs, outputs, parts, rngs, kernel=kernel, stride=stride, padding=padding)
        self.act = parts.act(outputs, rngs)
        self.dropout = parts.dropout(rngs, spatial=spatial)

    def __call__(self, x: Array) -> Array:
        return self.dropout(self.act(self.norm(self.conv(x))))
