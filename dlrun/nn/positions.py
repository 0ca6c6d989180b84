"""Position encodings for the tokens of a sequence, (B, T, D)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from dlrun.errors import Unfit
from dlrun.nn.linear import at_least_float32
from dlrun.nn.norms import MIXES_POSITIONS
from dlrun.nn.parts import Inputs, Parts


def leaks(inputs: Inputs, parts: Parts) -> list[Unfit]:
    """For causal inputs, an error about a norm by which an output would depend on later tokens; else an empty list."""
    if not inputs.causal or parts.norm.name not in MIXES_POSITIONS:
        return []
    allowed = "be layer, rms or none for the next token: statistics over positions would see future tokens"
    return [Unfit(".norm", parts.norm.name, allowed)]


class Learned(nnx.Module):
    """x + a learned vector for each of ``length`` positions, initialised N(0, 0.02²). Gehring et al., 2017."""

    def __init__(self, length: int, width: int, rngs: nnx.Rngs):
        self.table = nnx.Param(0.02 * jax.random.normal(rngs.params(), (length, width)))

    def __call__(self, x_BTD: Array) -> Array:
        return (x_BTD + at_least_float32(self.table[: x_BTD.shape[1]])).astype(x_BTD.dtype)


class Sinusoidal(nnx.Module):
    """x + :func:`sinusoidal`. Vaswani et al., 2017."""

    def __call__(self, x_BTD: Array) -> Array:
        return x_BTD + jnp.asarray(sinusoidal(*x_BTD.shape[1:]), x_BTD.dtype)


def sinusoidal(length: int, width: int) -> np.ndarray:
    """(length, width): sin(t / 10000^(2 i / width)) in column 2 i of row t, its cosine in column 2 i + 1."""
    columns = np.arange(width)
    angles = np.arange(length)[:, None] / 10_000 ** (columns // 2 * 2 / width)
    return np.where(columns % 2, np.cos(angles), np.sin(angles))


def rotary(x_BTNH: Array) -> Array:
    """Rotates the pair (x_i, x_{i + H/2}) of the token at t by the angle t / 10000^(2 i / H). Su et al., 2021.

    H must be even. The product of two rotated vectors depends on their positions only through the distance between
    them.
    """
    T, _, H = x_BTNH.shape[1:]
    angles = np.arange(T)[:, None] / 10_000 ** (np.arange(0, H, 2) / H)
    cos_T1H, sin_T1H = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = jnp.split(at_least_float32(x_BTNH), 2, axis=-1)
    rotated = jnp.concatenate([a * cos_T1H - b * sin_T1H, a * sin_T1H + b * cos_T1H], axis=-1)
    return rotated.astype(x_BTNH.dtype)
