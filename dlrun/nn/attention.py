"""Multi-head scaled dot-product attention."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.nn.initializers import Initializer

from dlrun.nn.linear import Linear, at_least_float32
from dlrun.nn.parts import Parts
from dlrun.nn.positions import rotary


def attend(q_BTNH: Array, k_BSNH: Array, v_BSNH: Array, mask_TS: Array | None = None) -> Array:
    """softmax(Q Kᵀ / √H) V, (B, T, N, H), for N heads of size H; query t sees the keys s where ``mask_TS`` is true.

    The softmax is computed in float32 at least. ``jax.nn.dot_product_attention`` computes the same, but on CPU it is a
    little slower and does not compile for float16.
    """
    products = _half_products if q_BTNH.dtype.itemsize < 4 else _products
    logits_BNTS = products(q_BTNH, k_BSNH) * q_BTNH.shape[-1] ** -0.5
    if mask_TS is not None:
        logits_BNTS = jnp.where(mask_TS, logits_BNTS, jnp.finfo(logits_BNTS.dtype).min)
    return jnp.einsum("BNTS,BSNH->BTNH", jax.nn.softmax(logits_BNTS).astype(v_BSNH.dtype), v_BSNH)


def _products(q_BTNH: Array, k_BSNH: Array) -> Array:
    """Q Kᵀ, (B, N, T, S)."""
    return jnp.einsum("BTNH,BSNH->BNTS", q_BTNH, k_BSNH, preferred_element_type=at_least_float32(q_BTNH).dtype)


@jax.custom_vjp
def _half_products(q_BTNH: Array, k_BSNH: Array) -> Array:
    """Q Kᵀ in float32 from factors in half precision; the backward products are in half precision, too."""
    return _products(q_BTNH, k_BSNH)


def _half_products_gradient(factors: tuple[Array, Array], g_BNTS: Array) -> tuple[Array, Array]:
    q_BTNH, k_BSNH = factors
    g_BNTS = g_BNTS.astype(q_BTNH.dtype)
    return jnp.einsum("BNTS,BSNH->BTNH", g_BNTS, k_BSNH), jnp.einsum("BNTS,BTNH->BSNH", g_BNTS, q_BTNH)


_half_products.defvjp(lambda q, k: (_half_products(q, k), (q, k)), _half_products_gradient)


class Attention(nnx.Module):
    """softmax(Q Kᵀ / √d) V in ``heads`` subspaces of size d = width / heads. Vaswani et al., 2017.

    Args:
      width: size of a token's vector; a multiple of ``heads``.
      heads: number of subspaces.
      causal: whether a token sees only itself and earlier tokens.
      rotary: whether queries and keys are rotated by their positions; then ``width / heads`` must be even.
      out_init: initialises the kernel of the output projection; by default ``parts.linear_init``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        causal: bool = False,
        rotary: bool = False,
        out_init: Initializer | None = None,
    ):
        def project(init):
            return Linear(width, width, kernel_init=init, rngs=rngs)

        self.query, self.key, self.value = (project(parts.linear_init) for _ in range(3))
        self.out = project(out_init or parts.linear_init)
        self.heads, self.causal, self.rotary = heads, causal, rotary

    def __call__(self, x_BTD: Array) -> Array:
        """Attention among the tokens of each sequence, (B, T, D) to (B, T, D)."""
        B, T, D = x_BTD.shape
        q, k, v = (f(x_BTD).reshape(B, T, self.heads, D // self.heads) for f in (self.query, self.key, self.value))
        if self.rotary:
            q, k = rotary(q), rotary(k)
        mask_TT = jnp.tri(T, dtype=bool) if self.causal else None
        return self.out(attend(q, k, v, mask_TT).reshape(B, T, D))
