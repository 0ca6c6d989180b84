"""Blocks of a Transformer, and how an image becomes a sequence."""

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

    A gated activation gets 2/3 of the ``hidden`` units, so that the number of weights is the same (Shazeer, 2020).
    """

    def __init__(self, width: int, hidden: int, parts: Parts, rngs: nnx.Rngs, *, out_init: Initializer | None = None):
        hidden = max(1, round(hidden * 2 / 3)) if parts.gated else hidden
        ups = 2 * hidden if parts.gated else hidden
        self.up = Linear(width, ups, kernel_init=parts.kernel_init, rngs=rngs)
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
      paths: stochastic depth for each of the two branches.
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


def branch_init(how: str, init: Initializer, depth: int) -> Initializer:
    """Initialises the last kernel of each residual branch of ``depth`` blocks, in one of three ways.

    ``default`` is ``init``. ``scaled`` is ``init`` / √(2·depth), so that the variance of the sum over all branches does
    not grow with depth (Radford et al., 2019). With ``zero`` every block starts as the identity.
    """
    if how == "zero":
        return zeros
    factor = (2 * depth) ** -0.5 if how == "scaled" else 1.0
    return lambda key, shape, dtype=None, out_sharding=None: factor * init(key, shape, dtype)


def patches(x_BHWC: Array, side: int) -> Array:
    """An image as a sequence of squares, row by row: (B, H, W, C) to (B, H·W / side², side²·C)."""
    B, H, W, C = x_BHWC.shape
    x = x_BHWC.reshape(B, H // side, side, W // side, side, C)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, side * side * C)


def default_patch(height: int, width: int) -> int:
    """The largest side of a patch that divides an image into at least 4 x 4 patches; 1 where there is none."""
    sides = patch_sides(height, width)
    return max(p for p in sides if p == 1 or min(height, width) // p >= 4)


def patch_sides(height: int, width: int) -> list[int]:
    """The sides of a square patch that divide an image."""
    return [p for p in range(1, min(height, width) + 1) if height % p == width % p == 0]
