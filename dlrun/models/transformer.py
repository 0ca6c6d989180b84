"""Pre-norm Transformer on images as sequences of patches."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from dlrun.nn.attention import Attention
from dlrun.nn.conv import image_shape
from dlrun.nn.parts import Inputs, Parts
from dlrun.schema import Count, Unfit


class FeedForward(nnx.Module):
    """Two linear layers around the activation, at every position alike."""

    def __init__(self, width: int, hidden: int, parts: Parts, rngs: nnx.Rngs):
        self.up = nnx.Linear(width, hidden, kernel_init=parts.kernel_init, rngs=rngs)
        self.down = nnx.Linear(hidden, width, kernel_init=parts.linear_init, rngs=rngs)
        self.act = parts.act
        self.dropout = parts.dropout(rngs)

    def __call__(self, x: Array) -> Array:
        return self.down(self.dropout(self.act(self.up(x))))


class Block(nnx.Module):
    """x + attention(norm(x)), then x + ff(norm(x)), each branch with dropout."""

    def __init__(self, width: int, heads: int, hidden: int, parts: Parts, rngs: nnx.Rngs, *, causal: bool = False):
        self.norm1 = parts.norm(width, rngs)
        self.attention = Attention(width, heads, parts, rngs, causal=causal)
        self.norm2 = parts.norm(width, rngs)
        self.ff = FeedForward(width, hidden, parts, rngs)
        self.dropout1 = parts.dropout(rngs)
        self.dropout2 = parts.dropout(rngs)

    def __call__(self, x_BTD: Array, mask_BT: Array | None = None) -> Array:
        x_BTD += self.dropout1(self.attention(self.norm1(x_BTD), mask_BT))
        return x_BTD + self.dropout2(self.ff(self.norm2(x_BTD)))


class Transformer(nnx.Module):
    """Encoder: patches, learned positions, blocks, norm, mean over tokens, linear output. Dosovitskiy et al., 2021."""

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        patch: Count | None = None,
        width: Count = 64,
        depth: Count = 4,
        heads: Count = 4,
        ff_ratio: Count = 4,
    ):
        height, breadth, channels = image_shape(inputs, "transformer")
        sides = [p for p in range(1, min(height, breadth) + 1) if height % p == breadth % p == 0]
        if patch is None:
            patch = max(p for p in sides if p == 1 or min(height, breadth) // p >= 4)
        if patch not in sides:
            raise Unfit("patch", patch, f"divide the image of {height}x{breadth} pixels: {', '.join(map(str, sides))}")
        if width % heads:
            raise Unfit("heads", heads, f"divide model.width={width}")
        tokens = (height // patch) * (breadth // patch)
        self.patch = patch
        self.embed = nnx.Linear(patch * patch * channels, width, kernel_init=parts.linear_init, rngs=rngs)
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (tokens, width)))
        self.dropout = parts.dropout(rngs)
        self.blocks = nnx.List([Block(width, heads, width * ff_ratio, parts, rngs) for _ in range(depth)])
        self.norm = parts.norm(width, rngs)
        self.output = nnx.Linear(width, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x_BHWC: Array) -> Array:
        B, H, W, C = x_BHWC.shape
        p = self.patch
        x = x_BHWC.reshape(B, H // p, p, W // p, p, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, p * p * C)
        x_BTD = self.dropout(self.embed(x) + self.positions[...])
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.output(jnp.mean(self.norm(x_BTD), axis=1))
