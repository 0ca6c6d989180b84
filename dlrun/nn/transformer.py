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
    """Two linear layers around the activation, at every position alike.

    A gated activation gets 2/3 of the ``hidden`` units, so that the number of weights stays (Shazeer, 2020).
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
      width, heads, causal, rotary: as of :class:`~dlrun.nn.attention.Attention`.
      hidden: units of the feed-forward part.
      out_init: for the last kernel of each branch; ``parts.linear_init`` unless it is given.
      paths: stochastic depth of each branch, if any.
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
    """For the last kernel of each residual branch of ``depth`` blocks.

    ``default`` is ``init``; ``scaled`` is ``init`` / √(2·depth), so that the sum over all branches keeps its variance
    (Radford et al., 2019); ``zero`` makes every block the identity at the start.
    """
    if how == "zero":
        return zeros
    factor = (2 * depth) ** -0.5 if how == "scaled" else 1.0
    return lambda key, shape, dtype=None, out_sharding=None: factor * init(key, shape, dtype)


def patches(x_BHWC: Array, side: int) -> Array:
    """Squares of ``side`` pixels, row by row, (B, H·W / side², side²·C)."""
    B, H, W, C = x_BHWC.shape
    x = x_BHWC.reshape(B, H // side, side, W // side, side, C)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, side * side * C)


def default_patch(height: int, width: int) -> int:
    """The largest side that divides an image and leaves at least 4 x 4 patches; 1 where there is none."""
    sides = patch_sides(height, width)
    return max(p for p in sides if p == 1 or min(height, width) // p >= 4)


def patch_sides(height: int, width: int) -> list[int]:
    """The sides of a square patch that divide an image."""
    return [p for p in range(1, min(height, width) + 1) if height % p == width % p == 0]
