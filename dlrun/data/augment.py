"""Augmentations: ``f(key, batch)`` gives a batch of the same form, inside the compiled step.

``batch`` holds ``x`` of shape (B, H, W, C), standardised, and ``y``; ``key`` follows from (seed, step). Keyword-only
parameters are the keys of ``conf/augment/<name>.yaml``.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from pydantic import Field

from dlrun.schema import Traced, Unfit

Batch = dict[str, Array]


def none(key: Array, batch: Batch) -> Batch:
    """The batch as it is."""
    return batch


def flip_crop(
    key: Array,
    batch: Batch,
    *,
    flip: Annotated[float, Field(ge=0, le=1), Traced()] = 0.5,
    pad: Annotated[int, Field(ge=0)] | None = None,
) -> Batch:
    """Mirrors left and right with probability ``flip``, then cuts a random window from the padded image."""
    x = batch["x"]
    if x.ndim != 4:
        raise Unfit(".augment", "flip_crop", "be none for inputs that are no images")
    B, H, W, C = x.shape
    pad = H // 8 if pad is None else pad
    key_flip, key_crop = jax.random.split(key)
    mirrored = jax.random.bernoulli(key_flip, flip, (B, 1, 1, 1))
    x = jnp.where(mirrored, x[:, :, ::-1], x)
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corners = jax.random.randint(key_crop, (B, 2), 0, 2 * pad + 1)
    crop = jax.vmap(lambda image, corner: jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (H, W, C)))
    return {**batch, "x": crop(padded, corners)}
