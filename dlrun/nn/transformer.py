"""Blocks of a Transformer, and the cutting of an image into a sequence of patches."""

from collections.abc import Callable

from flax import nnx
from jax import Array
from jax.nn.initializers import Initializer, zeros

from dlrun.nn.attention import Attention
from dlrun.nn.linear import Linear
from dlrun.nn.norms import Identity
from dlrun.nn.parts import Parts


class FeedForward(nnx.Module):
    """Two linear layers with the activation between them, the same at every position.

    With a gated activation there are only 2/3 of the ``hidden`` units, so that the number of weights stays the same
    (Shazeer, 2020).
    """

    def __init__(self, width: int, hidden: int, parts: Parts, rngs: nnx.Rngs, *, out_init: Initializer | None = None):
        hidden = max(1, round(hidden * 2 / 3)) if parts.gated else hidden
        activation_inputs = 2 * hidden if parts.gated else hidden
        self.up = Linear(width, activation_inputs, kernel_init=parts.kernel_init, rngs=rngs)
        self.down = Linear(hidden, width, kernel_init=out_init or parts.linear_init, rngs=rngs)
        self.act = parts.act(hidden, rngs, gated=True)
        self.dropout = parts.dropout(rngs)

    def __call__(self, x: Array) -> Array:
        return self.down(self.dropout(self.act(self.up(x))))


class Block(nnx.Module):
    """x + attention(norm(x)), then x + ff(norm(x)), each branch with dropout. Xiong et al., 2020 (pre-norm).

    Args:
      width, heads, causal, rotary: those of :class:`~dlrun.nn.attention.Attention`.
      hidden: units of the feed-forward part.
      out_init: initialises the last kernel of each branch; by default ``parts.linear_init``.
      paths: stochastic depth (:func:`~dlrun.nn.parts.drop_path`) for each of the two branches; None for none.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        causal: bool = False,
        rotary: bool = False,
        out_init: Initializer | None = None,
        paths: tuple[Callable[[Array], Array], Callable[[Array], Array]] | None = None,
    ):
        self.norm1 = parts.norm(width, rngs)
        self.attention = Attention(width, heads, parts, rngs, causal=causal, rotary=rotary, out_init=out_init)
        self.norm2 = parts.norm(width, rngs)
        self.ff = FeedForward(width, hidden, parts, rngs, out_init=out_init)
        self.dropout1, self.dropout2 = parts.dropout(rngs), parts.dropout(rngs)
        self.path1, self.path2 = paths or (Identity(), Identity())

    def __call__(self, x_BTD: Array) -> Array:
        x_BTD += self.path1(self.dropout1(self.attention(self.norm1(x_BTD))))
        return x_BTD + self.path2(self.dropout2(self.ff(self.norm2(x_BTD))))


def branch_init(residual_init: str, init: Initializer, depth: int) -> Initializer:
    """The initialiser of the last kernel of each residual branch, in a model of ``depth`` blocks of two branches.

    For ``default`` it is ``init``. For ``scaled`` it is ``init`` / √(2·depth), so that the variance of the sum over all
    branches does not grow with depth (Radford et al., 2019). For ``zero`` it is 0: every block starts as the identity.
    """
    if residual_init == "zero":
        return zeros
    factor = (2 * depth) ** -0.5 if residual_init == "scaled" else 1.0
    return lambda key, shape, dtype=None, out_sharding=None: factor * init(key, shape, dtype)


def patches(x_BHWC: Array, side: int) -> Array:
    """Cuts images into sequences of square patches, row by row: (B, H, W, C) to (B, H·W / side², side²·C)."""
    B, H, W, C = x_BHWC.shape
    x = x_BHWC.reshape(B, H // side, side, W // side, side, C)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, side * side * C)


def default_patch(height: int, width: int) -> int:
    """The largest side of square patches that cut an image into at least 4 x 4 of them; 1 if there is none."""
    sides = patch_sides(height, width)
    return max(p for p in sides if p == 1 or min(height, width) // p >= 4)


def patch_sides(height: int, width: int) -> list[int]:
    """All sides, in pixels, of square patches that cut an image without a remainder."""
    return [p for p in range(1, min(height, width) + 1) if height % p == width % p == 0]
