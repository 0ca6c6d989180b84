"""Linear layers, convolutions and embeddings whose gradients are right in half precision.

Many examples, positions or time steps share a parameter, whose gradient is a sum over them. A sum in bfloat16 stops
growing once it is 256 times as large as the terms added to it. Here, and wherever :func:`at_least_float32` is used, the
sum is computed in float32.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


def at_least_float32(x: Array) -> Array:
    """``x`` in float32 at least; its gradient is summed in float32, then cast to the precision of ``x``."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def product(x: Array, kernel: Array) -> Array:
    """x W, (..., inputs) to (..., outputs); the gradient of W is summed in float32, even in half precision.

    On CPU jaxlib 0.12 would sum it in half precision where a factor is transposed, unless asked for float32.
    """
    return _half_product(x, kernel) if x.dtype == kernel.dtype and x.dtype.itemsize < 4 else x @ kernel


@jax.custom_vjp
def _half_product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _half_product_gradient(factors: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = factors
    rows = tuple(range(x.ndim - 1))
    kernel_gradient = jax.lax.dot_general(x, g, ((rows, rows), ((), ())), preferred_element_type=jnp.float32)
    return g @ kernel.T, kernel_gradient.astype(kernel.dtype)


_half_product.defvjp(lambda x, kernel: (_half_product(x, kernel), (x, kernel)), _half_product_gradient)


class Linear(nnx.Linear):
    """x W + b, (..., inputs) to (..., outputs)."""

    def __call__(self, x: Array) -> Array:
        return _plus(product(x, self.kernel[...]), self.bias)


class Conv(nnx.Conv):
    """Convolution plus bias: (B, H, W, inputs) to (B, H', W', outputs); one stride and one padding for both axes."""

    def __call__(self, x: Array) -> Array:
        y = jax.lax.conv_general_dilated(
            x,
            self.kernel[...],
            window_strides=(self.strides,) * 2,  # pyright: ignore[reportArgumentType]
            padding=[(self.padding,) * 2] * 2,  # pyright: ignore[reportArgumentType]
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return _plus(y, self.bias)


class Embed(nnx.Embed):
    """Looks up each token's row in a table: (...) to (..., features)."""

    def __call__(self, tokens: Array) -> Array:
        table = self.embedding[...]
        return jnp.take(at_least_float32(table), tokens, axis=0).astype(table.dtype)

    def attend(self, x: Array) -> Array:
        """The product of each vector with each row of the table, (..., features) to (..., tokens)."""
        return product(x, self.embedding[...].T)


def _plus(y: Array, bias: nnx.Param | None) -> Array:
    return y if bias is None else (y + at_least_float32(bias[...])).astype(y.dtype)
