"""Normalisations: ``norm(features, rngs)`` makes a module that normalises the last axis of ``(..., features)``."""

from typing import Annotated

from flax import nnx
from jax import Array
from pydantic import Field

Epsilon = Annotated[float, Field(gt=0)]


class BatchNorm(nnx.BatchNorm):
    """``nnx.BatchNorm`` that gives back the precision of its input: the running averages stay float32."""

    def __call__(self, x: Array, *args, **kwargs) -> Array:
        return super().__call__(x, *args, **kwargs).astype(x.dtype)


class Identity(nnx.Module):
    """Gives back its input."""

    def __call__(self, x: Array) -> Array:
        return x


def batch(
    features: int, rngs: nnx.Rngs, *, momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9, epsilon: Epsilon = 1e-5
) -> nnx.Module:
    """γ·(x - μ)/√(σ² + ε) + β over all axes but the last. Ioffe & Szegedy, 2015.

    In training μ, σ² (biased) are the batch's and move the running averages: r ← momentum·r + (1 - momentum)·batch.
    In evaluation they are the running averages, so that an output does not depend on the rest of its batch.
    """
    return BatchNorm(features, momentum=momentum, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def layer(features: int, rngs: nnx.Rngs, *, epsilon: Epsilon = 1e-6) -> nnx.Module:
    """γ·(x - μ)/√(σ² + ε) + β with μ, σ² over the last axis of each position. Ba et al., 2016."""
    return nnx.LayerNorm(features, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def none(features: int, rngs: nnx.Rngs) -> nnx.Module:
    """No normalisation."""
    return Identity()
