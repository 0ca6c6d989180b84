"""Pre-norm Transformer: an encoder for tokens or for an image's patches, or a causal language model."""

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.nn.initializers import normal

from dlrun.config.schema import Count, Rate
from dlrun.errors import Unfit
from dlrun.nn.conv import image_shape
from dlrun.nn.linear import Embed, Linear, at_least_float32
from dlrun.nn.norms import Identity
from dlrun.nn.parts import Inputs, Parts
from dlrun.nn.parts import drop_path as stochastic_depth
from dlrun.nn.positions import Learned, Sinusoidal, leaks
from dlrun.nn.transformer import Block, branch_init, default_patch, patch_sides, patches


class Transformer(nnx.Module):
    """Embedding, positions, blocks, norm, linear output.

    An image is read as a sequence of patches, as in ViT (Dosovitskiy et al., 2021). A sequence of tokens gets one
    output, as in BERT (Devlin et al., 2019); or, if the task is to predict the next token, an output for each position
    from this and earlier tokens, as in GPT-2 (Radford et al., 2019). Embeddings of tokens are initialised N(0, 0.02²);
    with sinusoidal positions, whose values reach 1, they are √width times N(0, 1/width) (Vaswani et al., 2017).
    """

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
        pool: Literal["mean", "cls"] = "mean",
        positions: Literal["learned", "sinusoidal", "rotary", "none"] = "learned",
        tie: bool | None = None,
        residual_init: Literal["default", "scaled", "zero"] = "default",
        drop_path: Rate = 0.0,
    ):
        if inputs.kind != "tokens":
            height, breadth, channels = image_shape(inputs, "transformer")
            patch = patch or default_patch(height, breadth)
        misfits = _unfit(inputs, patch, width, heads, pool, positions, tie)
        if misfits := [*misfits, *leaks(inputs, parts)]:
            raise ExceptionGroup("transformer", misfits)

        self.patch, self.factor, self.causal = patch, 1.0, inputs.causal
        if patch is not None:
            length = (height // patch) * (breadth // patch)
            self.embed = Linear(patch * patch * channels, width, kernel_init=parts.linear_init, rngs=rngs)
        else:
            (length,), std = inputs.shape, 0.02
            if positions == "sinusoidal":
                self.factor, std = width**0.5, width**-0.5
            self.embed = Embed(inputs.vocabulary, width, embedding_init=normal(std), rngs=rngs)
        self.token = nnx.Param(jnp.zeros(width)) if pool == "cls" else None
        length += pool == "cls"
        self.positions = (
            Learned(length, width, rngs) if positions == "learned"
            else Sinusoidal() if positions == "sinusoidal"
            else Identity()
        )  # fmt: skip
        self.dropout = parts.dropout(rngs)
        paths = stochastic_depth(drop_path, 2 * depth, rngs)
        blocks = [
            Block(
                width,
                heads,
                width * ff_ratio,
                parts,
                rngs,
                causal=inputs.causal,
                rotary=positions == "rotary",
                out_init=branch_init(residual_init, parts.linear_init, depth),
                paths=(paths[2 * i], paths[2 * i + 1]),
            )
            for i in range(depth)
        ]
        self.blocks = nnx.List(blocks)
        self.norm = parts.norm(width, rngs)
        tied = inputs.causal if tie is None else tie
        self.output = None if tied else Linear(width, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x_BTD = self.embed(x if self.patch is None else patches(x, self.patch)) * self.factor
        if self.token is not None:
            token = jnp.broadcast_to(at_least_float32(self.token[...]), (len(x), 1, x_BTD.shape[-1]))
            x_BTD = jnp.concatenate([token.astype(x_BTD.dtype), x_BTD], axis=1)
        x_BTD = self.dropout(self.positions(x_BTD))
        for block in self.blocks:
            x_BTD = block(x_BTD)
        x_BTD = self.norm(x_BTD)
        if self.output is None:
            return self.embed.attend(x_BTD)  # pyright: ignore[reportAttributeAccessIssue]
        if self.causal:
            return self.output(x_BTD)
        return self.output(x_BTD.mean(1) if self.token is None else x_BTD[:, 0])


def _unfit(
    inputs: Inputs, patch: int | None, width: int, heads: int, pool: str, positions: str, tie: bool | None
) -> list[Unfit]:
    """Errors about options that do not fit the inputs or each other."""
    misfits = []
    if inputs.kind == "tokens" and patch is not None:
        misfits.append(Unfit("patch", patch, f"be null for {inputs}: images have patches"))
    if inputs.kind == "image" and patch not in (sides := patch_sides(*inputs.shape[:2])):
        size = "x".join(map(str, inputs.shape[:2]))
        misfits.append(Unfit("patch", patch, f"divide the image of {size} pixels: {', '.join(map(str, sides))}"))
    if width % heads:
        misfits.append(Unfit("heads", heads, f"divide model.width={width}"))
    elif positions == "rotary" and width // heads % 2:
        misfits.append(
            Unfit("positions", positions, f"have heads of even size, not model.width / heads = {width // heads}")
        )
    if inputs.causal and pool != "mean":
        misfits.append(Unfit("pool", pool, "be mean for the next token, where nothing is pooled"))
    if tie and not inputs.causal:
        misfits.append(Unfit("tie", tie, f"be null or false for {inputs} with one output: the outputs are no tokens"))
    return misfits
