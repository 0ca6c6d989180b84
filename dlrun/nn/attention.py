"""Multi-head scaled dot-product attention."""

import jax
from flax import nnx
from jax import Array

from dlrun.nn.parts import Parts


class Attention(nnx.Module):
    """softmax(Q Kᵀ / √d) V in ``heads`` subspaces of size d = width / heads. Vaswani et al., 2017.

    Args:
      width: size of a token's vector; a multiple of ``heads``.
      heads: number of subspaces.
      causal: whether a token sees itself and earlier ones only.
    """

    def __init__(self, width: int, heads: int, parts: Parts, rngs: nnx.Rngs, *, causal: bool = False):
        def project():
            return nnx.Linear(width, width, kernel_init=parts.linear_init, rngs=rngs)

        self.query, self.key, self.value, self.out = project(), project(), project(), project()
        self.heads, self.causal = heads, causal

    def __call__(self, x_BTD: Array, mask_BT: Array | None = None) -> Array:
        """Attention among the tokens of each sequence; ``mask_BT`` is false at padding, which no token sees."""
        B, T, D = x_BTD.shape
        q, k, v = (f(x_BTD).reshape(B, T, self.heads, D // self.heads) for f in (self.query, self.key, self.value))
        mask = None if mask_BT is None else mask_BT[:, None, None, :]
        y = jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=self.causal)
        return self.out(y.reshape(B, T, D))
