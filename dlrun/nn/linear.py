"""Linear layers, convolutions and embeddings, made for half precision.

The gradient of a parameter that many examples, positions or steps in time share is a sum. Added up in bfloat16, it
stops growing at 256 times what is added. Here, as wherever dlrun uses :func:`whole`, it is added up in float32.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


def whole(x: Array) -> Array:
    """``x`` in float32 at least; the gradient comes back in the precision of ``x``, and is added up in float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def product(x: Array, kernel: Array) -> Array:
    """x W, (..., inputs) to (..., outputs), whose gradient at W is added up in float32 whatever the compiler does.

    In half precision jaxlib 0.12 adds up in half on CPU where a factor is transposed, unless float32 is asked for.
    """
    return _half_product(x, kernel) if x.dtype == kernel.dtype and x.dtype.itemsize < 4 else x @ kernel


@jax.custom_vjp
def _half_product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _half_product_gradient(factors: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = factors
    rows = tuple(range(x.ndim - 1))
    at_kernel = jax.lax.dot_general(x, g, ((rows, rows), ((), ())), preferred_element_type=jnp.float32)
    return g @ kernel.T, at_kernel.astype(kernel.dtype)


_half_product.defvjp(lambda x, kernel: (_half_product(x, kernel), (x, kernel)), _half_product_gradient)


class Linear(nnx.Linear):
    """x W + b, (..., inputs) to (..., outputs)."""

    def __call__(self, x: Array) -> Array:
        return _plus(product(x, self.kernel[...]), self.bias)


class Conv(nnx.Conv):
    """Windows of x times W, + b, (B, H, W, inputs) to (B, H', W', outputs), one stride and padding for all."""

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
    """A row of a table for each token, (...) to (..., features)."""

    def __call__(self, tokens: Array) -> Array:
        table = self.embedding[...]
        return jnp.take(whole(table), tokens, axis=0).astype(table.dtype)

    def attend(self, x: Array) -> Array:
        """The product of each vector with each row of the table, (..., features) to (..., tokens)."""
        return product(x, self.embedding[...].T)


def _plus(y: Array, bias: nnx.Param | None) -> Array:
    return y if bias is None else (y + whole(bias[...])).astype(y.dtype)
