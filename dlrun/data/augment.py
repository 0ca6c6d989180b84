"""Augmentations: ``f(key, batch)`` gives a batch of the same size; the compiled training step calls it.

``batch`` has the inputs ``x``, standardised, so that 0 is the mean of a channel, and the targets ``y``. ``key`` follows
from (seed, step). An augmentation that mixes each example with another one adds two entries: ``other``, the targets of
the other examples, and ``share`` (B,), how much of each example is its own; the step mixes the losses accordingly.
Keyword-only parameters are the keys of ``conf/augment/<name>.yaml``.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le
from jax import Array

from dlrun.config.schema import NonNegative, Positive, Traced
from dlrun.errors import Unfit

Batch = dict[str, Array]
Probability = Annotated[float, Ge(0), Le(1), Traced()]
Pixels = Annotated[int, Ge(0)]


def none(key: Array, batch: Batch) -> Batch:
    """No augmentation: the batch as it is."""
    return batch


def flip(key: Array, batch: Batch, *, probability: Probability = 0.5) -> Batch:
    """Mirrors each image left to right with ``probability``."""
    return {**batch, "x": _mirrored(key, _images(batch, "flip"), probability)}


def crop(key: Array, batch: Batch, *, pad: Pixels | None = None) -> Batch:
    """Pads each image by ``pad`` zeros on each side, then cuts a random window of the original size from it.

    ``pad=None`` is 1/8 of the height: 4 for images of 32x32 pixels, as in He et al., 2016.
    """
    x = _images(batch, "crop")
    B, H, W, C = x.shape
    pad = H // 8 if pad is None else pad
    if pad >= min(H, W):
        raise Unfit(
            "pad", pad, f"be smaller than the side of images of {H}x{W} pixels, or nothing of an image may be left"
        )
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corners = jax.random.randint(key, (B, 2), 0, 2 * pad + 1)
    window = jax.vmap(lambda image, corner: jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (H, W, C)))
    return {**batch, "x": window(padded, corners)}


def flip_crop(key: Array, batch: Batch, *, flip: Probability = 0.5, pad: Pixels | None = None) -> Batch:
    """Mirrors each image left to right with probability ``flip``, then does :func:`crop`."""
    key_flip, key_crop = jax.random.split(key)
    mirrored = _mirrored(key_flip, _images(batch, "flip_crop"), flip)
    return crop(key_crop, {**batch, "x": mirrored}, pad=pad)


def cutout(
    key: Array, batch: Batch, *, probability: Probability = 1.0, size: Annotated[float, Ge(0), Le(1), Traced()] = 0.5
) -> Batch:
    """Sets a square around a random pixel to 0, the mean; it may reach over the border. DeVries & Taylor, 2017.

    Args:
      probability: of doing so to an image.
      size: the square's side as a share of the image's height; 0.5 is the paper's 16 of 32 pixels for CIFAR-10.
    """
    x = _images(batch, "cutout")
    key_centre, key_hit = jax.random.split(key)
    side = jnp.round(size * x.shape[1])
    hit = jax.random.bernoulli(key_hit, probability, (len(x), 1, 1, 1))
    return {**batch, "x": jnp.where(hit & _box(key_centre, x, side, side), 0, x)}


def random_erasing(
    key: Array,
    batch: Batch,
    *,
    probability: Probability = 0.5,
    smallest: Probability = 0.02,
    largest: Probability = 0.4,
    aspect: Annotated[float, Ge(1), Traced()] = 3.3,
) -> Batch:
    """Sets a random rectangle to noise with the data's mean and standard deviation. Zhong et al., 2020.

    Args:
      probability: of doing so to an image.
      smallest, largest: bounds of the rectangle's area, as shares of the image's.
      aspect: how many times as long as the shorter side the longer one is at most.
    """
    x = _images(batch, "random_erasing")
    B, H, W, _ = x.shape
    key_centre, key_hit, key_area, key_aspect, key_noise = jax.random.split(key, 5)
    area = jax.random.uniform(key_area, (B, 1, 1, 1), minval=smallest, maxval=jnp.maximum(smallest, largest)) * H * W
    ratio = jnp.exp(jax.random.uniform(key_aspect, (B, 1, 1, 1), minval=-1.0) * jnp.log(aspect))
    height, breadth = jnp.minimum(jnp.sqrt(area * ratio), H), jnp.minimum(jnp.sqrt(area / ratio), W)
    hit = jax.random.bernoulli(key_hit, probability, (B, 1, 1, 1))
    box = _box(key_centre, x, jnp.round(height), jnp.round(breadth), inside=True)
    return {**batch, "x": jnp.where(hit & box, jax.random.normal(key_noise, x.shape), x)}


def mixup(key: Array, batch: Batch, *, alpha: Positive = 0.2) -> Batch:
    """λ·x + (1 - λ)·x', and the same mixture of the losses. Zhang et al., 2018.

    x' is another example of the batch; λ ~ Beta(alpha, alpha) is drawn once for the batch.
    """
    if not jnp.issubdtype(batch["x"].dtype, jnp.floating):
        raise Unfit(".augment", "mixup", "be none for tokens, which can't be mixed")
    share, other = _partners(key, batch, alpha)
    x = batch["x"]
    mixed = share * x + (1 - share) * x[other]
    return {**batch, "x": mixed, "other": batch["y"][other], "share": jnp.broadcast_to(share, (len(x),))}


def cutmix(key: Array, batch: Batch, *, alpha: Positive = 1.0) -> Batch:
    """Pastes a rectangle of another image of the batch into each one, and mixes the losses by area. Yun et al., 2019.

    The rectangle has the image's proportions and a share 1 - λ of its area, less what the border cuts off;
    λ ~ Beta(alpha, alpha) and the rectangle are drawn once for the batch.
    """
    x = _images(batch, "cutmix")
    key_partner, key_box = jax.random.split(key)
    share, other = _partners(key_partner, batch, alpha)
    _, H, W, _ = x.shape
    side = jnp.sqrt(1 - share)
    box = _box(key_box, x[:1], jnp.round(H * side), jnp.round(W * side))
    kept = 1 - box.mean((1, 2, 3), dtype=jnp.float32)
    mixed = jnp.where(box, x[other], x)
    return {**batch, "x": mixed, "other": batch["y"][other], "share": jnp.broadcast_to(kept, (len(x),))}


def noise(key: Array, batch: Batch, *, std: NonNegative = 0.1) -> Batch:
    """Adds Gaussian noise of ``std`` standard deviations of the data, to images or rows. Bishop, 1995."""
    x = batch["x"]
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise Unfit(".augment", "noise", "be none for tokens")
    return {**batch, "x": x + std * jax.random.normal(key, x.shape, x.dtype)}


def _images(batch: Batch, name: str) -> Array:
    """The inputs, which must be images, (B, H, W, C); raises :class:`Unfit` if they are not."""
    if batch["x"].ndim != 4:
        raise Unfit(".augment", name, "be none, noise or mixup for inputs that are not images")
    return batch["x"]


def _mirrored(key: Array, x: Array, probability: Array | float) -> Array:
    return jnp.where(jax.random.bernoulli(key, probability, (len(x), 1, 1, 1)), x[:, :, ::-1], x)


def _partners(key: Array, batch: Batch, alpha: Array | float) -> tuple[Array, Array]:
    """λ, (), and for each example the number of the one that it is mixed with, (B,)."""
    key_share, key_other = jax.random.split(key)
    return jax.random.beta(key_share, alpha, alpha), jax.random.permutation(key_other, len(batch["x"]))


def _box(key: Array, x: Array, height: Array, breadth: Array, *, inside: bool = False) -> Array:
    """A mask, bool (B, H, W, 1), that is true within a random rectangle of each image.

    The rectangle lies around any pixel, cut off at the border; with ``inside`` it lies wholly in the image.
    """
    B, H, W, _ = x.shape
    masks = []
    for axis, (n, side) in enumerate(((H, height), (W, breadth))):
        free = jax.random.uniform(jax.random.fold_in(key, axis), (B, 1, 1, 1))
        start = jnp.floor(free * (n - side + 1)) if inside else jnp.floor(free * n) - jnp.floor(side / 2)
        at = jnp.arange(n).reshape((1, n, 1, 1) if axis == 0 else (1, 1, n, 1))
        masks.append((at >= start) & (at < start + side))
    return masks[0] & masks[1]
